"""START STOP UNIT of the emulated disk."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.request import Reply, Request

from . import removal

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb

    from .state import DiskState

log = logging.getLogger(__name__)

#: POWER CONDITION values that START STOP UNIT has here: START_VALID and ACTIVE.
_START_VALID, _ACTIVE = 0x0, 0x1


async def start_stop_unit(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Start or stop the unit (SBC-4, "START STOP UNIT command").

    Only a removable unit loads and ejects its medium; there are no power conditions but active.
    A stop makes the writes stable first, unless NO_FLUSH says otherwise.
    """
    condition = cdb["power_condition"]
    for wrong, name in (
        (condition not in {_START_VALID, _ACTIVE}, "power_condition"),
        (bool(cdb["power_condition_modifier"]), "power_condition_modifier"),
        (_moves_medium(cdb) and not disk.geometry.removable, "loej"),
    ):
        if wrong:
            where = cdb.field(name)
            return sense.invalid_field(where.byte, where.top_bit)
    async with disk.removal.changing:
        if _moves_medium(cdb):
            return await _move_medium(disk, request.nexus, cdb)
        if disk.removal.ejected:
            return sense.check_condition(sense.MEDIUM_NOT_PRESENT)
        if condition == _ACTIVE or cdb["start"]:
            await disk.set_stopped(False)
            return Reply()
        return await _stop(disk, cdb)


def _moves_medium(cdb: Cdb) -> bool:
    # With another POWER CONDITION, START and LOEJ are ignored (SBC-4).
    return cdb["power_condition"] == _START_VALID and bool(cdb["loej"])


async def _move_medium(disk: DiskState, nexus: str, cdb: Cdb) -> Reply:
    if cdb["start"]:
        await removal.load(disk, nexus)
        return Reply()
    if disk.removal.ejected:
        return Reply()
    if disk.removal.preventing:
        return sense.check_condition(sense.MEDIUM_REMOVAL_PREVENTED)
    stopped = await _stop(disk, cdb)
    if not stopped.sense:
        # Where writes could not be made stable the medium stays in, and can be started again.
        disk.removal.ejected = True
    return stopped


async def _stop(disk: DiskState, cdb: Cdb) -> Reply:
    await disk.set_stopped(True)
    return Reply() if cdb["no_flush"] else await _flushed(disk)


async def _flushed(disk: DiskState) -> Reply:
    if disk.flush is not None:
        try:
            await disk.flush()
        except OSError as error:
            log.error("%s: flush on stop failed: %s", disk.identity.serial, error)  # noqa: TRY400
            return sense.check_condition(sense.WRITE_ERROR)
    return Reply()
