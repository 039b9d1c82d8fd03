"""The demo with `--xen`: a guest of QEMU's emulated Xen, and a pvSCSI host of ours.

QEMU emulates Xen under KVM only. Where the machine has none that can, a guest has: two levels, and
slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.harness import acceleration, emulated_xen
from tests.harness.daemon import Daemon
from tests.harness.inner_guest import InnerGuest, ports
from tests.harness.machine import Machine
from tests.harness.nested import OuterHost
from tests.harness.xen_daemon import SOCKETS, OuterDaemon

from . import build, qemu_device, xen_host
from .use import look_at, make_image, telling, use

if TYPE_CHECKING:
    from pathlib import Path

    from .qemu_device import DeviceModule
    from .story import Story

_NAME = "xen"


def play(folder: Path, story: Story) -> None:
    """Play it by the shorter way that there is."""
    with story.step("guest image (kernel and initramfs from Debian's packages)"):
        guest = build.build(report=story.detail)
    with story.step("our device for QEMU (QEMU's headers from its source package)"):
        device = qemu_device.make(report=story.detail)
    with story.step("is there a KVM that emulates Xen"):
        why = acceleration.no_xen(device.qemu, guest)
    if why is None:
        story.note(f"QEMU {device.qemu.version}, {emulated_xen.ACCELERATOR}")
        _play_here(folder, story, device)
    else:
        story.note(f"no KVM here that emulates Xen: {why}")
        story.note("so a guest by TCG has one, and in that runs all the rest; count on two minutes")
        _play_nested(story, device)


def _play_here(folder: Path, story: Story, device: DeviceModule) -> None:
    image = make_image(folder)
    socket = folder / "vscsi0.sock"
    luns = [f"0:0:0:0={image}", "0:0:1:0=ram:64M"]
    with (
        Daemon(folder, sockets=[socket], luns=luns) as daemon,
        Machine(emulated_xen.spec(device, socket)) as machine,
    ):
        with story.step("Xen guest booted"):
            machine.boot()
        with telling(story, machine.console_log, daemon.log):
            use(machine, story)
            look_at(image, story)


def _play_nested(story: Story, device: DeviceModule) -> None:
    with story.step("kernel for the guest that has a KVM"):
        image = xen_host.make(report=story.detail)
    with OuterHost(image, ports=ports(_NAME)) as host:
        with story.step("Xen host booted"):
            host.boot()
        with story.step("back-end started in it"):
            daemon = OuterDaemon(host, {0: "/run/disk.img,share=on", 1: "ram:64M,share=on"})
            daemon.start()
        with InnerGuest(host, emulated_xen.spec(device, SOCKETS[0]), name=_NAME) as guest:
            with story.step("Xen guest booted"):
                guest.boot()
            with telling(story, guest.log, daemon.log):
                use(guest, story)
