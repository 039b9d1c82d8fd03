"""READ CAPACITY parameter data (SBC-4, "READ CAPACITY (10)", "READ CAPACITY (16)")."""

from __future__ import annotations

import struct

#: What READ CAPACITY(10) says where the last LBA does not fit: ask READ CAPACITY(16).
TOO_LARGE = 0xFFFFFFFF


def read_capacity_10(last_lba: int, block_size: int) -> bytes:
    """Build the 8 bytes of READ CAPACITY(10)."""
    return struct.pack(">II", min(last_lba, TOO_LARGE), block_size)


def read_capacity_16(
    last_lba: int,
    block_size: int,
    *,
    physical_exponent: int = 0,
    provisioned: bool = False,
    reads_zeros: bool = False,
) -> bytes:
    """Build the 32 bytes of READ CAPACITY(16).

    `physical_exponent`: a physical block is 2 to that power logical blocks.
    `provisioned`: LBPME, blocks can be unmapped; `reads_zeros`: LBPRZ, those read as zeros.
    """
    flags = provisioned << 15 | (provisioned and reads_zeros) << 14
    body = struct.pack(">QIBBH", last_lba, block_size, 0, physical_exponent & 0x0F, flags)
    return body.ljust(32, b"\0")
