"""Chains laid out in any way that a driver may, or may not: descriptor by descriptor.

`SplitRing.offer` makes chains as drivers make them. Here each piece lies where it was told to,
the chain goes through the table in any order, its tail may be in an indirect table.
"""

from __future__ import annotations

import os
import select
import struct
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from . import peer as wire
from .frontend import FIRST_REQUEST, FrontEnd, lun_field
from .peer import DEADLINE, DeadlineError
from .ring import INDIRECT, NEXT, WRITE, barrier

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER, ANSWER = 51, 108  # virtio 1.2, 5.6.6.1, with the sizes of its config space's defaults
UNTOUCHED = 0xA5

_DESCRIPTOR = struct.Struct("<QIHH")
_REQUEST = struct.Struct("<8sQBBB32s")
_USED = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One entry of a table, as it will be written there."""

    address: int
    length: int
    flags: int
    next: int = 0

    def pack(self) -> bytes:
        """Return its 16 bytes (virtio 1.2, 2.7.5)."""
        return _DESCRIPTOR.pack(self.address, self.length, self.flags, self.next)


@dataclass(frozen=True, slots=True)
class Cuts:
    """How one direction of a request is cut into buffers."""

    at: tuple[int, ...]  #: offsets at which a new buffer begins; those out of range are left out
    empty: tuple[int, ...]  #: before which of the buffers one without bytes stands
    gap: int  #: bytes between two buffers in memory

    def lengths(self, total: int) -> list[int]:
        """Lengths of the buffers, in order; together `total`."""
        places = sorted({0, total, *(place for place in self.at if place < total)})
        lengths = [end - start for start, end in pairwise(places)]
        for position in sorted(self.empty, reverse=True):
            if position <= len(lengths):
                lengths.insert(position, 0)
        return lengths


@dataclass(frozen=True, slots=True)
class Layout:
    """How a request becomes a chain."""

    readable: Cuts
    writable: Cuts
    indirect_from: int | None  #: from which descriptor on they are in an indirect table
    write_flag: bool  #: WRITE on the descriptor of that table; to be ignored
    backwards: bool  #: tables are filled from their ends


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was laid out: its head, and where its bytes went."""

    head: int
    readable: tuple[tuple[int, int], ...]  #: address and length of each buffer
    writable: tuple[tuple[int, int], ...]


