"""Commands of CD and DVD drives (MMC-6), but for those that every kind of unit has."""

from __future__ import annotations

from dataclasses import replace

from vhost_pvscsi.scsi.codes import MultimediaOpcode, Opcode
from vhost_pvscsi.scsi.command import Access, Barrier, Command, Direction, layout, row

from . import blocks

_IN = Direction.IN

#: Of disks, and the same here bit by bit.
_LIKE_A_DISK = frozenset(
    {
        Opcode.READ_CAPACITY_10,
        Opcode.READ_10,
        Opcode.READ_12,
        Opcode.SEEK_10,
        Opcode.VERIFY_10,
        Opcode.SYNCHRONIZE_CACHE_10,
    }
)

#: What of each sector is wanted (MMC-6 6.19.2).
_SECTOR = {
    "expected_sector_type": (1, 2, 3),
    "dap": (1, 1, 1),
    "main_channel": (9, 3, 5),
    "c2": (9, 1, 2),
    "sub_channel": (10, 0, 3),
}

# fmt: off
ROWS: tuple[Command, ...] = (
    *(replace(one, source="MMC-6") for one in blocks.ROWS if one.opcode in _LIKE_A_DISK),
    row(
        # FL and the number of a layer are for discs with layers of several formats.
        Opcode.START_STOP_UNIT, "START STOP UNIT", "MMC-6", 6,
        layout(immed=(1, 0, 1), power_condition=(4, 4, 4), loej=(4, 1, 1), start=(4, 0, 1)),
        timeout=60, barrier=Barrier.WRITE, harmless={"start": 1, "power_condition": 0},
    ),
    row(
        Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL, "PREVENT ALLOW MEDIUM REMOVAL", "MMC-6", 6,
        layout(persistent=(4, 1, 1), prevent=(4, 0, 1)), barrier=Barrier.WRITE,
        harmless={"prevent": 0},
    ),
    row(
        MultimediaOpcode.READ_TOC_PMA_ATIP, "READ TOC/PMA/ATIP", "MMC-6", 10,
        layout(
            msf=(1, 1, 1), format=(2, 0, 4), track=(6, 0, 8), allocation_length=(7, 0, 16),
        ), _IN, barrier=Barrier.READ,
    ),
    # Neither these nor INQUIRY and REQUEST SENSE report unit attentions (MMC-6 4.1.6).
    row(
        MultimediaOpcode.GET_CONFIGURATION, "GET CONFIGURATION", "MMC-6", 10,
        layout(rt=(1, 0, 2), first_feature=(2, 0, 16), allocation_length=(7, 0, 16)),
        _IN, ignores_attention=True, barrier=Barrier.NONE,
    ),
    row(
        MultimediaOpcode.GET_EVENT_STATUS_NOTIFICATION, "GET EVENT STATUS NOTIFICATION", "MMC-6",
        10, layout(polled=(1, 0, 1), classes=(4, 0, 8), allocation_length=(7, 0, 16)),
        _IN, ignores_attention=True, barrier=Barrier.NONE,
    ),
    row(
        MultimediaOpcode.READ_DISC_INFORMATION, "READ DISC INFORMATION", "MMC-6", 10,
        layout(data_type=(1, 0, 3), allocation_length=(7, 0, 16)), _IN, barrier=Barrier.READ,
    ),
    row(
        MultimediaOpcode.READ_TRACK_INFORMATION, "READ TRACK INFORMATION", "MMC-6", 10,
        layout(
            open=(1, 2, 1), address_type=(1, 0, 2), address=(2, 0, 32),
            allocation_length=(7, 0, 16),
        ), _IN, barrier=Barrier.READ,
    ),
    row(
        MultimediaOpcode.READ_DISC_STRUCTURE, "READ DISC STRUCTURE", "MMC-6", 12,
        layout(
            media_type=(1, 0, 4), address=(2, 0, 32), layer=(6, 0, 8), format=(7, 0, 8),
            allocation_length=(8, 0, 16), agid=(10, 6, 2),
        ), _IN, barrier=Barrier.READ,
    ),
    row(
        MultimediaOpcode.READ_CD_MSF, "READ CD MSF", "MMC-6", 12,
        layout(start=(3, 0, 24), end=(6, 0, 24), **_SECTOR), _IN, Access.READ, timeout=30,
    ),
    # A wish: an image is as quick as its host.
    row(
        MultimediaOpcode.SET_CD_SPEED, "SET CD SPEED", "MMC-6", 12,
        layout(rotational_control=(1, 0, 2), read_speed=(2, 0, 16), write_speed=(4, 0, 16)),
        barrier=Barrier.NONE,
    ),
    row(
        MultimediaOpcode.MECHANISM_STATUS, "MECHANISM STATUS", "MMC-6", 12,
        layout(allocation_length=(8, 0, 16)), _IN, barrier=Barrier.NONE,
    ),
    row(
        MultimediaOpcode.READ_CD, "READ CD", "MMC-6", 12,
        layout(lba=(2, 0, 32), transfer_length=(6, 0, 24), **_SECTOR), _IN, Access.READ, timeout=30,
    ),
)
# fmt: on
