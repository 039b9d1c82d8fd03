"""A disk in a guest of emulated Xen by three ways: our pvSCSI, QEMU's xen-disk, our virtio-scsi.

    python -m tests.bench.xen [--rounds N] [--seconds N]

All three are of one file, and each is read in its turn: the first two in one guest, the third in
one beside it with the same kernel. (In the Xen guest itself it would not be there: Linux asks for
all emulated disks to be unplugged, and QEMU takes every PCI device of the class SCSI with them;
kept by `xen_emul_unplug=unnecessary`, it gets no interrupts by QEMU 10's emulation.) All of it
runs in a guest, so only factors above 2 mean anything. It judges nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.harness import disks, emulated_xen, images, xen_plugin
from tests.harness.inner_guest import InnerGuest, ports
from tests.harness.nested import OuterHost
from tests.harness.xen_daemon import IMAGE, SOCKETS, OuterDaemon
from tests.harness.xen_plugin import VIRTIO, XEN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.harness.machine import MachineSpec

_DISK = "/run/disk.img"
_DEPTHS = (1, 16)
# fmt: off
#: Names for QEMU's threads.
NAMED = ("-name", "guest,debug-threads=on")
_XEN_DISK = (
    "-blockdev", f"driver=file,filename={_DISK},locking=off,node-name=disk,read-only=on",
    "-device", "xen-disk,drive=disk,vdev=xvda",
)
# fmt: on
#: Ticks of the CPU that all processes but the guest's processor have used: threads of QEMU are
#: named, and what a thread has used are fields 14 and 15 of its stat (proc_pid_stat(5)).
_TICKS = (
    "for each in /proc/[0-9]*/task/*; do read name <$each/comm || continue;"
    ' case $name in CPU*|kthreadd) ;; *) sed "s/.*) //" $each/stat;; esac; done 2>/dev/null'
    " | awk '{ used += $12 + $13 } END { print used }'"
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of fio."""

    iops: float
    cpu_us: float  #: of all but the guest itself, a request


def measure(host: OuterHost, guest: InnerGuest, node: str, depth: int, seconds: int) -> Sample:
    """Read 4 KiB blocks at random."""
    before = int(host.check(_TICKS))
    fio = (
        f"fio --name=r --filename={node} --rw=randread --bs=4k --iodepth={depth} --direct=1"
        f" --ioengine=io_uring --time_based --runtime={seconds} --output-format=terse"
    )
    said = guest.console.check(fio, timeout=300.0 + seconds)
    # Version 3 of fio's terse format, whose fields the fio(1) page lists.
    fields = next(line for line in said.splitlines() if line.startswith("3;")).split(";")
    iops, milliseconds = float(fields[7]), float(fields[8])
    used = int(host.check(_TICKS)) - before
    return Sample(iops, used * 10_000_000 / (iops * milliseconds))


def run(rounds: int, seconds: int) -> dict[tuple[str, int], list[Sample]]:
    """Boot all that is needed, and measure each way at each depth, by turns."""
    samples: dict[tuple[str, int], list[Sample]] = {}
    # With one processor a back-end of its own process would wait for QEMU's threads to sleep.
    with OuterHost(images.xen_host(), ports=[*ports(XEN), *ports(VIRTIO)], smp=2) as host:
        host.boot()
        OuterDaemon(host, {IMAGE: f"{_DISK},share=on,lock=off"}).start()
        with (
            InnerGuest(host, _xen_spec(), name=XEN) as xen,
            InnerGuest(host, _virtio_spec(), name=VIRTIO) as virtio,
        ):
            xen.boot()
            virtio.boot()
            ways = {
                "pvSCSI": (xen, disks.find(xen, IMAGE).node),
                "xen-disk": (xen, "/dev/xvda"),
                "virtio-scsi": (virtio, disks.find(virtio, IMAGE).node),
            }
            for _ in range(rounds):
                for depth in _DEPTHS:
                    for way, (guest, node) in ways.items():
                        taken = measure(host, guest, node, depth, seconds)
                        samples.setdefault((way, depth), []).append(taken)
                        print(f"{way}, depth {depth}: {taken.iops:.0f}/s", file=sys.stderr)
    return samples


def _xen_spec() -> MachineSpec:
    spec = emulated_xen.spec(images.xen_device(), SOCKETS[0])
    return replace(
        spec, modules=(*spec.modules, "xen-blkfront"), extra=(*spec.extra, *NAMED, *_XEN_DISK)
    )


def _virtio_spec() -> MachineSpec:
    spec = xen_plugin.virtio_spec()
    return replace(spec, extra=(*spec.extra, *NAMED))


def show(samples: Mapping[tuple[str, int], Sequence[Sample]], *, peer: str) -> None:
    """Print a table of medians by way and depth, each way beside one of them."""
    print(f"| depth | disk | IOPS | ratio to {peer} | CPU us a request | ratio |")
    print("|---|---|---|---|---|---|")
    for (way, depth), taken in sorted(samples.items(), key=lambda item: item[0][1]):
        others = samples[peer, depth]
        iops, theirs = (statistics.median(each.iops for each in of) for of in (taken, others))
        cpu, their_cpu = (statistics.median(each.cpu_us for each in of) for of in (taken, others))
        print(
            f"| {depth} | {way} | {iops:.0f} | {iops / theirs:.2f} |"
            f" {cpu:.0f} | {cpu / their_cpu:.2f} |"
        )


def command(
    description: str,
    run: Callable[[int, int], Mapping[tuple[str, int], Sequence[Sample]]],
    *,
    peer: str,
) -> None:
    """Measure as the command line says, and print a table."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    show(run(options.rounds, options.seconds), peer=peer)


if __name__ == "__main__":
    command(__doc__, run, peer="xen-disk")
