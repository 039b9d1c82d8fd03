"""Finds the device that a name means, among those that there are. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.errors import DeviceError

from .device import BLOCK
from .names import By

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .device import HostDevice
    from .names import DeviceName

#: So many devices are named by an error.
_LISTED = 12


def find(name: DeviceName, devices: Sequence[HostDevice]) -> HostDevice:
    """Find the SCSI device of that name; a node is named as sysfs has it, no link to it.

    Raises:
        DeviceError: there is none, or there are several.
    """
    there = [device for device in devices if device.type != BLOCK]
    found = [device for device in there if _means(name, device)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DeviceError(
            f"{name}: {len(found)} devices are called so: {_list(found)}",
            hint="name one of them by its h:c:t:l",
        )
    raise DeviceError(
        f"{name}: there is no such SCSI device on this host",
        hint=f"there is {_list(there)}" if there else "there is none: vhost-pvscsi devices",
    )


def _means(name: DeviceName, device: HostDevice) -> bool:
    match name.by:
        case By.ADDRESS:
            return str(device.address) == name.value
        case By.WWN:
            return device.wwn == name.value
        case By.SERIAL:
            return device.serial == name.value
        case By.DESCRIPTOR:
            return False  # `listing.locate` asks the kernel what it is
        case By.NODE:
            return name.value in {path for _, path in device.nodes.there()} | set(device.links)


def _list(devices: Sequence[HostDevice]) -> str:
    shown = [
        f"{device.address} {device.type} {device.nodes.usual}".rstrip()
        for device in devices[:_LISTED]
    ]
    if len(devices) > _LISTED:
        shown.append(f"and {len(devices) - _LISTED} more")
    return ", ".join(shown)
