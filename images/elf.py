"""ELF files: which libraries they need, and what a kernel module says of itself.

System V ABI, "Object Files" and "Dynamic Linking"; 64-bit little-endian only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import RigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_MAGIC = b"\x7fELF\x02\x01"
_DT_NEEDED, _DT_STRTAB = 1, 5
_PT_LOAD, _PT_DYNAMIC = 1, 2


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def is_elf(path: Path) -> bool:
    """Tell whether a regular file is a 64-bit ELF file."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def needed(path: Path) -> list[str]:
    """Return the shared libraries that an ELF file names (DT_NEEDED)."""
    data = path.read_bytes()
    segments = list(_segments(data))
    entries = list(_dynamic(data, segments))
    strings = next((value for tag, value in entries if tag == _DT_STRTAB), None)
    if strings is None:
        return []
    base = _file_offset(strings, segments)
    return [_text(data, base + value) for tag, value in entries if tag == _DT_NEEDED]


def library_closure(programs: Iterable[Path], folders: Sequence[Path]) -> dict[str, Path]:
    """Return every library that `programs` need, by name, as found in `folders`.

    Raises:
        RigError: a library is in none of the folders.
    """
    found: dict[str, Path] = {}
    waiting = list(programs)
    while waiting:
        program = waiting.pop()
        for name in needed(program):
            if name not in found:
                found[name] = _locate(name, folders, program)
                waiting.append(found[name])
    return found


def module_information(path: Path) -> dict[str, list[str]]:
    """Return the `.modinfo` of a kernel module: key = its values."""
    fields: dict[str, list[str]] = {}
    for item in _section(path.read_bytes(), b".modinfo").split(b"\0"):
        key, _, value = item.decode("latin-1").partition("=")
        fields.setdefault(key, []).append(value)
    return fields


def _locate(name: str, folders: Sequence[Path], wanted_by: Path) -> Path:
    for folder in folders:
        if (path := folder / name).exists():
            return path
    raise RigError(f"{wanted_by} needs {name}, which none of the unpacked packages has")


def _segments(data: bytes) -> Iterator[_Segment]:
    offset, _, _, _, size, count = struct.unpack_from("<QQIHHH", data, 0x20)
    for index in range(count):
        kind, _, at, address, _, length = struct.unpack_from("<IIQQQQ", data, offset + index * size)
        yield _Segment(kind, at, address, length)


def _dynamic(data: bytes, segments: Iterable[_Segment]) -> Iterator[tuple[int, int]]:
    for segment in segments:
        if segment.kind == _PT_DYNAMIC:
            yield from struct.iter_unpack("<QQ", data[segment.offset :][: segment.size])


def _file_offset(address: int, segments: Iterable[_Segment]) -> int:
    for segment in segments:
        if segment.kind == _PT_LOAD and 0 <= address - segment.address < segment.size:
            return segment.offset + address - segment.address
    raise RigError(f"ELF address {address:#x} is in no segment")


def _section(data: bytes, name: bytes) -> bytes:
    (offset,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", data, offset + i * size) for i in range(count)]
    names = headers[names_index][4]
    for name_at, _, _, _, start, length in headers:
        if data[names + name_at :].split(b"\0", 1)[0] == name:
            return data[start : start + length]
    return b""


def _text(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
