"""The commands of the emulated disk that are not the medium's, and what answers each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import opcodes
from vhost_pvscsi.scsi.codes import (
    MaintenanceIn,
    Opcode,
    PersistentIn,
    PersistentOut,
    ServiceActionIn,
)
from vhost_pvscsi.scsi.command import Access, Command, CommandSet

from . import blocks, inquiry, power, report, reserving

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .state import Handler

#: Everything that is not the medium's, one function each.
HANDLERS: Mapping[Command, Handler] = {
    opcodes.command(Opcode.TEST_UNIT_READY): power.test_unit_ready,
    opcodes.command(Opcode.REQUEST_SENSE): power.request_sense,
    opcodes.command(Opcode.INQUIRY): inquiry.inquiry,
    opcodes.command(Opcode.MODE_SENSE_6): blocks.mode_sense_6,
    opcodes.command(Opcode.START_STOP_UNIT): power.start_stop_unit,
    opcodes.command(Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL): power.prevent_allow,
    opcodes.command(Opcode.READ_CAPACITY_10): blocks.read_capacity_10,
    opcodes.command(Opcode.MODE_SENSE_10): blocks.mode_sense_10,
    opcodes.command(
        Opcode.SERVICE_ACTION_IN_16, ServiceActionIn.READ_CAPACITY_16
    ): blocks.read_capacity_16,
    opcodes.command(Opcode.REPORT_LUNS): report.report_luns,
    opcodes.command(
        Opcode.MAINTENANCE_IN, MaintenanceIn.REPORT_SUPPORTED_OPERATION_CODES
    ): report.report_supported_operation_codes,
    opcodes.command(
        Opcode.MAINTENANCE_IN, MaintenanceIn.REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS
    ): report.report_task_management,
    opcodes.command(Opcode.READ_DEFECT_DATA_10): report.read_defect_data_10,
    opcodes.command(Opcode.READ_DEFECT_DATA_12): report.read_defect_data_12,
    opcodes.command(Opcode.RESERVE_6): reserving.reserve,
    opcodes.command(Opcode.RELEASE_6): reserving.release,
    opcodes.command(Opcode.RESERVE_10): reserving.reserve,
    opcodes.command(Opcode.RELEASE_10): reserving.release,
    **{
        opcodes.command(Opcode.PERSISTENT_RESERVE_IN, action): reserving.persistent_in
        for action in PersistentIn
    },
    **{
        opcodes.command(Opcode.PERSISTENT_RESERVE_OUT, action): reserving.persistent_out
        for action in PersistentOut
    },
}

#: All that the disk answers, in the table's order.
COMMANDS = CommandSet(
    command
    for command in opcodes.TABLE
    if command in HANDLERS or command.access is not Access.OTHER
)
