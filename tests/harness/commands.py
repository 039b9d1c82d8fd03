"""CDBs that tests send, by name (SBC-4, SPC-5); blocks are counted, not bytes."""

from __future__ import annotations

import struct


def read_10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)


def read_16(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBQIBB", 0x88, 0, lba, blocks, 0, 0)


def write_10(lba: int, blocks: int, *, fua: bool = False) -> bytes:
    return struct.pack(">BBIBHB", 0x2A, fua << 3, lba, 0, blocks, 0)


def write_16(lba: int, blocks: int, *, fua: bool = False) -> bytes:
    return struct.pack(">BBQIBB", 0x8A, fua << 3, lba, blocks, 0, 0)


def synchronize_cache_10(lba: int = 0, blocks: int = 0) -> bytes:
    return struct.pack(">BBIBHB", 0x35, 0, lba, 0, blocks, 0)


def verify_10(lba: int, blocks: int, *, bytchk: int = 0) -> bytes:
    return struct.pack(">BBIBHB", 0x2F, bytchk << 1, lba, 0, blocks, 0)


def write_and_verify_10(lba: int, blocks: int, *, bytchk: int = 0) -> bytes:
    return struct.pack(">BBIBHB", 0x2E, bytchk << 1, lba, 0, blocks, 0)


def compare_and_write(lba: int, blocks: int, *, fua: bool = False) -> bytes:
    return struct.pack(">BBQ3xBBB", 0x89, fua << 3, lba, blocks, 0, 0)


def pre_fetch_10(lba: int, blocks: int, *, immediate: bool = False) -> bytes:
    return struct.pack(">BBIBHB", 0x34, immediate << 1, lba, 0, blocks, 0)


def write_same_16(lba: int, blocks: int, *, unmap: bool = False, ndob: bool = False) -> bytes:
    return struct.pack(">BBQIBB", 0x93, unmap << 3 | ndob, lba, blocks, 0, 0)


def unmap(length: int) -> bytes:
    return struct.pack(">BBIBHB", 0x42, 0, 0, 0, length, 0)


def unmap_list(*extents: tuple[int, int]) -> bytes:
    """Parameter list of UNMAP: (LBA, blocks) each."""
    descriptors = b"".join(struct.pack(">QII", lba, blocks, 0) for lba, blocks in extents)
    return struct.pack(">HHI", len(descriptors) + 6, len(descriptors), 0) + descriptors


def inquiry(length: int, *, page: int | None = None) -> bytes:
    evpd = page is not None
    return struct.pack(">BBBHB", 0x12, evpd, page or 0, length, 0)


def report_luns(length: int, *, select: int = 0) -> bytes:
    return struct.pack(">BBBBBBIBB", 0xA0, 0, select, 0, 0, 0, length, 0, 0)
