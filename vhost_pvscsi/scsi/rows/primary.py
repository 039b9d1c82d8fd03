"""Commands of every kind of unit (SPC-5), but for reservations."""

from __future__ import annotations

from vhost_pvscsi.scsi.codes import MaintenanceIn, MaintenanceOut, Opcode
from vhost_pvscsi.scsi.command import Barrier, Command, Direction, layout, row

_MODE_PAGE = {
    "dbd": (1, 3, 1),
    "page_control": (2, 6, 2),
    "page_code": (2, 0, 6),
    "subpage_code": (3, 0, 8),
}

#: RTD, to go back to the default values, is not there: it is refused.
_MODE_SELECT = {"pf": (1, 4, 1), "sp": (1, 0, 1)}

#: Until a target has said that it is newer, Linux writes the LUN there as SCSI-2 has it (7.2.2):
#: the first INQUIRY to a target without LUN 0.
_SCSI_2_LUN = layout(logical_unit_number=(1, 5, 3))

_IN, _OUT = Direction.IN, Direction.OUT

# fmt: off
ROWS: tuple[Command, ...] = (
    row(
        Opcode.TEST_UNIT_READY, "TEST UNIT READY", "SPC-5", 6, layout(),
        barrier=Barrier.RESERVE,
    ),
    row(
        Opcode.REQUEST_SENSE, "REQUEST SENSE", "SPC-5", 6,
        layout(desc=(1, 0, 1), allocation_length=(4, 0, 8)),
        _IN, ignores_attention=True,
    ),
    row(
        Opcode.INQUIRY, "INQUIRY", "SPC-5", 6,
        layout(evpd=(1, 0, 1), page_code=(2, 0, 8), allocation_length=(3, 0, 16)),
        _IN, ignores_attention=True, ignored=_SCSI_2_LUN,
    ),
    row(
        Opcode.MODE_SELECT_6, "MODE SELECT(6)", "SPC-5", 6,
        layout(**_MODE_SELECT, parameter_list_length=(4, 0, 8)), _OUT,
    ),
    row(
        Opcode.MODE_SENSE_6, "MODE SENSE(6)", "SPC-5", 6,
        layout(**_MODE_PAGE, allocation_length=(4, 0, 8)), _IN, barrier=Barrier.READ,
    ),
    row(
        Opcode.RECEIVE_DIAGNOSTIC_RESULTS, "RECEIVE DIAGNOSTIC RESULTS", "SPC-5", 6,
        layout(pcv=(1, 0, 1), page_code=(2, 0, 8), allocation_length=(3, 0, 16)), _IN,
    ),
    # DEVOFFL and UNITOFFL permit effects that the default self-test does not have.
    row(
        Opcode.SEND_DIAGNOSTIC, "SEND DIAGNOSTIC", "SPC-5", 6,
        layout(
            self_test_code=(1, 5, 3), pf=(1, 4, 1), selftest=(1, 2, 1), devoffl=(1, 1, 1),
            unitoffl=(1, 0, 1), parameter_list_length=(3, 0, 16),
        ), _OUT,
    ),
    row(
        Opcode.MODE_SELECT_10, "MODE SELECT(10)", "SPC-5", 10,
        layout(**_MODE_SELECT, parameter_list_length=(7, 0, 16)), _OUT,
    ),
    row(
        Opcode.MODE_SENSE_10, "MODE SENSE(10)", "SPC-5", 10,
        layout(llbaa=(1, 4, 1), **_MODE_PAGE, allocation_length=(7, 0, 16)),
        _IN, barrier=Barrier.READ,
    ),
    # Neither saved parameters (SP) nor PPC, obsolete since SPC-4.
    row(
        Opcode.LOG_SENSE, "LOG SENSE", "SPC-5", 10,
        layout(
            page_control=(2, 6, 2), page_code=(2, 0, 6), subpage_code=(3, 0, 8),
            parameter_pointer=(5, 0, 16), allocation_length=(7, 0, 16),
        ), _IN, barrier=Barrier.RESERVE,
    ),
    row(
        Opcode.MAINTENANCE_IN, "REPORT TARGET PORT GROUPS", "SPC-5", 12,
        layout(parameter_data_format=(1, 5, 3), allocation_length=(6, 0, 32)),
        _IN, service_action=MaintenanceIn.REPORT_TARGET_PORT_GROUPS, barrier=Barrier.RESERVE,
    ),
    row(
        Opcode.REPORT_LUNS, "REPORT LUNS", "SPC-5", 12,
        layout(select_report=(2, 0, 8), allocation_length=(6, 0, 32)),
        _IN, ignores_attention=True,
    ),
    row(
        Opcode.MAINTENANCE_IN, "REPORT IDENTIFYING INFORMATION", "SPC-5", 12,
        layout(allocation_length=(6, 0, 32), information_type=(10, 1, 7)),
        _IN, service_action=MaintenanceIn.REPORT_IDENTIFYING_INFORMATION,
        barrier=Barrier.RESERVE,
    ),
    row(
        Opcode.MAINTENANCE_OUT, "SET IDENTIFYING INFORMATION", "SPC-5", 12,
        layout(parameter_list_length=(6, 0, 32), information_type=(10, 1, 7)),
        _OUT, service_action=MaintenanceOut.SET_IDENTIFYING_INFORMATION,
    ),
    row(
        Opcode.MAINTENANCE_IN, "REPORT SUPPORTED OPERATION CODES", "SPC-5", 12,
        layout(
            rctd=(2, 7, 1), reporting_options=(2, 0, 3), requested_opcode=(3, 0, 8),
            requested_service_action=(4, 0, 16), allocation_length=(6, 0, 32),
        ), _IN, service_action=MaintenanceIn.REPORT_SUPPORTED_OPERATION_CODES,
        barrier=Barrier.READ,
    ),
    row(
        Opcode.MAINTENANCE_IN, "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", "SPC-5", 12,
        layout(repd=(2, 7, 1), allocation_length=(6, 0, 32)),
        _IN, service_action=MaintenanceIn.REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS,
        barrier=Barrier.READ,
    ),
)
# fmt: on
