"""A changer as a front-end drives it, and what it should do, as a mapping."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .lun import Lun

if TYPE_CHECKING:
    from pathlib import Path


#: Element type codes.
ALL, PICK, SLOT, PORTAL, DRIVE = range(5)
#: First element addresses.
FIRST = {PICK: 1, PORTAL: 16, DRIVE: 256, SLOT: 1024}

TEST_UNIT_READY = bytes(6)
PREVENT, ALLOW = bytes((0x1E, 0, 0, 0, 1, 0)), bytes((0x1E, 0, 0, 0, 0, 0))
INITIALIZE = bytes((0x07, *bytes(5)))

FULL, EMPTY, NO_ELEMENT = (5, 0x3B, 0x0D), (5, 0x3B, 0x0E), (5, 0x21, 0x01)
NOT_ACCESSIBLE = (5, 0x3B, 0x11)
PREVENTED, LOAD_FAILED, NO_DRIVE = (5, 0x53, 0x02), (4, 0x53, 0x00), (5, 0x3B, 0x1A)
ACCESSED, CHANGED, NOT_THERE = (6, 0x28, 0x01), (6, 0x28, 0x00), (2, 0x3A, 0x00)

ROOM = 1 << 16


def slot(number: int) -> int:
    return FIRST[SLOT] + number - 1


def portal(number: int) -> int:
    return FIRST[PORTAL] + number - 1


def drive(number: int) -> int:
    return FIRST[DRIVE] + number


def move(source: int, destination: int, *, pick: int = 0, invert: int = 0) -> bytes:
    return struct.pack(">BxHHHxxBx", 0xA5, pick, source, destination, invert)


def exchange(source: int, first: int, second: int, *, turns: int = 0) -> bytes:
    return struct.pack(">BxHHHHBx", 0xA6, 0, source, first, second, turns)


def open_close(element: int, action: int) -> bytes:
    return struct.pack(">BxHBx", 0x1B, element, action)


def position(element: int, *, pick: int = 0) -> bytes:
    return struct.pack(">BxHHxxxx", 0x2B, pick, element)


def initialize_range(start: int, count: int) -> bytes:
    return struct.pack(">BBHxxHxx", 0x37, 1, start, count)


def read_status(
    kind: int = ALL,
    *,
    start: int = 0,
    count: int = 0xFFFF,
    room: int = ROOM,
    tagged: bool = True,
    flags: int = 0,
) -> bytes:
    return (
        struct.pack(">BBHHB", 0xB8, tagged << 4 | kind, start, count, flags)
        + room.to_bytes(3, "big")
        + bytes(2)
    )


@dataclass(frozen=True)
class Element:
    """An element descriptor, as a guest reads it."""

    address: int
    kind: int
    flags: int
    code: tuple[int, int]
    source: int | None
    tag: str | None
    identifier: bytes

    @property
    def full(self) -> bool:
        return bool(self.flags & 1)


def elements(data: bytes) -> list[Element]:
    """Read element status data that is whole."""
    first, count, length = struct.unpack_from(">HHI", data)
    assert len(data) == 8 + length
    found = []
    at = 8
    while at < len(data):
        kind, tags, size, total = struct.unpack_from(">BBHI", data, at)
        assert total % size == 0
        at += 8
        tagged = bool(tags & 0x80)
        found += [_element(kind, tagged, data[i : i + size]) for i in range(at, at + total, size)]
        at += total
    assert len(found) == count
    assert not found or found[0].address == first
    return found


def _element(kind: int, tagged: bool, data: bytes) -> Element:
    address, flags, code, qualifier, valid, source = struct.unpack_from(">HBxBB3xBH", data)
    rest = data[12:]
    tag = None
    if tagged:
        tag = rest[:32].rstrip(b" \0").decode() or None
        rest = rest[36:]
    assert bool(flags & 1) == bool(tag) or not tagged
    identifier = rest[4 : 4 + rest[3]]
    return Element(
        address, kind, flags, (code, qualifier), source if valid & 0x80 else None, tag, identifier
    )


class Changer(Lun):
    """A changer at an address of a front-end."""

    def check(self, cdb: bytes, *, data_in: int = 0) -> bytes:
        response = self.do(cdb, data_in=data_in)
        assert response.good, (cdb.hex(), response)
        return response.data[: data_in - response.resid]

    def elements(self, kind: int = ALL, **more: int) -> list[Element]:
        return elements(self.check(read_status(kind, **more), data_in=ROOM))

    def lying(self) -> dict[int, str]:
        """What lies where: barcodes by element address."""
        return {one.address: one.tag for one in self.elements() if one.tag is not None}

    def move(self, source: int, destination: int) -> None:
        self.check(move(source, destination))


def make_library(folder: Path, *names: str, settings: str = "") -> Path:
    """Make a folder of empty tapes."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.tap").touch()
    if settings:
        (folder / "changer.toml").write_text(settings)
    return folder


@dataclass
class Model:
    """What a changer should do: what lies where, and the slot that each came from.

    Each function changes it and says how the command should end, None: GOOD.
    """

    lying: dict[int, str]
    sources: dict[str, int | None]
    kept: set[int]  #: drives whose removal is prevented
    storing: frozenset[int]  #: elements that cartridges can lie in

    def move(self, source: int, destination: int) -> tuple[int, int, int] | None:
        if not {source, destination} <= self.storing:
            return NO_ELEMENT
        if source not in self.lying:
            return EMPTY
        if destination in self.lying:
            return FULL
        if source in self.kept:
            return PREVENTED
        self._put({destination: self.lying.pop(source)}, {destination: source})
        return None

    def exchange(self, source: int, first: int, second: int) -> tuple[int, int, int] | None:
        if not {source, first, second} <= self.storing:
            return NO_ELEMENT
        if source not in self.lying or first not in self.lying:
            return EMPTY
        if source == first or (second in self.lying and second != source):
            return FULL
        if {source, first} & self.kept:
            return PREVENTED
        new, old = self.lying.pop(source), self.lying.pop(first)
        self._put({first: new, second: old}, {first: source, second: first})
        return None

    def _put(self, placed: dict[int, str], came: dict[int, int]) -> None:
        for element, tag in placed.items():
            self.lying[element] = tag
            if came[element] >= FIRST[SLOT]:
                self.sources[tag] = came[element]
