"""Diagnostics of an emulated unit: the default self-test, and the one page that is mandatory."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.request import Reply, Request, Service
from vhost_pvscsi.scsi.sense import invalid_field, invalid_parameter

from .state import UnitState, truncated

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb

#: Supported diagnostic pages (SPC-5 7.3.2): which pages there are, itself alone.
_SUPPORTED_PAGES = 0x00
#: Page code, a reserved byte, page length.
_HEAD = struct.Struct(">BxH")


async def send_diagnostic(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer SEND DIAGNOSTIC (SPC-5, that command).

    The default self-test finds the unit as ready as TEST UNIT READY does; there are no others.
    """
    if cdb["self_test_code"]:
        where = cdb.field("self_test_code")
        return invalid_field(where.byte, where.top_bit)
    length = cdb["parameter_list_length"]
    if cdb["selftest"]:
        return invalid_field(cdb.field("parameter_list_length").byte) if length else _test(unit)
    if len(request.data_out) < length:
        return Reply(service=Service.OVERRUN)
    return _page_given(request.data_out[:length])


def _test(unit: UnitState) -> Reply:
    return unit.not_ready() or Reply()


def _page_given(data: bytes) -> Reply:
    """Take a parameter list: nothing, or the page that asks which pages there are."""
    if not data:
        return Reply()
    if len(data) < _HEAD.size:
        return sense.check_condition(sense.PARAMETER_LIST_LENGTH_ERROR)
    page, length = _HEAD.unpack_from(data)
    if page != _SUPPORTED_PAGES:
        return invalid_parameter(0)
    return invalid_parameter(2) if length else Reply()


async def receive_diagnostic_results(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer RECEIVE DIAGNOSTIC RESULTS (SPC-5, that command).

    Without PCV it is the page that was last asked for, and there is but one.
    """
    del unit, request
    if cdb["page_code"] not in ({_SUPPORTED_PAGES} if cdb["pcv"] else range(256)):
        return invalid_field(cdb.field("page_code").byte)
    return truncated(_HEAD.pack(_SUPPORTED_PAGES, 1) + bytes((_SUPPORTED_PAGES,)), cdb)
