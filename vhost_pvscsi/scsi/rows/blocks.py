"""Commands of disks (SBC-4)."""

from __future__ import annotations

from vhost_pvscsi.scsi.codes import Opcode, ServiceActionIn
from vhost_pvscsi.scsi.command import Access, Barrier, Command, Direction, layout, row

# Medium commands of each length share a layout. RDPROTECT, WRPROTECT and VRPROTECT are not in
# it: without protection information they have to be 0 (SBC-4, "Protection information model").
_CACHE_BITS = {"dpo": (1, 4, 1), "fua": (1, 3, 1)}
_LBA_10 = {"lba": (2, 0, 32), "group_number": (6, 0, 6), "transfer_length": (7, 0, 16)}
_LBA_12 = {"lba": (2, 0, 32), "transfer_length": (6, 0, 32), "group_number": (10, 0, 6)}
_LBA_16 = {"lba": (2, 0, 64), "transfer_length": (10, 0, 32), "group_number": (14, 0, 6)}
_RW_6 = layout(lba=(1, 0, 21), transfer_length=(4, 0, 8))
_RW_10 = layout(**_CACHE_BITS, **_LBA_10)
_RW_12 = layout(**_CACHE_BITS, **_LBA_12)
_RW_16 = layout(**_CACHE_BITS, **_LBA_16)
_VERIFY_BITS = {"dpo": (1, 4, 1), "bytchk": (1, 1, 2)}

_NONE, _IN, _OUT = Direction.NONE, Direction.IN, Direction.OUT
_READ, _WRITE, _FLUSH = Access.READ, Access.WRITE, Access.FLUSH

