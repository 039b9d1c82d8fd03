"""Readiness of the emulated disk: sense, start, stop, removal."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.request import Reply, Request

from .state import DiskState, truncated

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb

log = logging.getLogger(__name__)

#: POWER CONDITION values that START STOP UNIT has here: START_VALID and ACTIVE.
_START_VALID, _ACTIVE = 0x0, 0x1


def not_ready(disk: DiskState) -> Reply | None:
    """The refusal of a command that needs a started unit, if it is stopped."""
    if disk.stopped:
        return sense.check_condition(sense.INITIALIZING_COMMAND_REQUIRED)
    return None


async def test_unit_ready(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer TEST UNIT READY (SPC-5, "TEST UNIT READY command")."""
    del request, cdb
    return not_ready(disk) or Reply()


async def request_sense(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer REQUEST SENSE: a unit attention, which this clears, or the state of the unit.

    SPC-5, "REQUEST SENSE command"; SAM-5 5.14.
    """
    code = await disk.attentions.take(request.nexus)
    if code is None:
        stopped = disk.stopped
        code = sense.INITIALIZING_COMMAND_REQUIRED if stopped else sense.NO_ADDITIONAL_SENSE
    build = sense.descriptor if cdb["desc"] else sense.fixed
    return truncated(build(code), cdb)


async def start_stop_unit(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Start or stop the unit (SBC-4, "START STOP UNIT command").

    The medium cannot be loaded or ejected, and there are no power conditions but active.
    A stop makes the writes stable first, unless NO_FLUSH says otherwise.
    """
    del request
    condition = cdb["power_condition"]
    for wrong, name in (
        (condition not in {_START_VALID, _ACTIVE}, "power_condition"),
        (bool(cdb["power_condition_modifier"]), "power_condition_modifier"),
        (condition == _START_VALID and bool(cdb["loej"]), "loej"),
    ):
        if wrong:
            where = cdb.field(name)
            return sense.invalid_field(where.byte, where.top_bit)
    if condition == _ACTIVE or cdb["start"]:
        await disk.set_stopped(False)
        return Reply()
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


async def prevent_allow(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Accept PREVENT ALLOW MEDIUM REMOVAL: the medium cannot be removed anyway (SBC-4)."""
    del disk, request
    if cdb["prevent"] > 1:
        # 10b and 11b are obsolete: they spoke of a changer.
        where = cdb.field("prevent")
        return sense.invalid_field(where.byte, where.top_bit)
    return Reply()
