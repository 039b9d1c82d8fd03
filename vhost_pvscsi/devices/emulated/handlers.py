"""The commands of the emulated disk that are not the medium's, and what answers each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import (
    diagnostics,
    identifying,
    modes,
    ports,
    readiness,
    report,
    reserving,
)
from vhost_pvscsi.scsi import opcodes
from vhost_pvscsi.scsi.codes import (
    MaintenanceIn,
    MaintenanceOut,
    Opcode,
    PersistentIn,
    PersistentOut,
    ServiceActionIn,
    ThirdPartyIn,
    ThirdPartyOut,
)
from vhost_pvscsi.scsi.command import Access, Command, CommandSet

from . import blocks, copying, defects, inquiry, logs, power, provisioning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .state import Handler

SET_IDENTIFYING_INFORMATION = opcodes.command(
    Opcode.MAINTENANCE_OUT, MaintenanceOut.SET_IDENTIFYING_INFORMATION
)

#: Everything that is not the medium's, one function each.
HANDLERS: Mapping[Command, Handler] = {
    opcodes.command(Opcode.TEST_UNIT_READY): readiness.test_unit_ready,
    opcodes.command(Opcode.REQUEST_SENSE): readiness.request_sense,
    opcodes.command(Opcode.INQUIRY): inquiry.inquiry,
    opcodes.command(Opcode.MODE_SELECT_6): modes.mode_select_6,
    opcodes.command(Opcode.MODE_SENSE_6): modes.mode_sense_6,
    opcodes.command(Opcode.START_STOP_UNIT): power.start_stop_unit,
    opcodes.command(Opcode.RECEIVE_DIAGNOSTIC_RESULTS): diagnostics.receive_diagnostic_results,
    opcodes.command(Opcode.SEND_DIAGNOSTIC): diagnostics.send_diagnostic,
    opcodes.command(Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL): readiness.prevent_allow,
    opcodes.command(Opcode.READ_CAPACITY_10): blocks.read_capacity_10,
    opcodes.command(Opcode.SEEK_10): blocks.seek_10,
    opcodes.command(Opcode.MODE_SELECT_10): modes.mode_select_10,
    opcodes.command(Opcode.MODE_SENSE_10): modes.mode_sense_10,
    opcodes.command(
        Opcode.SERVICE_ACTION_IN_16, ServiceActionIn.READ_CAPACITY_16
    ): blocks.read_capacity_16,
    opcodes.command(
        Opcode.SERVICE_ACTION_IN_16, ServiceActionIn.GET_LBA_STATUS
    ): provisioning.get_lba_status,
    opcodes.command(Opcode.LOG_SENSE): logs.log_sense,
    opcodes.command(Opcode.REPORT_LUNS): report.report_luns,
    opcodes.command(
        Opcode.MAINTENANCE_IN, MaintenanceIn.REPORT_TARGET_PORT_GROUPS
    ): ports.report_target_port_groups,
    opcodes.command(
        Opcode.MAINTENANCE_IN, MaintenanceIn.REPORT_IDENTIFYING_INFORMATION
    ): identifying.report_identifying_information,
    SET_IDENTIFYING_INFORMATION: identifying.set_identifying_information,
    opcodes.command(
        Opcode.MAINTENANCE_IN, MaintenanceIn.REPORT_SUPPORTED_OPERATION_CODES
    ): report.report_supported_operation_codes,
    opcodes.command(
        Opcode.MAINTENANCE_IN, MaintenanceIn.REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS
    ): report.report_task_management,
    opcodes.command(Opcode.READ_DEFECT_DATA_10): defects.read_defect_data_10,
    opcodes.command(Opcode.READ_DEFECT_DATA_12): defects.read_defect_data_12,
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
    **{
        opcodes.command(Opcode.THIRD_PARTY_COPY_OUT, action): copying.extended_copy
        for action in (ThirdPartyOut.EXTENDED_COPY_LID1, ThirdPartyOut.EXTENDED_COPY_LID4)
    },
    opcodes.command(
        Opcode.THIRD_PARTY_COPY_OUT, ThirdPartyOut.COPY_OPERATION_ABORT
    ): copying.copy_operation_abort,
    **{
        opcodes.command(Opcode.THIRD_PARTY_COPY_IN, action): copying.receive_copy_results
        for action in ThirdPartyIn
        if action is not ThirdPartyIn.RECEIVE_COPY_OPERATING_PARAMETERS
    },
    opcodes.command(
        Opcode.THIRD_PARTY_COPY_IN, ThirdPartyIn.RECEIVE_COPY_OPERATING_PARAMETERS
    ): copying.receive_copy_operating_parameters,
}

_ALL = CommandSet(
    command
    for command in opcodes.TABLE
    if command in HANDLERS or command.access is not Access.OTHER
)
#: Commands that are there only where something outlives the daemon.
_NONVOLATILE = frozenset({SET_IDENTIFYING_INFORMATION})
_VOLATILE = CommandSet(command for command in _ALL if command not in _NONVOLATILE)


def commands(*, nonvolatile: bool) -> CommandSet:
    """All that a disk answers, in the table's order; with nonvolatile memory or without."""
    return _ALL if nonvolatile else _VOLATILE
