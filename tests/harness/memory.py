"""GuestMemory: shared memory that a front-end calls guest memory, and a small allocator in it."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Self

from .errors import HarnessError

if TYPE_CHECKING:
    from types import TracebackType

MIB = 1 << 20

#: Pages of an allocation class: one free list for each power of two.
_SMALLEST = 16


class GuestMemory:
    """A memfd. Addresses are guest addresses unless they are called user addresses."""

    def __init__(
        self,
        size: int = 32 * MIB,
        *,
        guest_base: int = 0x1_0000_0000,
        user_base: int = 0x7F00_0000_0000,
    ) -> None:
        self.size = size
        self.guest_base = guest_base
        self.user_base = user_base
        self.fd = os.memfd_create("guest-memory", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size)
        # Whole 16-bit loads and stores: a ring's index must never be seen half written,
        # which `struct` with a byte order does not promise.
        self._view = memoryview(self._map)
        self._words = self._view.cast("H")
        self._longs = self._view.cast("I")
        self._next = 0
        self._free: dict[int, list[int]] = {}

    def allocate(self, size: int) -> int:
        """Find room, aligned to its size rounded up to a power of two, at most to a page."""
        wanted = _rounded(size)
        if free := self._free.get(wanted):
            return free.pop()
        align = min(wanted, mmap.PAGESIZE)
        start = (self._next + align - 1) & -align
        if start + wanted > self.size:
            raise HarnessError(f"{size} bytes of guest memory are not left of {self.size}")
        self._next = start + wanted
        return self.guest_base + start

    def free(self, address: int, size: int) -> None:
        """Give back what `allocate` gave for that size."""
        self._free.setdefault(_rounded(size), []).append(address)

    def read(self, address: int, size: int) -> bytes:
        """Copy bytes out."""
        start = self._offset(address, size)
        return bytes(self._view[start : start + size])

    def write(self, address: int, data: bytes) -> None:
        """Copy bytes in."""
        start = self._offset(address, len(data))
        self._view[start : start + len(data)] = data

    def read_word(self, address: int) -> int:
        """Load 16 bits at once."""
        return self._words[self._offset(address, 2) // 2]

    def write_word(self, address: int, value: int) -> None:
        """Store 16 bits at once."""
        self._words[self._offset(address, 2) // 2] = value & 0xFFFF

    def read_long(self, address: int) -> int:
        """Load 32 bits at once."""
        return self._longs[self._offset(address, 4) // 4]

    def write_long(self, address: int, value: int) -> None:
        """Store 32 bits at once."""
        self._longs[self._offset(address, 4) // 4] = value & 0xFFFFFFFF

    def user_address(self, address: int) -> int:
        """Where the front-end itself would have mapped it."""
        return self.user_base + self._offset(address, 0)

    def truncate(self, size: int) -> None:
        """Shrink the file beneath everybody. Do not touch what is gone: SIGBUS."""
        os.ftruncate(self.fd, size)

    def close(self) -> None:
        """Let go of it; a back-end that has it mapped keeps it."""
        self._words.release()
        self._longs.release()
        self._view.release()
        self._map.close()
        os.close(self.fd)

    def _offset(self, address: int, size: int) -> int:
        offset = address - self.guest_base
        if not 0 <= offset <= self.size - size:
            raise HarnessError(f"{size} bytes at {address:#x} are outside of guest memory")
        return offset

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _rounded(size: int) -> int:
    return max(_SMALLEST, 1 << (size - 1).bit_length())