class Arena:
    """A front-end whose request queue is filled by hand, out of one stretch of memory.

    Guest memory is told in two regions that meet in the middle of that stretch.
    """

    SIZE = 1 << 20

    def __init__(self, path: os.PathLike[str] | str) -> None:
        self.guest = _Halves(str(path), request_queues=2)
        self.memory = self.guest.memory
        self.base = self.memory.allocate(self.SIZE)
        self.guest.cut = self.base + self.SIZE // 2
        self.queue = self.guest.queues[FIRST_REQUEST + 1]
        self._path = str(path)
        try:
            self.guest.start()
        except BaseException:
            self.guest.close()
            raise
        self._begin()

    def reconnect(self) -> None:
        """Connect anew, with rings that are empty."""
        self.guest.reconnect(self._path)
        self._begin()

    def close(self) -> None:
        """Leave."""
        self.guest.close()

    def _begin(self) -> None:
        self.clear()
        self._offered = self._taken = 0

    def clear(self) -> None:
        """Use the stretch and the table from the beginning; nothing may be in flight."""
        self._next = self.base + self.SIZE // 2 - 8192  # so that buffers cross the border
        self._slots = list(range(self.queue.ring.size))

    def lay_out(self, target: int, cdb: bytes, data_out: bytes, room: int, how: Layout) -> Asked:
        """Write a request into memory and its chain into the table."""
        header = _REQUEST.pack(lun_field(target, 0), 1, 0, 0, 0, cdb)
        out = header + data_out
        readable = self._place(how.readable.lengths(len(out)), how.readable.gap)
        writable = self._place(how.writable.lengths(ANSWER + room), how.writable.gap)
        done = 0
        for address, length in readable:
            self.memory.write(address, out[done : done + length])
            done += length
        for address, length in writable:
            self.memory.write(address, bytes((UNTOUCHED,)) * length)
        entries = [Descriptor(address, length, 0) for address, length in readable]
        entries += [Descriptor(address, length, WRITE) for address, length in writable]
        return Asked(self._write_chain(entries, how), tuple(readable), tuple(writable))

    def descriptor(self, slot: int) -> Descriptor:
        """Read an entry of the ring's table."""
        data = self.memory.read(self.queue.ring.descriptors + 16 * slot, 16)
        return Descriptor(*_DESCRIPTOR.unpack(data))

    def write_descriptor(self, slot: int, entry: Descriptor) -> None:
        """Write an entry of the ring's table."""
        self.memory.write(self.queue.ring.descriptors + 16 * slot, entry.pack())

    def offer(self, heads: Sequence[int]) -> None:
        """Make chains available, and tell the back-end."""
        self.queue.ring.publish(heads)
        self._offered += len(heads)
        os.eventfd_write(self.queue.kick, 1)

    def wait(self, deadline: float = DEADLINE) -> dict[int, int] | None:
        """Wait until all that was offered is used: head to bytes written; None: disconnected."""
        end = time.monotonic() + deadline
        ring, connection = self.queue.ring, self.guest.peer.socket
        while (seen := self._used()) != self._offered & 0xFFFF:
            self._want_call(seen)
            if self._used() != seen:
                continue  # asked too early: for one that had come, not for the next
            left = end - time.monotonic()
            heard = select.select([self.queue.call, connection], [], [], max(left, 0))[0]
            if self.queue.call in heard:
                os.eventfd_read(self.queue.call)
            elif heard:
                return None
            elif left <= 0:
                raise DeadlineError(f"waited {deadline:g} s for {self._offered} requests' ends")
        used = {}
        while (self._taken - self._offered) & 0xFFFF:
            place = ring.used + 4 + 8 * (self._taken % ring.size)
            head, written = _USED.unpack(self.memory.read(place, 8))
            used[head] = written
            self._taken = (self._taken + 1) & 0xFFFF
        return used

    def answer(self, asked: Asked) -> bytes:
        """Read what stands in a request's writable buffers."""
        return b"".join(self.memory.read(address, length) for address, length in asked.writable)

    def _used(self) -> int:
        return self.memory.read_word(self.queue.ring.used + 2)

    def _want_call(self, index: int) -> None:
        ring = self.queue.ring
        self.memory.write_word(ring.available + 4 + 2 * ring.size, index)
        barrier()

    def _place(self, lengths: Sequence[int], gap: int) -> list[tuple[int, int]]:
        places = []
        for length in lengths:
            places.append((self._next, length))
            self._next += length + gap
        return places

    def _write_chain(self, entries: Sequence[Descriptor], how: Layout) -> int:
        start = len(entries) if how.indirect_from is None else how.indirect_from
        direct, rest = list(entries[:start]), entries[start:]
        if rest:
            flags = INDIRECT | (WRITE if how.write_flag else 0)
            direct.append(Descriptor(*self._write_table(rest, how), flags))
        taken, self._slots = self._slots[: len(direct)], self._slots[len(direct) :]
        slots = taken[::-1] if how.backwards else taken
        for slot, entry in zip(slots, linked(direct, slots), strict=True):
            self.write_descriptor(slot, entry)
        return slots[0]

    def _write_table(self, entries: Sequence[Descriptor], how: Layout) -> tuple[int, int]:
        # Its first entry is where the chain begins, whatever comes then.
        later = range(1, len(entries))
        slots = [0, *(reversed(later) if how.backwards else later)]
        table = bytearray(16 * len(entries))
        for slot, entry in zip(slots, linked(entries, slots), strict=True):
            table[16 * slot : 16 * slot + 16] = entry.pack()
        [(address, length)] = self._place([len(table)], 0)
        self.memory.write(address, bytes(table))
        return address, length


def linked(entries: Sequence[Descriptor], slots: Sequence[int]) -> list[Descriptor]:
    """Chain entries that will stand at these places of a table."""
    last = len(entries) - 1
    return [
        entry
        if position == last
        else replace(entry, flags=entry.flags | NEXT, next=slots[position + 1])
        for position, entry in enumerate(entries)
    ]


class _Halves(FrontEnd):
    """A front-end that tells its memory in two regions."""

    cut: int

    def share_memory(self) -> None:
        memory = self.memory
        first = self.cut - memory.guest_base
        self.peer.send(
            wire.SET_MEM_TABLE,
            wire.memory_table(
                wire.region(memory.guest_base, first, memory.user_base),
                wire.region(self.cut, memory.size - first, memory.user_base + first, first),
            ),
            [memory.fd, memory.fd],
        )
