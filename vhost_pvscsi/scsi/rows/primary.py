"""Commands of every kind of unit (SPC-5), but for reservations."""

from __future__ import annotations

from vhost_pvscsi.scsi.codes import MaintenanceIn, Opcode
from vhost_pvscsi.scsi.command import Barrier, Command, Direction, layout, row

_MODE_PAGE = {
    "dbd": (1, 3, 1),
    "page_control": (2, 6, 2),
    "page_code": (2, 0, 6),
    "subpage_code": (3, 0, 8),
}

_IN = Direction.IN

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
        _IN, ignores_attention=True,
    ),
    row(
        Opcode.MODE_SENSE_6, "MODE SENSE(6)", "SPC-5", 6,
        layout(**_MODE_PAGE, allocation_length=(4, 0, 8)), _IN, barrier=Barrier.READ,
    ),
    row(
        Opcode.MODE_SENSE_10, "MODE SENSE(10)", "SPC-5", 10,
        layout(llbaa=(1, 4, 1), **_MODE_PAGE, allocation_length=(7, 0, 16)),
        _IN, barrier=Barrier.READ,
    ),
    row(
        Opcode.REPORT_LUNS, "REPORT LUNS", "SPC-5", 12,
        layout(select_report=(2, 0, 8), allocation_length=(6, 0, 32)),
        _IN, ignores_attention=True,
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
