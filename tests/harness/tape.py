"""A tape as a front-end drives it, and what a tape should do, as lists."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from .lun import Lun

if TYPE_CHECKING:
    from .frontend import Response

#: A block's bytes, or None for a filemark.
Object: TypeAlias = bytes | None

REWIND = bytes((0x01, 0, 0, 0, 0, 0))
UNLOAD, LOAD = bytes((0x1B, 0, 0, 0, 0, 0)), bytes((0x1B, 0, 0, 0, 1, 0))
READ_POSITION = bytes((0x34, *bytes(9)))
BLOCKS, MARKS, ROW, END = 0, 1, 2, 3  # what SPACE goes over

#: Flags beside the sense key, in byte 2 of fixed format sense data.
FILEMARK, EOM, ILI = 0x80, 0x40, 0x20
FOUND_MARK = (0, 0x00, 0x01)
EARLY_WARNING = (0, 0x00, 0x02)
BEGINNING = (0, 0x00, 0x04)
END_OF_DATA = (8, 0x00, 0x05)
MISCOMPARE = (0xE, 0x1D, 0x00)
OVERFLOW = (0xD, 0x00, 0x02)
NOTHING_MORE = (0, 0x00, 0x00)
ROOM = 1 << 16


def write_6(length: int, *, fixed: bool = False) -> bytes:
    return struct.pack(">BBHBB", 0x0A, fixed, length >> 8, length & 0xFF, 0)


def read_6(length: int, *, fixed: bool = False, suppress: bool = False) -> bytes:
    return struct.pack(">BBHBB", 0x08, suppress << 1 | fixed, length >> 8, length & 0xFF, 0)


def write_filemarks(count: int, *, immediate: bool = False) -> bytes:
    return struct.pack(">BBHBB", 0x10, immediate, count >> 8, count & 0xFF, 0)


def verify(
    number: int,
    *,
    fixed: bool = False,
    compare: bool = False,
    marks: bool = False,
    everything: bool = False,
    immediate: bool = False,
) -> bytes:
    flags = everything << 5 | marks << 3 | immediate << 2 | compare << 1 | fixed
    return bytes((0x13, flags)) + number.to_bytes(3, "big") + b"\0"


def space(over: int, count: int) -> bytes:
    return struct.pack(">BB", 0x11, over) + (count & 0xFFFFFF).to_bytes(3, "big") + b"\0"


def space_16(over: int, count: int) -> bytes:
    return struct.pack(">BBxxqHxx", 0x91, over, count, 0)


def locate_10(number: int) -> bytes:
    return struct.pack(">BBxIxBx", 0x2B, 0, number, 0)


def locate_16(number: int, *, kind: int = 0) -> bytes:
    return struct.pack(">BBxBQ4x", 0x92, kind << 3, 0, number)


def mode_select(block_length: int, *, buffered: bool = True) -> tuple[bytes, bytes]:
    """CDB and parameter list of a MODE SELECT(6) that sets the length of blocks."""
    data = bytes((0, 0, buffered << 4, 8)) + struct.pack(">II", 0, block_length)
    return bytes((0x15, 0x10, 0, 0, len(data), 0)), data


class Tape(Lun):
    """A tape at an address of a front-end."""

    def check(self, cdb: bytes, *, data_out: bytes = b"", data_in: int = 0) -> Response:
        response = self.do(cdb, data_out=data_out, data_in=data_in)
        assert response.good, (cdb.hex(), response)
        return response

    def write(self, block: bytes) -> None:
        self.check(write_6(len(block)), data_out=block)

    def mark(self, count: int = 1) -> None:
        self.check(write_filemarks(count))

    def rewind(self) -> None:
        self.check(REWIND)

    def compress(self, *, on: bool) -> None:
        """Set DCE as Linux's st does for `mt compression`."""
        sense = self.check(bytes((0x1A, 0, 0x0F, 0, 255, 0)), data_in=255).data
        page = bytearray(sense[12:28])
        page[2] = page[2] & 0x7F | on << 7
        # Without a block descriptor: its length stays.
        data = bytes((0, 0, 0x10, 0)) + page
        self.check(bytes((0x15, 0x10, 0, 0, len(data), 0)), data_out=data)

    def write_attribute(self, code: int, value: bytes) -> None:
        """Write one binary attribute of a host."""
        data = struct.pack(">IHBH", 5 + len(value), code, 0, len(value)) + value
        self.check(struct.pack(">B9xI2x", 0x8D, len(data)), data_out=data)

    def attributes(self, first: int) -> dict[int, bytes]:
        """The values of attributes from one on, which must be there."""
        cdb = struct.pack(">B7xHI2x", 0x8C, first, 1 << 15)
        data = self.check(cdb, data_in=1 << 15).data
        end, at, found = 4 + struct.unpack_from(">I", data)[0], 4, {}
        while at < end:
            code, _, length = struct.unpack_from(">HBH", data, at)
            found[code] = data[at + 5 : at + 5 + length]
            at += 5 + length
        return found

    def position(self) -> int:
        """The number of the object that it stands before."""
        return struct.unpack_from(">I", self.check(READ_POSITION, data_in=20).data, 4)[0]

    def read(self, room: int = ROOM) -> Response:
        return self.do(read_6(room, suppress=True), data_in=room)

    def rest(self) -> list[Object]:
        """Everything from here to the end of data."""
        found: list[Object] = []
        while True:
            response = self.read()
            if response.good:
                found.append(response.data[: ROOM - response.resid])
            elif response.sense_code == FOUND_MARK:
                found.append(None)
            else:
                assert response.sense_code == END_OF_DATA, response
                return found

    def everything(self) -> list[Object]:
        """Everything on it; it stands at the end then."""
        self.rewind()
        return self.rest()


