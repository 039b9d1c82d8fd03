"""Readiness of an emulated unit, and who keeps its medium in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices import unready
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.request import Reply, Request

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb

    from .state import UnitState


async def test_unit_ready(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer TEST UNIT READY (SPC-5, "TEST UNIT READY command")."""
    del request, cdb
    progress = unit.progress()
    if progress is not None:
        code = sense.NOT_READY_OPERATION_IN_PROGRESS
        return sense.check_condition(code, progress=progress.part)
    return unit.not_ready() or Reply()


async def request_sense(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer REQUEST SENSE: a unit attention, which this clears, or the state of the unit.

    Of a command that goes on behind its answer it says how far that is (SPC-5 4.4.2.4.3).

    SPC-5, "REQUEST SENSE command"; SAM-5 5.14.
    """
    code = await unit.attentions.take(request.nexus)
    progress = unit.progress()
    if code is None and progress is not None:
        return unready.request_sense(cdb, progress.code, progress=progress.part)
    if code is None:
        code = unit.unreadiness() or sense.NO_ADDITIONAL_SENSE
    return unready.request_sense(cdb, code)


async def prevent_allow(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer PREVENT ALLOW MEDIUM REMOVAL (SBC-4, that command), for the nexus that sends it.

    It is accepted where the medium cannot be removed anyway.
    """
    if cdb["prevent"] > 1:
        # 10b and 11b are obsolete: they spoke of a changer.
        where = cdb.field("prevent")
        return sense.invalid_field(where.byte, where.top_bit)
    async with unit.removal.changing:
        if cdb["prevent"] and unit.removable:
            unit.removal.preventing.add(request.nexus)
        else:
            unit.removal.allow(request.nexus)
    return Reply()
