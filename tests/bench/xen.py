"""A disk in a guest of emulated Xen by three ways: our pvSCSI, QEMU's xen-disk, our virtio-scsi.

    python -m tests.bench.xen [--rounds N] [--seconds N]

One guest has all three, of one file; each is read in its turn. Where the machine has no KVM that
emulates Xen all of it runs in a guest, and only factors above 2 mean anything. It judges nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass, replace

from tests.harness import emulated_xen, images
from tests.harness.inner_guest import InnerGuest, ports
from tests.harness.machine import Backend
from tests.harness.nested import OuterHost
from tests.harness.xen_daemon import IMAGE, SOCKETS, OuterDaemon

_NAME = "xen"
_DISK = "/run/disk.img"
_DEPTHS = (1, 16)
# fmt: off
#: The other two ways, and names for QEMU's threads.
_OTHERS = (
    "-name", "guest,debug-threads=on",
    "-device", "vhost-user-scsi-pci,chardev=scsi1",
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
        f" --ioengine=io_uring --time_based --runtime={seconds} --output-format=json"
    )
    said = guest.console.check(fio, timeout=120.0 + seconds)
    read = json.loads(said[said.index("{") :])["jobs"][0]["read"]
    used = int(host.check(_TICKS)) - before
    return Sample(read["iops"], used * 10_000 / read["total_ios"])


def run(rounds: int, seconds: int) -> dict[tuple[str, int], list[Sample]]:
    """Boot all that is needed, and measure each way at each depth, by turns."""
    samples: dict[tuple[str, int], list[Sample]] = {}
    with OuterHost(images.xen_host(), ports=ports(_NAME)) as host:
        host.boot()
        OuterDaemon(host, {IMAGE: f"{_DISK},share=on,lock=off"}).start()
        spec = emulated_xen.spec(images.xen_device(), SOCKETS[0])
        spec = replace(
            spec,
            backends=(*spec.backends, Backend(SOCKETS[1], "scsi1")),
            modules=(*spec.modules, "virtio_pci", "virtio_scsi", "xen-blkfront"),
            extra=_OTHERS,
        )
        with InnerGuest(host, spec, name=_NAME) as guest:
            guest.boot()
            nodes = _nodes(guest)
            for _ in range(rounds):
                for depth in _DEPTHS:
                    for way, node in nodes.items():
                        taken = measure(host, guest, node, depth, seconds)
                        samples.setdefault((way, depth), []).append(taken)
    return samples


def _nodes(guest: InnerGuest) -> dict[str, str]:
    listed = guest.console.check("for each in /sys/block/sd*; do readlink -f $each; done")
    # The path of a device has the bus that it is on.
    buses = {"pvSCSI": "/vscsi-", "virtio-scsi": "/virtio"}
    found = {
        way: f"/dev/{line.rpartition('/')[2]}"
        for way, bus in buses.items()
        for line in listed.splitlines()
        if bus in line
    }
    return found | {"xen-disk": "/dev/xvda"}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    samples = run(options.rounds, options.seconds)
    print("| depth | disk | IOPS | ratio to xen-disk | CPU us a request | ratio |")
    print("|---|---|---|---|---|---|")
    for (way, depth), taken in sorted(samples.items(), key=lambda item: item[0][1]):
        peer = samples["xen-disk", depth]
        iops, theirs = (statistics.median(each.iops for each in of) for of in (taken, peer))
        cpu, their_cpu = (statistics.median(each.cpu_us for each in of) for of in (taken, peer))
        print(
            f"| {depth} | {way} | {iops:.0f} | {iops / theirs:.2f} |"
            f" {cpu:.0f} | {cpu / their_cpu:.2f} |"
        )


if __name__ == "__main__":
    main()
