"""A machine with emulated Xen, whose pvSCSI host is another process."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from . import images
from .machine import Backend, MachineSpec

if TYPE_CHECKING:
    from pathlib import Path

    from images.qemu_device import DeviceModule

#: What selects the emulation: Xen 4.17, and interrupt controllers that QEMU and KVM share.
ACCELERATOR = "kvm,xen-version=0x40011,kernel-irqchip=split"


def spec(device: DeviceModule, socket: Path) -> MachineSpec:
    """Return one with our device, whose back-end listens there."""
    return MachineSpec(
        qemu=replace(device.qemu, environment=device.environment),
        image=images.xen_guest(),
        config="pc-xen-vscsi",
        backends=(Backend(socket, "vscsi0", reconnect=True),),
        accelerator=ACCELERATOR,
        modules=("xen-scsifront", "sg", "sd_mod"),
    )
