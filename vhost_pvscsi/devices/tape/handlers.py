"""The commands of the emulated tape that are not the medium's, and what answers each."""

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
from vhost_pvscsi.scsi.codes import (
    MaintenanceIn,
    MaintenanceOut,
    Opcode,
    PersistentIn,
    PersistentOut,
    SequentialOpcode,
)
from vhost_pvscsi.scsi.command import Access, Command, CommandSet
from vhost_pvscsi.scsi.opcodes import SEQUENTIAL
from vhost_pvscsi.scsi.opcodes import tape_command as command

from . import loading, reports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .state import Handler

SET_IDENTIFYING_INFORMATION = command(
    Opcode.MAINTENANCE_OUT, MaintenanceOut.SET_IDENTIFYING_INFORMATION
)

#: Everything that is not the medium's, one function each.
HANDLERS: Mapping[Command, Handler] = {
    command(Opcode.TEST_UNIT_READY): readiness.test_unit_ready,
    command(Opcode.REQUEST_SENSE): readiness.request_sense,
    command(Opcode.INQUIRY): reports.inquiry,
    command(Opcode.MODE_SELECT_6): modes.mode_select_6,
    command(Opcode.MODE_SENSE_6): modes.mode_sense_6,
    command(Opcode.MODE_SELECT_10): modes.mode_select_10,
    command(Opcode.MODE_SENSE_10): modes.mode_sense_10,
    command(SequentialOpcode.READ_BLOCK_LIMITS): reports.read_block_limits,
    command(SequentialOpcode.REPORT_DENSITY_SUPPORT): reports.report_density_support,
    command(SequentialOpcode.LOAD_UNLOAD): loading.load_unload,
    command(Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL): readiness.prevent_allow,
    command(Opcode.RECEIVE_DIAGNOSTIC_RESULTS): diagnostics.receive_diagnostic_results,
    command(Opcode.SEND_DIAGNOSTIC): diagnostics.send_diagnostic,
    command(Opcode.LOG_SENSE): reports.log_sense,
    command(Opcode.REPORT_LUNS): report.report_luns,
    command(
        Opcode.MAINTENANCE_IN, MaintenanceIn.REPORT_TARGET_PORT_GROUPS
    ): ports.report_target_port_groups,
    command(
        Opcode.MAINTENANCE_IN, MaintenanceIn.REPORT_IDENTIFYING_INFORMATION
    ): identifying.report_identifying_information,
    SET_IDENTIFYING_INFORMATION: identifying.set_identifying_information,
    command(
        Opcode.MAINTENANCE_IN, MaintenanceIn.REPORT_SUPPORTED_OPERATION_CODES
    ): report.report_supported_operation_codes,
    command(
        Opcode.MAINTENANCE_IN, MaintenanceIn.REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS
    ): report.report_task_management,
    command(Opcode.RESERVE_6): reserving.reserve,
    command(Opcode.RELEASE_6): reserving.release,
    command(Opcode.RESERVE_10): reserving.reserve,
    command(Opcode.RELEASE_10): reserving.release,
    **{
        command(Opcode.PERSISTENT_RESERVE_IN, action): reserving.persistent_in
        for action in PersistentIn
    },
    **{
        command(Opcode.PERSISTENT_RESERVE_OUT, action): reserving.persistent_out
        for action in PersistentOut
    },
}

_ALL = CommandSet(
    known for known in SEQUENTIAL if known in HANDLERS or known.access is not Access.OTHER
)
#: Commands that are there only where something outlives the daemon.
_NONVOLATILE = frozenset({SET_IDENTIFYING_INFORMATION})
_VOLATILE = CommandSet(known for known in _ALL if known not in _NONVOLATILE)


def commands(*, nonvolatile: bool) -> CommandSet:
    """All that a tape answers, in the table's order; with nonvolatile memory or without."""
    return _ALL if nonvolatile else _VOLATILE
