"""REPORT SUPPORTED OPERATION CODES: what a LUN's policy refuses is not supported there."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.codes import MaintenanceIn, Opcode
from vhost_pvscsi.scsi.opcodes import command
from vhost_pvscsi.scsi.request import Reply, Request

from .asking import as_asked, is_good, whole
from .registry import inbound, outbound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.translation import Mapping

_ACTION = MaintenanceIn.REPORT_SUPPORTED_OPERATION_CODES
_COMMAND = command(Opcode.MAINTENANCE_IN, _ACTION)

#: More than 2,000 descriptors with timeouts: any device's list.
_ROOM = 0xFFFF
#: Lengths of a command descriptor, without and with a timeouts descriptor behind it.
_SHORT, _LONG = 8, 20
#: Of a command descriptor's byte 5.
_HAS_SERVICE_ACTION, _HAS_TIMEOUTS = 0x01, 0x02
#: REPORTING OPTIONS values.
_ALL, _BY_OPCODE = 0, 1
#: SUPPORT: it is not (SPC-5, "One_command parameter data format").
_NOT_SUPPORTED = 0b001


@inbound(Opcode.MAINTENANCE_IN, _ACTION)
def whole_list(request: Request, mapping: Mapping) -> Request:
    """Ask for the whole list: what is left of it is shorter."""
    cdb = _COMMAND.parse(request.cdb)
    if isinstance(cdb, Reply) or not _has_say(mapping):
        return request
    return whole(request, cdb.field("allocation_length"), _ROOM)


@outbound(Opcode.MAINTENANCE_IN, _ACTION)
def only_allowed(request: Request, reply: Reply, mapping: Mapping) -> Reply:
    """Leave out what is refused; say of a single command that it is not supported."""
    cdb = _COMMAND.parse(request.cdb)
    if isinstance(cdb, Reply) or not _has_say(mapping):
        return reply
    if not is_good(reply):
        return as_asked(request, reply)
    if cdb["reporting_options"] == _ALL:
        rows = b"".join(_allowed(reply.data, mapping))
        data = len(rows).to_bytes(4, "big") + rows
    elif _is_refused_alone(cdb, mapping):
        data = struct.pack(">xBH", _NOT_SUPPORTED, 0)
    else:
        data = reply.data
    return replace(reply, data=data[: cdb["allocation_length"]])


def _has_say(mapping: Mapping) -> bool:
    policy = mapping.presentation.policy
    return bool(policy.denied) or mapping.unit.forwarded_as is not None


def _is_refused(mapping: Mapping, opcode: int, action: int | None) -> bool:
    policy = mapping.presentation.policy
    return policy.refusal(mapping.unit.forwarded_as, opcode, action) is not None


def _is_refused_alone(cdb: Cdb, mapping: Mapping) -> bool:
    by_opcode = cdb["reporting_options"] == _BY_OPCODE
    action = None if by_opcode else cdb["requested_service_action"]
    return _is_refused(mapping, cdb["requested_opcode"], action)


def _allowed(data: bytes, mapping: Mapping) -> Iterator[bytes]:
    end = min(4 + int.from_bytes(data[:4], "big"), len(data))
    at = 4
    while at + _SHORT <= end:
        flags = data[at + 5]
        size = _LONG if flags & _HAS_TIMEOUTS else _SHORT
        row = data[at : at + size]
        action = int.from_bytes(row[2:4], "big") if flags & _HAS_SERVICE_ACTION else None
        if len(row) == size and not _is_refused(mapping, row[0], action):
            yield row
        at += size
