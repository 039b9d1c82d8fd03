"""The commands that every emulated unit answers alike, and what answers each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.codes import (
    MaintenanceIn,
    MaintenanceOut,
    Opcode,
    PersistentIn,
    PersistentOut,
)
from vhost_pvscsi.scsi.command import Access, Command, CommandSet
from vhost_pvscsi.scsi.opcodes import command

from . import diagnostics, identifying, modes, ports, readiness, report, reserving

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from .state import Handler, UnitState

SET_IDENTIFYING_INFORMATION = command(
    Opcode.MAINTENANCE_OUT, MaintenanceOut.SET_IDENTIFYING_INFORMATION
)

#: One function each. The rows are the same for all types of units.
HANDLERS: Mapping[Command, Handler[UnitState]] = {
    command(Opcode.TEST_UNIT_READY): readiness.test_unit_ready,
    command(Opcode.REQUEST_SENSE): readiness.request_sense,
    command(Opcode.MODE_SELECT_6): modes.mode_select_6,
    command(Opcode.MODE_SENSE_6): modes.mode_sense_6,
    command(Opcode.MODE_SELECT_10): modes.mode_select_10,
    command(Opcode.MODE_SENSE_10): modes.mode_sense_10,
    command(Opcode.RECEIVE_DIAGNOSTIC_RESULTS): diagnostics.receive_diagnostic_results,
    command(Opcode.SEND_DIAGNOSTIC): diagnostics.send_diagnostic,
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

#: Commands that are there only where something outlives the daemon.
_NONVOLATILE = frozenset({SET_IDENTIFYING_INFORMATION})


class Answered:
    """What a type of unit answers of a table: the medium's commands, and those with a handler."""

    def __init__(self, table: Iterable[Command], handlers: Container[Command]) -> None:
        known = [row for row in table if row in handlers or row.access is not Access.OTHER]
        self._all = CommandSet(known)
        self._volatile = CommandSet(row for row in known if row not in _NONVOLATILE)

    def __call__(self, *, nonvolatile: bool) -> CommandSet:
        """All of them, in the table's order; with nonvolatile memory or without."""
        return self._all if nonvolatile else self._volatile
