"""The boot record of the disk that firmware boots (UEFI 2.10, tables 5.1 and 5.2)."""

from __future__ import annotations

import struct

from images import boot_disk

CODE = bytes(range(256)) + bytes(184)
SIGNATURE = bytes.fromhex("c0ffee42")


def test_boot_record_has_code_signature_and_one_partition_to_the_end():
    record = boot_disk.boot_record(CODE, SIGNATURE)
    assert len(record) == 512
    assert record[:440] == CODE
    assert record[440:444] == SIGNATURE
    assert record[510:] == b"\x55\xaa"
    assert record[462:510] == bytes(48)
    active, kind, start, count = struct.unpack("<B3xB3xII", record[446:462])
    assert (active, kind) == (0x80, 0xEF)
    assert start * 512 == 1 << 20
    assert (start + count) * 512 == 64 << 20
