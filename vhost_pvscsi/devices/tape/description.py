"""What an emulated tape is: its capacity, where it warns."""

from __future__ import annotations

from dataclasses import dataclass

from vhost_pvscsi.devices.sizes import parse_size
from vhost_pvscsi.errors import ConfigurationError

PRODUCT = "VIRTUAL TAPE"

#: Of the shortest block that can be written.
SHORTEST_BLOCK = 1

#: A part of the capacity is left when a guest is warned: so much of it, between these bounds.
_WARNING_PART = 32
_LEAST_WARNING, _MOST_WARNING = 64 << 10, 64 << 20


#: A tape has room for some blocks behind its warning.
LEAST_CAPACITY = 256 << 10


def parse_capacity(name: str, text: str) -> int:
    """Read the size of a tape.

    Raises:
        ConfigurationError: it is no size, or too little.
    """
    size = parse_size(text, of=f"{name}={text}")
    if size < LEAST_CAPACITY:
        raise ConfigurationError(
            f"{name}={text}: {text!r} is too little for a tape",
            hint=f"{LEAST_CAPACITY >> 10}K at least, or leave it out: there is no end then",
        )
    return size


@dataclass(frozen=True, slots=True)
class TapeGeometry:
    """A tape's medium."""

    capacity: int | None = None  #: bytes of the image; None: as many as the host has room for
    read_only: bool = False

    @property
    def warning(self) -> int | None:
        """From how many bytes on writes are answered with EARLY WARNING."""
        if self.capacity is None:
            return None
        left = min(max(self.capacity // _WARNING_PART, _LEAST_WARNING), _MOST_WARNING)
        return max(self.capacity - left, self.capacity // 2)

    @property
    def megabytes(self) -> int:
        """The capacity in units of 10 to the 6th bytes; 0: it is not known."""
        return (self.capacity or 0) // 1_000_000
