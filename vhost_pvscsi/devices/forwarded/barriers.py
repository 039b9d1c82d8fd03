"""Which reservations of another guest stop a command for a device of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.command import Barrier, CommandSet
from vhost_pvscsi.scsi.opcodes import SEQUENTIAL, TABLE
from vhost_pvscsi.scsi.pages import DeviceType
from vhost_pvscsi.scsi.request import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

_TABLES = {DeviceType.TAPE: CommandSet(SEQUENTIAL)}
_OF_BLOCKS = CommandSet(TABLE)

#: What devices know beyond our own tables and may be done all the same: SPC-5 5.14.1, MMC-6 4.2.
#: READ BUFFER, READ ATTRIBUTE, SECURITY PROTOCOL IN read; MAINTENANCE IN, GET CONFIGURATION, GET
#: EVENT STATUS NOTIFICATION only tell; READ TOC, READ DISC INFORMATION, READ TRACK INFORMATION,
#: MECHANISM STATUS, READ ELEMENT STATUS read. LOG SENSE and MODE SENSE are in the tables.
_OTHERS: Mapping[int, Barrier] = {
    **dict.fromkeys(b"\xa3\x46\x4a", Barrier.RESERVE),
    **dict.fromkeys(b"\x3c\x8c\xa2\x43\x51\x52\xbd\xb8\x9e\xab", Barrier.READ),
}


def barrier(device_type: DeviceType, cdb: bytes) -> Barrier:
    """Say which; what nobody knows is stopped by all that stops a WRITE."""
    found = _TABLES.get(device_type, _OF_BLOCKS).find(cdb)
    if isinstance(found, Reply):
        return _OTHERS.get(cdb[0], Barrier.WRITE)
    return found.barrier_of(cdb)
