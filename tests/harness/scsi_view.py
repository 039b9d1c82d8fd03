"""Which LUNs a Linux guest sees: where, under which node, with which serial number."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from .disks import GuestDisk
from .errors import CommandFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .machine import Machine

#: Linux numbers a LUN as its 8 bytes say: flat addressing keeps its 01b (SAM-5 4.7.7.3).
_FLAT = 0x4000
#: How long a guest under TCG on a busy machine may take for what is to come at once.
PATIENCE = 60.0


class Place(NamedTuple):
    """Where a LUN of ours is: adapter by number, target, LUN."""

    adapter: int
    target: int
    lun: int

    @classmethod
    def of(cls, vdev: str) -> Self:
        """Return the place of a VDEV, in a guest that has an adapter for each host from 0 on."""
        host, _, target, lun = (int(word) for word in vdev.split(":"))
        return cls(host, target, lun)

    def vdev(self) -> str:
        """Return it as verbs take it."""
        return f"{self.adapter}:0:{self.target}:{self.lun}"

    def path(self) -> str:
        """Return its folder below /sys, with the adapter's host number as Linux gave it."""
        lun = self.lun if self.lun < 256 else self.lun | _FLAT
        return f"/sys/bus/scsi/devices/{self.adapter}:0:{self.target}:{lun}"


def wait_for(machine: Machine, *places: Place, there: bool = True) -> float:
    """Wait until the guest has all of these disks, or none; the seconds it took."""
    began = time.monotonic()
    names = " ".join(f"'{place.path()}/block/*'" if there else place.path() for place in places)
    until = "[ -e $(echo $name) ]" if there else "[ ! -e $name ]"
    # The wait is the guest's own, so that nothing but the sight of it is measured.
    loop = f"for name in {names}; do until {until}; do sleep 0.01; done; done"
    machine.console.check(loop, timeout=PATIENCE)
    return time.monotonic() - began


def disk(machine: Machine, place: Place) -> GuestDisk:
    """Return the disk at that place; it must be there."""
    return GuestDisk(machine, machine.console.check(f"ls {place.path()}/block").strip())


def places(machine: Machine) -> set[Place]:
    """Return where `lsscsi` shows LUNs."""
    return {_place(found) for found in _addresses(machine.console.check("lsscsi --generic"))}


def serials(machine: Machine) -> dict[Place, str]:
    """Return the serial number of each LUN that `lsscsi` shows, as `sg_inq` has it."""
    loop = (
        "lsscsi --generic | while read -r address rest; do"
        ' echo "$address $(sg_inq --page=sn ${rest##* })"; done'
    )
    told = machine.console.check(loop, timeout=PATIENCE)
    parts = re.split(r"^(?=\[)", told, flags=re.MULTILINE)[1:]
    found = {}
    for part in parts:
        serial = re.search(r"serial number: (\S+)", part)
        if serial is None:
            raise CommandFailedError(f"no serial number in {part!r}")
        found[_place(next(iter(_addresses(part))))] = serial[1]
    return found


def _addresses(text: str) -> Iterable[re.Match[str]]:
    return re.finditer(r"^\[(\d+):0:(\d+):(\d+)\]", text, re.MULTILINE)


def _place(address: re.Match[str]) -> Place:
    host, target, lun = (int(word) for word in address.groups())
    return Place(host, target, lun & ~_FLAT)
