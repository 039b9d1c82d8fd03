"""A Xen guest's pvSCSI ring and grant table (Xen's public headers vscsiif.h, grant_table.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import HarnessError
from .memory import GuestMemory
from .ring import barrier

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = 4096
SLOTS, SLOT, FIRST = 16, 252, 64
DIRECT = 26  #: segments of a slot
SG_GRANT = 0x80

CDB, ABORT, RESET = 1, 2, 3  # act
BOTH, TO_DEVICE, FROM_DEVICE, NONE = 0, 1, 2, 3  # direction
PERMIT, READONLY, READING, WRITING = 1, 4, 8, 16  # flags of a grant

_REQUEST = struct.Struct("<HBB16sHHHHHBB208s12s")
_RESPONSE = struct.Struct("<HBB96sII144s")
SEGMENT = struct.Struct("<IHH")
_GRANT = struct.Struct("<HHI")

#: Grant table entries that Xen keeps for itself.
_RESERVED = 8


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a granted page."""

    reference: int
    offset: int
    length: int

    def pack(self) -> bytes:
        """As it is in memory."""
        return SEGMENT.pack(self.reference, self.offset, self.length)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it was in its slot."""

    rqid: int
    sense: bytes
    result: int
    residual: int
    clean: bool  #: padding, reserved words and the rest of the sense buffer are 0


class GrantTable:
    """A version 1 grant table in a memfd."""

    def __init__(self, size: int = 256 << 10) -> None:
        self.memory = GuestMemory(size, guest_base=0)
        self.entries = size // _GRANT.size
        self._free = list(range(self.entries - 1, _RESERVED - 1, -1))

    def grant(self, frame: int, *, readonly: bool = False, domid: int = 0) -> int:
        """Lend a page; its reference."""
        reference = self._free.pop()
        self.set(reference, PERMIT | (READONLY if readonly else 0), domid, frame)
        return reference

    def set(self, reference: int, flags: int, domid: int, frame: int) -> None:
        """Write an entry, whatever it says: the frame first, then the rest at once."""
        at = reference * _GRANT.size
        self.memory.write_long(at + 4, frame)
        self.memory.write_long(at, domid << 16 | flags)

    def flags(self, reference: int) -> int:
        """Read the flags of an entry."""
        return self.memory.read_word(reference * _GRANT.size)

    def end(self, reference: int) -> None:
        """Take a page back, which nobody may be using (gnttab_end_foreign_access)."""
        if self.flags(reference) & (READING | WRITING):
            raise HarnessError(f"grant {reference} is still in use by the back-end")
        self.set(reference, 0, 0, 0)
        self._free.append(reference)

    def in_use(self) -> list[int]:
        """References that say a back-end has them."""
        data = self.memory.read(0, self.entries * _GRANT.size)
        flags = (entry[0] for entry in _GRANT.iter_unpack(data))
        return [number for number, bits in enumerate(flags) if bits & (READING | WRITING)]


@dataclass(slots=True)
class XenRing:
    """The guest's side of the ring, in one page."""

    memory: GuestMemory
    page: int = field(init=False)
    produced: int = field(init=False, default=0)
    consumed: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.page = self.memory.allocate(PAGE)
        self.clear()

    def clear(self) -> None:
        """Begin with an empty ring (ring.h, SHARED_RING_INIT)."""
        self.memory.write(self.page, bytes(PAGE))
        self.set_word(1, 1)
        self.set_word(3, 1)
        self.produced = self.consumed = 0

    @property
    def in_flight(self) -> int:
        """Requests without a response."""
        return (self.produced - self.consumed) & 0xFFFFFFFF

    def word(self, index: int) -> int:
        """req_prod, req_event, rsp_prod, rsp_event."""
        return self.memory.read_long(self.page + 4 * index)

    def set_word(self, index: int, value: int) -> None:
        """Write one of them, whatever it does."""
        self.memory.write_long(self.page + 4 * index, value)

    def put(self, slot: bytes) -> bool:
        """Send a request; whether the back-end wants a kick."""
        if self.in_flight >= SLOTS:
            raise HarnessError(f"all {SLOTS} slots of the ring are taken")
        self.memory.write(self._slot(self.produced), slot)
        before = self.produced
        self.produced = (before + 1) & 0xFFFFFFFF
        self.set_word(0, self.produced)
        barrier()
        return (self.produced - self.word(1)) & 0xFFFFFFFF < 1

    def collect(self) -> list[Answer]:
        """Take the responses that are there."""
        answers = []
        while self.consumed != self.word(2):
            answers.append(parse(self.memory.read(self._slot(self.consumed), SLOT)))
            self.consumed = (self.consumed + 1) & 0xFFFFFFFF
        return answers

    def want_calls(self) -> None:
        """Ask to be told of the next response; look once more after it."""
        self.set_word(3, self.consumed + 1)
        barrier()

    def _slot(self, index: int) -> int:
        return self.page + FIRST + index % SLOTS * SLOT


def request(
    rqid: int,
    *,
    act: int = CDB,
    cdb: bytes = b"",
    place: tuple[int, int, int] = (0, 0, 0),
    ref_rqid: int = 0,
    direction: int = NONE,
    segments: Sequence[Segment] = (),
    indirect: bool = False,
) -> bytes:
    """Build a slot; `place` is channel, target, LUN."""
    count = len(segments) | (SG_GRANT if indirect else 0)
    packed = b"".join(segment.pack() for segment in segments)
    head = (rqid, act, len(cdb), cdb, 30, *place, ref_rqid, direction, count)
    return _REQUEST.pack(*head, packed, bytes(12))


def parse(slot: bytes) -> Answer:
    """Read a response."""
    rqid, padding, length, sense, result, residual, reserved = _RESPONSE.unpack(slot)
    clean = not padding and not any(reserved) and not any(sense[length:])
    return Answer(rqid, sense[:length], result, residual, clean)
