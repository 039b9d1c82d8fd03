"""SplitRing: the driver's side of a split virtqueue in guest memory (virtio 1.2, 2.7)."""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .memory import GuestMemory

NEXT, WRITE, INDIRECT = 1, 2, 4  # flags of a descriptor
NO_NOTIFY = 1  # flag of the used ring: no kicks wanted
NO_INTERRUPT = 1  # flag of the available ring: no calls wanted

_DESCRIPTOR = struct.Struct("<QIHH")
_USED = struct.Struct("<II")

# Taken and left for the full memory barrier in it: an index must be visible before the other
# side's wish for a notification is read, and the other way round.
_BARRIER = threading.Lock()


@dataclass(frozen=True, slots=True)
class Buffer:
    """A piece of guest memory that goes into a chain."""

    address: int
    length: int
    writable: bool = False


@dataclass(slots=True)
class _Chain:
    slots: list[int]
    table: tuple[int, int] | None = None  # an indirect table: address and size


@dataclass(slots=True)
class SplitRing:
    """A ring that its owner fills by `offer` and empties by `collect`.

    `write_descriptor`, `publish` and `set_available_index` write whatever they are told, for
    rings that no driver would make.
    """

    memory: GuestMemory
    size: int
    event_idx: bool = True
    descriptors: int = field(init=False)
    available: int = field(init=False)
    used: int = field(init=False)
    _free: list[int] = field(init=False)
    _chains: dict[int, _Chain] = field(init=False, default_factory=dict)
    _available_index: int = field(init=False, default=0)
    _used_index: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.descriptors = self.memory.allocate(16 * self.size)
        self.available = self.memory.allocate(6 + 2 * self.size)
        self.used = self.memory.allocate(6 + 8 * self.size)
        self._free = list(reversed(range(self.size)))

    @property
    def in_flight(self) -> int:
        """Chains that were offered and not collected."""
        return len(self._chains)

    def offer(self, buffers: Sequence[Buffer], *, indirect: bool = False) -> int:
        """Make a chain available; its head. Whether to kick, `kick_wanted` says then."""
        needed = 1 if indirect else len(buffers)
        if needed > len(self._free):
            raise HarnessError(f"{needed} descriptors are not left of {self.size}")
        slots = [self._free.pop() for _ in range(needed)]
        chain = _Chain(slots)
        if indirect:
            chain.table = self._write_table(buffers)
            self.write_descriptor(slots[0], *chain.table, flags=INDIRECT)
        else:
            for position, (slot, buffer) in enumerate(zip(slots, buffers, strict=True)):
                last = position + 1 == len(slots)
                self.write_descriptor(
                    slot,
                    buffer.address,
                    buffer.length,
                    flags=_flags(buffer, last=last),
                    next_=0 if last else slots[position + 1],
                )
        self._chains[slots[0]] = chain
        self.publish([slots[0]])
        return slots[0]

    def kick_wanted(self, offered: int = 1) -> bool:
        """Whether the device asks to be told of the last `offered` chains."""
        barrier()
        if not self.event_idx:
            return not self.memory.read_word(self.used) & NO_NOTIFY
        wanted = self.memory.read_word(self.used + 4 + 8 * self.size)
        new = self._available_index
        # virtio 1.2, 2.7.10: did the index pass the one that was asked for
        return (new - wanted - 1) & 0xFFFF < offered & 0xFFFF

    def collect(self) -> list[tuple[int, int]]:
        """Take what the device has used: (head, bytes written) each."""
        done = []
        while self._used_index != self.memory.read_word(self.used + 2):
            place = self.used + 4 + 8 * (self._used_index % self.size)
            head, written = _USED.unpack(self.memory.read(place, 8))
            chain = self._chains.pop(head, None)
            if chain is None:
                raise HarnessError(f"the device used chain {head}, which it was not given")
            self._free.extend(chain.slots)
            if chain.table is not None:
                self.memory.free(*chain.table)
            self._used_index = (self._used_index + 1) & 0xFFFF
            done.append((head, written))
        return done

    def want_calls(self, *, wanted: bool = True) -> None:
        """Ask to be told of the next used chain, or (without EVENT_IDX) of none.

        Look once more with `collect` after it: one that came before goes untold.
        """
        if self.event_idx:
            # An index far away is as near as EVENT_IDX comes to "no calls".
            index = self._used_index if wanted else self._used_index + 0x8000
            self.memory.write_word(self.available + 4 + 2 * self.size, index)
        else:
            self.memory.write_word(self.available, 0 if wanted else NO_INTERRUPT)
        barrier()

    def write_descriptor(
        self, slot: int, address: int, length: int, *, flags: int = 0, next_: int = 0
    ) -> None:
        """Fill one entry of the descriptor table."""
        data = _DESCRIPTOR.pack(address, length, flags, next_)
        self.memory.write(self.descriptors + 16 * slot, data)

    def publish(self, heads: Iterable[int]) -> None:
        """Put chains into the available ring."""
        for head in heads:
            self.memory.write_word(
                self.available + 4 + 2 * (self._available_index % self.size), head
            )
            self._available_index = (self._available_index + 1) & 0xFFFF
        self.set_available_index(self._available_index)

    def set_available_index(self, index: int) -> None:
        """Say how far the available ring is filled."""
        barrier()
        self.memory.write_word(self.available + 2, index)

    def start_at(self, base: int) -> None:
        """Begin with this index, as a ring does that was stopped there.

        Chains in flight are forgotten.
        """
        self._chains.clear()
        self._free = list(reversed(range(self.size)))
        self._available_index = self._used_index = base
        self.memory.write_word(self.available + 2, base)
        self.memory.write_word(self.used + 2, base)
        self.want_calls()

    @property
    def used_position(self) -> int:
        """The index after what the back-end has answered, as it stands in the ring."""
        return self.memory.read_word(self.used + 2)

    def _write_table(self, buffers: Sequence[Buffer]) -> tuple[int, int]:
        size = 16 * len(buffers)
        table = self.memory.allocate(size)
        for position, buffer in enumerate(buffers):
            last = position + 1 == len(buffers)
            entry = _DESCRIPTOR.pack(
                buffer.address,
                buffer.length,
                _flags(buffer, last=last),
                0 if last else position + 1,
            )
            self.memory.write(table + 16 * position, entry)
        return table, size


def _flags(buffer: Buffer, *, last: bool) -> int:
    return (WRITE if buffer.writable else 0) | (0 if last else NEXT)


def barrier() -> None:
    """Order all stores before it and all loads after it."""
    with _BARRIER:
        pass