def flags(response: Response) -> int:
    """FILEMARK, EOM and ILI of fixed format sense data."""
    assert response.sense[0] & 0x7F == 0x70, response
    return response.sense[2] & 0xE0


def residual(response: Response) -> int:
    """INFORMATION of fixed format sense data, as a number with a sign."""
    assert response.sense[0] == 0xF0, response
    return struct.unpack_from(">i", response.sense, 3)[0]


@dataclass
class Model:
    """What a tape should do: a list of objects, and a place in it.

    Each function changes it and says what the answer should be: sense code (None: GOOD), and the
    residual.
    """

    objects: list[Object] = field(default_factory=list)
    at: int = 0
    attributes: dict[int, bytes] = field(default_factory=dict)

    def write(self, block: bytes) -> None:
        self.objects[self.at :] = [block]
        self.at += 1

    def mark(self, count: int) -> None:
        if count:
            self.objects[self.at :] = [None] * count
            self.at += count

    def erase(self) -> None:
        del self.objects[self.at :]

    def read(self) -> Object | tuple[int, int, int]:
        if self.at == len(self.objects):
            return END_OF_DATA
        self.at += 1
        return self.objects[self.at - 1] or FOUND_MARK

    def locate(self, number: int) -> tuple[int, int, int] | None:
        self.at = min(number, len(self.objects))
        return None if number <= len(self.objects) else END_OF_DATA

    def space_blocks(self, count: int) -> tuple[tuple[int, int, int] | None, int]:
        left, step = abs(count), 1 if count > 0 else -1
        while left:
            if step > 0 and self.at == len(self.objects):
                return END_OF_DATA, left
            if step < 0 and self.at == 0:
                return BEGINNING, left
            passed = self.objects[self.at if step > 0 else self.at - 1]
            self.at += step
            if passed is None:
                return FOUND_MARK, left
            left -= 1
        return None, 0

    def space_marks(self, count: int) -> tuple[tuple[int, int, int] | None, int]:
        left, step = abs(count), 1 if count > 0 else -1
        while left:
            if step > 0 and self.at == len(self.objects):
                return END_OF_DATA, left
            if step < 0 and self.at == 0:
                return BEGINNING, left
            left -= self.objects[self.at if step > 0 else self.at - 1] is None
            self.at += step
        return None, 0

    def space_row(self, count: int) -> tuple[int, int, int] | None:
        wanted = [None] * abs(count)
        if count > 0:
            starts = range(self.at, len(self.objects) - count + 1)
            found = [n for n in starts if self.objects[n : n + count] == wanted]
            self.at = found[0] + count if found else len(self.objects)
            return None if found else END_OF_DATA
        starts = range(self.at + count, -1, -1)
        found = [n for n in starts if self.objects[n : n - count] == wanted]
        self.at = found[0] if found else 0
        return None if found else BEGINNING

    def verify_marks(self, count: int) -> tuple[tuple[int, int, int] | None, int]:
        while count:
            if self.at == len(self.objects):
                return END_OF_DATA, count
            count -= self.objects[self.at] is None
            self.at += 1
        return None, 0

    def compare(self, block: bytes) -> tuple[int, int, int] | None:
        """What VERIFY of one block of any length says."""
        found = self.read()
        if not isinstance(found, bytes):
            assert found is not None
            return found
        if len(found) != len(block):
            return NOTHING_MORE
        return None if found == block else MISCOMPARE

    def space_end(self) -> None:
        self.at = len(self.objects)

    def read_fixed(self, count: int, length: int) -> tuple[bytes, tuple[int, int, int] | None, int]:
        """What is read, what is said, and how many blocks are left."""
        data = b""
        for done in range(count):
            if self.at == len(self.objects):
                return data, END_OF_DATA, count - done
            self.at += 1
            block = self.objects[self.at - 1]
            if block is None:
                return data, FOUND_MARK, count - done
            if len(block) != length:
                return data, NOTHING_MORE, count - done
            data += block
        return data, None, 0
