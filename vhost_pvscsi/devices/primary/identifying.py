"""Identifying information of an emulated unit: what its users call it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import identifying, sense
from vhost_pvscsi.scsi.identifying import MOST, InformationType
from vhost_pvscsi.scsi.request import Reply, Request, Service
from vhost_pvscsi.scsi.sense import invalid_field

from .state import UnitState, truncated

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb

log = logging.getLogger(__name__)


async def report_identifying_information(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer REPORT IDENTIFYING INFORMATION (SPC-5, that command); nothing was set: no bytes."""
    del request
    kind = cdb["information_type"]
    if kind == InformationType.SUPPORTED:
        # What cannot outlive the daemon cannot be set.
        return truncated(identifying.report_supported(MOST if unit.memory else {}), cdb)
    if kind not in MOST:
        return _unknown(cdb)
    return truncated(identifying.report(_known(unit, kind)), cdb)


async def set_identifying_information(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer SET IDENTIFYING INFORMATION (SPC-5, that command); no bytes forget what was set."""
    kind, length = cdb["information_type"], cdb["parameter_list_length"]
    if kind not in MOST or unit.memory is None:
        return _unknown(cdb)
    if length > MOST[InformationType(kind)]:
        return invalid_field(cdb.field("parameter_list_length").byte)
    if len(request.data_out) < length:
        return Reply(service=Service.OVERRUN)
    given = request.data_out[:length]
    if given == _known(unit, kind):
        return Reply()
    try:
        await unit.memory.keep(_section(kind), given.hex() or None)
    except OSError as error:
        log.error(  # noqa: TRY400
            "%s: identifying information was not kept: %s", unit.identity.serial, error
        )
        return sense.check_condition(sense.INTERNAL_TARGET_FAILURE)
    await unit.attentions.establish(sense.DEVICE_IDENTIFIER_CHANGED, but=request.nexus)
    return Reply()


def _known(unit: UnitState, kind: int) -> bytes:
    kept = unit.memory.section(_section(kind)) if unit.memory else None
    try:
        return bytes.fromhex(kept)[: MOST[InformationType(kind)]] if isinstance(kept, str) else b""
    except ValueError:
        # Somebody edited the file. It is a label: the unit is no worse without it.
        return b""


def _section(kind: int) -> str:
    return f"identifying-information-{kind:02x}"


def _unknown(cdb: Cdb) -> Reply:
    where = cdb.field("information_type")
    return invalid_field(where.byte, where.top_bit)
