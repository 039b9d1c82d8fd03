"""What an emulated unit reports of itself: LUNs, commands, task management."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.unready import report_luns as answer_luns
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.sense import invalid_field

from .state import UnitState, truncated

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.command import Command, CommandSet
    from vhost_pvscsi.scsi.request import Reply, Request

#: SUPPORT values (SPC-5, "One_command parameter data format").
_NOT_SUPPORTED, _STANDARD = 0b001, 0b011

#: What REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS returns without REPD, and at least asks for.
_SHORT_TASK_MANAGEMENT = 4

#: REPORTING OPTIONS values.
_ALL, _BY_OPCODE, _BY_SERVICE_ACTION, _BY_EITHER = range(4)


async def report_luns(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer REPORT LUNS as if alone; the munger puts the target's LUNs in.

    The initiator learns here what a REPORTED LUNS DATA HAS CHANGED would tell it.
    """
    reply = answer_luns(cdb, (0,))
    if not reply.sense:
        await unit.attentions.clear(request.nexus, sense.REPORTED_LUNS_DATA_HAS_CHANGED)
    return reply


async def report_supported_operation_codes(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer REPORT SUPPORTED OPERATION CODES (SPC-5, that command) from the opcode table."""
    del request
    options, timeouts = cdb["reporting_options"], bool(cdb["rctd"])
    if options == _ALL:
        return truncated(_all_commands(unit.commands, timeouts=timeouts), cdb)
    if options > _BY_EITHER:
        where = cdb.field("reporting_options")
        return invalid_field(where.byte, where.top_bit)
    opcode, service_action = cdb["requested_opcode"], cdb["requested_service_action"]
    plain = unit.commands.get(opcode)
    has_service_actions = unit.commands.has_opcode(opcode) and plain is None
    if options == _BY_OPCODE and has_service_actions:
        return invalid_field(cdb.field("requested_opcode").byte)
    if options == _BY_SERVICE_ACTION and plain is not None:
        return invalid_field(cdb.field("requested_service_action").byte)
    found = unit.commands.get(opcode, service_action)
    if options == _BY_OPCODE or (options == _BY_EITHER and service_action == 0 and plain):
        found = plain
    return truncated(_one_command(found, timeouts=timeouts), cdb)


async def report_task_management(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-5, that command).

    All that `Adapter.manage` carries out: ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL
    UNIT RESET, QUERY TASK; QUERY TASK SET, I_T NEXUS RESET. No timeouts are stated.
    """
    del unit, request
    if cdb["allocation_length"] < _SHORT_TASK_MANAGEMENT:
        return invalid_field(cdb.field("allocation_length").byte)
    functions = bytes([0xDC, 0x03, 0x00])
    return truncated(functions + (b"\x0c" + bytes(12) if cdb["repd"] else b"\0"), cdb)


def _timeouts(command: Command) -> bytes:
    # SPC-5, "Command timeouts descriptor format"; a nominal time is not stated.
    return struct.pack(">HxBII", 10, 0, 0, command.timeout)


def _one_command(command: Command | None, *, timeouts: bool) -> bytes:
    if command is None:
        return struct.pack(">xBH", _NOT_SUPPORTED, 0)
    head = struct.pack(">xBH", _STANDARD | (0x80 if timeouts else 0), command.length)
    return head + command.usage_data + (_timeouts(command) if timeouts else b"")


def _all_commands(commands: CommandSet, *, timeouts: bool) -> bytes:
    rows = b"".join(
        struct.pack(
            ">BxHxBH",
            command.opcode,
            command.service_action or 0,
            (0x02 if timeouts else 0) | (command.service_action is not None),
            command.length,
        )
        + (_timeouts(command) if timeouts else b"")
        for command in commands
    )
    return struct.pack(">I", len(rows)) + rows
