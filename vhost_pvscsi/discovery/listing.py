"""Lists devices of the host, and finds the one that a name means."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import DeviceError

from . import proc, sysfs
from .database import Database
from .device import MULTIPATH
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


def locate(name: DeviceName, passed: int | None = None) -> HostDevice:
    """Find the device that a name means. Its node is not opened.

    `passed` is the descriptor of fd:NAME. A WWN is that of the multipath device, where there is
    one: its paths are in use by that.

    Raises:
        DeviceError: there is none, there are several, or it is no SCSI device.
    """
    multipath = _multipath(name)
    if multipath is not None:
        return multipath
    address = _address(name, passed)
    if address is not None:
        facts = sysfs.scsi_device(address)
        if facts is not None:
            return describe(Database().complete(facts))
    return find(name, scsi_devices())


def _multipath(name: DeviceName) -> HostDevice | None:
    if name.by is By.WWN:
        facts = sysfs.block_facts()
    elif name.by is By.NODE:
        try:
            found = sysfs.block_device(name.value)
        except OSError:
            return None
        facts = iter([found] if found is not None else [])
    else:
        return None
    for each in facts:
        device = describe(each)
        if device.type == MULTIPATH and (name.by is By.NODE or device.wwn == name.value):
            return describe(Database().complete(each))
    return None


def number_of(name: DeviceName, passed: int | None) -> int:
    """Return the descriptor that is meant by fd:N, or by fd:NAME where that has been sent now.

    Raises:
        DeviceError: nobody has sent it.
    """
    if name.value.isdecimal():
        return int(name.value)
    if passed is None:
        raise DeviceError(
            f"{name}: no descriptor of that name is there, or not any more",
            hint="getfd of the control socket, then scsi-attach; or scsi-attach --pass",
        )
    return passed


def _address(name: DeviceName, passed: int | None) -> str | None:
    """Find where it is, if that can be told without looking at all devices."""
    if name.by is By.ADDRESS:
        return name.value
    if name.by not in {By.NODE, By.DESCRIPTOR}:
        return None
    node = name.value
    if name.by is By.DESCRIPTOR:
        node = f"/proc/self/fd/{number_of(name, passed)}"
    try:
        address = sysfs.node_of(node)
    except OSError:
        # It may be known to sysfs and udev all the same: a container has few nodes.
        return None
    if address is None:
        hint = "partitions, files and other block devices are emulated: leave out forward=on"
        if name.by is By.DESCRIPTOR:
            hint = "what is passed in is an SG node, open for reading and writing"
        what = "no node of a SCSI device"
        if sysfs.is_mapped(node):
            what = "a block device of device-mapper, but no multipath device"
        raise DeviceError(f"{name}: is {what}", hint=hint)
    return address
