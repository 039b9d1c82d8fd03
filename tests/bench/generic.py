"""A disk of the host in a guest by two ways: forwarded by us, and by QEMU's scsi-generic.

    python -m tests.bench.generic [--rounds N] [--seconds N]

Both are simulated by scsi_debug in the guest that plays the host (`fake_rw=1`: no data is moved
there), and one stock guest in it has both at a time. All of it runs in a guest, so only large
factors mean anything. It judges nothing.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.harness import disks, images, xen_plugin
from tests.harness.inner_guest import InnerGuest, ports
from tests.harness.nested import OuterHost
from tests.harness.xen_daemon import OuterDaemon
from tests.harness.xen_plugin import VIRTIO

from .xen import NAMED, Sample, command, measure

if TYPE_CHECKING:
    from tests.harness.machine import MachineSpec

_OURS, _THEIRS = 0, 5  # targets
_WAYS = {"forwarded by us": _OURS, "scsi-generic": _THEIRS}
_DEPTHS = (1, 16)


def simulate(host: OuterHost) -> list[str]:
    """Make two disks; their SG nodes."""
    host.shell("modprobe sd_mod; modprobe sg")
    host.shell("modprobe scsi_debug fake_rw=1 delay=0 dev_size_mb=64 num_tgts=2")
    found = host.shell("lsscsi -g | awk '/scsi_debug/ { print $NF }'").split()
    if len(found) != 2:
        msg = f"scsi_debug has made {len(found)} disks and not 2"
        raise RuntimeError(msg)
    return found


def run(rounds: int, seconds: int) -> dict[tuple[str, int], list[Sample]]:
    """Boot all that is needed, and measure each way at each depth, by turns."""
    samples: dict[tuple[str, int], list[Sample]] = {}
    with OuterHost(images.xen_host(), ports=ports(VIRTIO), smp=2) as host:
        host.boot()
        ours, theirs = simulate(host)
        OuterDaemon(host, {}, more={f"1:0:{_OURS}:0": ours}).start()
        with InnerGuest(host, _spec(theirs), name=VIRTIO) as guest:
            guest.boot()
            nodes = {way: disks.find(guest, target).node for way, target in _WAYS.items()}
            for _ in range(rounds):
                for depth in _DEPTHS:
                    for way, node in nodes.items():
                        taken = measure(host, guest, node, depth, seconds)
                        samples.setdefault((way, depth), []).append(taken)
                        print(f"{way}, depth {depth}: {taken.iops:.0f}/s", file=sys.stderr)
    return samples


def _spec(node: str) -> MachineSpec:
    spec = xen_plugin.virtio_spec()
    # fmt: off
    generic = (
        "-device", "virtio-scsi-pci,id=beside",
        "-blockdev", f"driver=host_device,filename={node},node-name=disk",
        "-device", f"scsi-generic,drive=disk,bus=beside.0,scsi-id={_THEIRS}",
    )
    # fmt: on
    return replace(spec, extra=(*spec.extra, *NAMED, *generic))


if __name__ == "__main__":
    command(__doc__, run, peer="scsi-generic")
