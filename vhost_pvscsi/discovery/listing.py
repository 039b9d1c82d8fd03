"""Lists devices of the host, and finds the one that a name means."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import DeviceError

from . import proc, sysfs
from .database import Database
from .facts import describe
from .names import By, DeviceName
from .resolve import find

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .device import HostDevice


def scsi_devices() -> list[HostDevice]:
    """List all SCSI devices, by address."""
    database = Database()
    return [describe(database.complete(facts)) for facts in sysfs.scsi_facts()]


def block_devices() -> list[HostDevice]:
    """List block devices that are no SCSI devices, by name."""
    database = Database()
    return [describe(database.complete(facts)) for facts in sysfs.block_facts()]


def with_usage(devices: Sequence[HostDevice], *, processes: bool = True) -> list[HostDevice]:
    """Look who uses them; see `proc.uses`."""
    uses = proc.uses(processes=processes)
    return [replace(device, usage=uses.of(device)) for device in devices]


def locate(name: DeviceName) -> HostDevice:
    """Find the device that a name means. Its node is not opened.

    Raises:
        DeviceError: there is none, there are several, or it is no SCSI device.
    """
    address = _address(name)
    if address is not None:
        facts = sysfs.scsi_device(address)
        if facts is not None:
            return describe(Database().complete(facts))
    return find(name, scsi_devices())


def _address(name: DeviceName) -> str | None:
    """Find where it is, if that can be told without looking at all devices."""
    if name.by is By.ADDRESS:
        return name.value
    if name.by not in {By.NODE, By.DESCRIPTOR}:
        return None
    node = name.value if name.by is By.NODE else f"/proc/self/fd/{name.value}"
    try:
        address = sysfs.node_of(node)
    except OSError:
        # It may be known to sysfs and udev all the same: a container has few nodes.
        return None
    if address is None:
        hint = "partitions, files and other block devices are emulated: leave out forward=on"
        if name.by is By.DESCRIPTOR:
            hint = "fd:N is an SG node, open for reading and writing when the daemon begins"
        raise DeviceError(f"{name}: is no node of a SCSI device", hint=hint)
    return address
