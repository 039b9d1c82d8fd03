"""Commands of tapes (SSC-5), but for those that every kind of unit has."""

from __future__ import annotations

from vhost_pvscsi.scsi.codes import Opcode, SequentialOpcode
from vhost_pvscsi.scsi.command import Access, Barrier, Command, Direction, layout, row

_IN, _OUT, _NONE = Direction.IN, Direction.OUT, Direction.NONE
_READ, _WRITE = Access.READ, Access.WRITE

# What moves the tape is a conflict with whatever another nexus holds (SSC-5 4.2.16).
_MOVES = Barrier.WRITE

# fmt: off
ROWS: tuple[Command, ...] = (
    row(
        SequentialOpcode.REWIND, "REWIND", "SSC-5", 6, layout(immed=(1, 0, 1)),
        _NONE, _READ, timeout=60, barrier=_MOVES,
    ),
    row(
        SequentialOpcode.READ_BLOCK_LIMITS, "READ BLOCK LIMITS", "SSC-5", 6, layout(), _IN,
        barrier=Barrier.RESERVE,
    ),
    row(
        SequentialOpcode.READ_6, "READ(6)", "SSC-5", 6,
        layout(sili=(1, 1, 1), fixed=(1, 0, 1), transfer_length=(2, 0, 24)),
        _IN, _READ, timeout=60, barrier=_MOVES,
    ),
    row(
        SequentialOpcode.WRITE_6, "WRITE(6)", "SSC-5", 6,
        layout(fixed=(1, 0, 1), transfer_length=(2, 0, 24)), _OUT, _WRITE, timeout=60,
    ),
    row(
        SequentialOpcode.WRITE_FILEMARKS_6, "WRITE FILEMARKS(6)", "SSC-5", 6,
        layout(immed=(1, 0, 1), filemark_count=(2, 0, 24)), _NONE, _WRITE, timeout=300,
    ),
    row(
        SequentialOpcode.SPACE_6, "SPACE(6)", "SSC-5", 6,
        layout(code=(1, 0, 4), count=(2, 0, 24)), _NONE, _READ, timeout=60, barrier=_MOVES,
    ),
    row(
        SequentialOpcode.VERIFY_6, "VERIFY(6)", "SSC-5", 6,
        layout(
            vte=(1, 5, 1), vbf=(1, 3, 1), immed=(1, 2, 1), bytcmp=(1, 1, 1), fixed=(1, 0, 1),
            verification_length=(2, 0, 24),
        ), _OUT, _READ, timeout=3600, barrier=_MOVES,
    ),
    row(
        SequentialOpcode.ERASE_6, "ERASE(6)", "SSC-5", 6,
        layout(immed=(1, 1, 1), long=(1, 0, 1)), _NONE, _WRITE, timeout=300,
    ),
    row(
        SequentialOpcode.LOAD_UNLOAD, "LOAD UNLOAD", "SSC-5", 6,
        layout(
            immed=(1, 0, 1), hold=(4, 3, 1), eot=(4, 2, 1), reten=(4, 1, 1), load=(4, 0, 1),
        ), timeout=300, barrier=_MOVES,
    ),
    row(
        Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL, "PREVENT ALLOW MEDIUM REMOVAL", "SSC-5", 6,
        layout(prevent=(4, 0, 2)), barrier=Barrier.WRITE, harmless={"prevent": 0},
    ),
    row(
        SequentialOpcode.LOCATE_10, "LOCATE(10)", "SSC-5", 10,
        layout(
            bt=(1, 2, 1), cp=(1, 1, 1), immed=(1, 0, 1), logical_object_identifier=(3, 0, 32),
            partition=(8, 0, 8),
        ), _NONE, _READ, timeout=60, barrier=_MOVES,
    ),
    row(
        # Its service actions are forms of one answer, and have no rows of their own.
        SequentialOpcode.READ_POSITION, "READ POSITION", "SSC-5", 10,
        layout(form=(1, 0, 5), allocation_length=(7, 0, 16)), _IN, _READ,
        barrier=Barrier.RESERVE,
    ),
    row(
        SequentialOpcode.REPORT_DENSITY_SUPPORT, "REPORT DENSITY SUPPORT", "SSC-5", 10,
        layout(medium_type=(1, 1, 1), media=(1, 0, 1), allocation_length=(7, 0, 16)), _IN,
        barrier=Barrier.RESERVE,
    ),
    row(
        # Its service actions are about one list, and have no rows of their own.
        SequentialOpcode.READ_ATTRIBUTE, "READ ATTRIBUTE", "SPC-5", 16,
        layout(
            action=(1, 0, 5), logical_volume_number=(5, 0, 8), partition_number=(7, 0, 8),
            first_attribute_identifier=(8, 0, 16), allocation_length=(10, 0, 32), cache=(14, 0, 1),
        ), _IN, barrier=Barrier.READ,
    ),
    row(
        SequentialOpcode.WRITE_ATTRIBUTE, "WRITE ATTRIBUTE", "SPC-5", 16,
        layout(
            wtc=(1, 0, 1), logical_volume_number=(5, 0, 8), partition_number=(7, 0, 8),
            parameter_list_length=(10, 0, 32),
        ), _OUT, timeout=60,
    ),
    row(
        SequentialOpcode.SPACE_16, "SPACE(16)", "SSC-5", 16,
        layout(code=(1, 0, 4), count=(4, 0, 64), parameter_list_length=(12, 0, 16)),
        _NONE, _READ, timeout=60, barrier=_MOVES,
    ),
    row(
        SequentialOpcode.LOCATE_16, "LOCATE(16)", "SSC-5", 16,
        layout(
            dest_type=(1, 3, 3), cp=(1, 1, 1), immed=(1, 0, 1), partition=(3, 0, 8),
            logical_identifier=(4, 0, 64),
        ), _NONE, _READ, timeout=60, barrier=_MOVES,
    ),
    row(
        SequentialOpcode.ERASE_16, "ERASE(16)", "SSC-5", 16,
        layout(immed=(1, 1, 1), long=(1, 0, 1)), _NONE, _WRITE, timeout=300,
    ),
)
# fmt: on
