"""Readiness of an emulated unit, and who keeps its medium in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.request import Reply, Request

from .state import UnitState, truncated

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb


async def test_unit_ready(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer TEST UNIT READY (SPC-5, "TEST UNIT READY command")."""
    del request, cdb
    return unit.not_ready() or Reply()


async def request_sense(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer REQUEST SENSE: a unit attention, which this clears, or the state of the unit.

    SPC-5, "REQUEST SENSE command"; SAM-5 5.14.
    """
    code = await unit.attentions.take(request.nexus)
    if code is None:
        code = unit.unreadiness() or sense.NO_ADDITIONAL_SENSE
    build = sense.descriptor if cdb["desc"] else sense.fixed
    return truncated(build(code), cdb)


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
