"""Write an initramfs: a "newc" cpio archive.

Linux kernel, Documentation/driver-api/early-userspace/buffer-format.rst.
Everything in it belongs to root and has no time, so equal trees give equal files.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

_HEADER_FIELDS = 13


def write(tree: Path, out: BinaryIO) -> None:
    """Write all that is below `tree` to `out`, sorted."""
    for path in sorted(tree.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            data = str(path.readlink()).encode()
        elif stat.S_ISREG(mode):
            data = path.read_bytes()
        else:
            data = b""
        out.write(_entry(str(path.relative_to(tree)), mode, data))
    out.write(_entry("TRAILER!!!", 0, b""))


def _entry(name: str, mode: int, data: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    fields = [0] * _HEADER_FIELDS
    fields[1], fields[4], fields[6], fields[11] = mode, 1, len(data), len(encoded)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