# fmt: off
ROWS: tuple[Command, ...] = (
    row(Opcode.READ_6, "READ(6)", "SBC-2", 6, _RW_6, _IN, _READ, timeout=30),
    row(Opcode.WRITE_6, "WRITE(6)", "SBC-2", 6, _RW_6, _OUT, _WRITE, timeout=30),
    row(
        Opcode.START_STOP_UNIT, "START STOP UNIT", "SBC-4", 6,
        layout(
            immed=(1, 0, 1), power_condition_modifier=(3, 0, 4), power_condition=(4, 4, 4),
            no_flush=(4, 2, 1), loej=(4, 1, 1), start=(4, 0, 1),
        ), timeout=60, barrier=Barrier.WRITE, harmless={"start": 1, "power_condition": 0},
    ),
    row(
        Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL, "PREVENT ALLOW MEDIUM REMOVAL", "SBC-4", 6,
        layout(prevent=(4, 0, 2)), barrier=Barrier.WRITE, harmless={"prevent": 0},
    ),
    row(
        # The LBA and PMI became obsolete with SBC-3; what older initiators mean by them is kept.
        Opcode.READ_CAPACITY_10, "READ CAPACITY(10)", "SBC-4", 10,
        layout(lba=(2, 0, 32), pmi=(8, 0, 1)), _IN, barrier=Barrier.RESERVE,
    ),
    row(Opcode.READ_10, "READ(10)", "SBC-4", 10, _RW_10, _IN, _READ, timeout=30),
    row(Opcode.WRITE_10, "WRITE(10)", "SBC-4", 10, _RW_10, _OUT, _WRITE, timeout=30),
    # Obsolete since SBC-3; initiators that still send it find a head that is everywhere.
    row(
        Opcode.SEEK_10, "SEEK(10)", "SBC-2", 10, layout(lba=(2, 0, 32)), barrier=Barrier.READ,
    ),
    row(
        Opcode.WRITE_AND_VERIFY_10, "WRITE AND VERIFY(10)", "SBC-4", 10,
        layout(**_VERIFY_BITS, **_LBA_10), _OUT, _WRITE, timeout=60,
    ),
    row(
        Opcode.VERIFY_10, "VERIFY(10)", "SBC-4", 10,
        layout(**_VERIFY_BITS, **_LBA_10), _OUT, _READ, timeout=30,
    ),
    row(
        Opcode.PRE_FETCH_10, "PRE-FETCH(10)", "SBC-4", 10,
        layout(immed=(1, 1, 1), **_LBA_10), _NONE, _READ, timeout=30,
    ),
    row(
        Opcode.SYNCHRONIZE_CACHE_10, "SYNCHRONIZE CACHE(10)", "SBC-4", 10,
        layout(immed=(1, 1, 1), **_LBA_10), _NONE, _FLUSH, timeout=60,
    ),
    row(
        Opcode.READ_DEFECT_DATA_10, "READ DEFECT DATA(10)", "SBC-4", 10,
        layout(
            req_plist=(2, 4, 1), req_glist=(2, 3, 1), defect_list_format=(2, 0, 3),
            allocation_length=(7, 0, 16),
        ), _IN, barrier=Barrier.READ,
    ),
    row(
        Opcode.WRITE_SAME_10, "WRITE SAME(10)", "SBC-4", 10,
        layout(unmap=(1, 3, 1), **_LBA_10), _OUT, _WRITE, timeout=120,
    ),
    row(
        Opcode.UNMAP, "UNMAP", "SBC-4", 10,
        layout(group_number=(6, 0, 6), parameter_list_length=(7, 0, 16)),
        _OUT, _WRITE, timeout=120,
    ),
    row(Opcode.READ_16, "READ(16)", "SBC-4", 16, _RW_16, _IN, _READ, timeout=30),
    row(
        Opcode.COMPARE_AND_WRITE, "COMPARE AND WRITE", "SBC-4", 16,
        layout(
            **_CACHE_BITS, lba=(2, 0, 64), number_of_blocks=(13, 0, 8), group_number=(14, 0, 6),
        ), _OUT, Access.EXCLUSIVE, timeout=30,
    ),
    row(Opcode.WRITE_16, "WRITE(16)", "SBC-4", 16, _RW_16, _OUT, _WRITE, timeout=30),
    row(
        Opcode.WRITE_AND_VERIFY_16, "WRITE AND VERIFY(16)", "SBC-4", 16,
        layout(**_VERIFY_BITS, **_LBA_16), _OUT, _WRITE, timeout=60,
    ),
    row(
        Opcode.VERIFY_16, "VERIFY(16)", "SBC-4", 16,
        layout(**_VERIFY_BITS, **_LBA_16), _OUT, _READ, timeout=30,
    ),
    row(
        Opcode.PRE_FETCH_16, "PRE-FETCH(16)", "SBC-4", 16,
        layout(immed=(1, 1, 1), **_LBA_16), _NONE, _READ, timeout=30,
    ),
    row(
        Opcode.SYNCHRONIZE_CACHE_16, "SYNCHRONIZE CACHE(16)", "SBC-4", 16,
        layout(immed=(1, 1, 1), **_LBA_16), _NONE, _FLUSH, timeout=60,
    ),
    row(
        Opcode.WRITE_SAME_16, "WRITE SAME(16)", "SBC-4", 16,
        layout(unmap=(1, 3, 1), ndob=(1, 0, 1), **_LBA_16), _OUT, _WRITE, timeout=120,
    ),
    row(
        Opcode.SERVICE_ACTION_IN_16, "READ CAPACITY(16)", "SBC-4", 16,
        layout(lba=(2, 0, 64), allocation_length=(10, 0, 32), pmi=(14, 0, 1)),
        _IN, service_action=ServiceActionIn.READ_CAPACITY_16, barrier=Barrier.RESERVE,
    ),
    row(
        Opcode.SERVICE_ACTION_IN_16, "GET LBA STATUS(16)", "SBC-4", 16,
        layout(starting_lba=(2, 0, 64), allocation_length=(10, 0, 32), report_type=(14, 0, 8)),
        _IN, service_action=ServiceActionIn.GET_LBA_STATUS, barrier=Barrier.READ,
    ),
    row(Opcode.READ_12, "READ(12)", "SBC-4", 12, _RW_12, _IN, _READ, timeout=30),
    row(Opcode.WRITE_12, "WRITE(12)", "SBC-4", 12, _RW_12, _OUT, _WRITE, timeout=30),
    row(
        Opcode.WRITE_AND_VERIFY_12, "WRITE AND VERIFY(12)", "SBC-4", 12,
        layout(**_VERIFY_BITS, **_LBA_12), _OUT, _WRITE, timeout=60,
    ),
    row(
        Opcode.VERIFY_12, "VERIFY(12)", "SBC-4", 12,
        layout(**_VERIFY_BITS, **_LBA_12), _OUT, _READ, timeout=30,
    ),
    row(
        Opcode.READ_DEFECT_DATA_12, "READ DEFECT DATA(12)", "SBC-4", 12,
        layout(
            req_plist=(1, 4, 1), req_glist=(1, 3, 1), defect_list_format=(1, 0, 3),
            address_descriptor_index=(2, 0, 32), allocation_length=(6, 0, 32),
        ), _IN, barrier=Barrier.READ,
    ),
)
# fmt: on
