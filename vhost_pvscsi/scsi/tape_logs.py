"""Log pages of tapes and their parameters (SSC-5 8.2, SPC-5 7.3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .log import LogParameter

if TYPE_CHECKING:
    from collections.abc import Iterable

#: TapeAlert flags (SSC-5 8.2.3).
TAPE_ALERTS = 64

#: Megabytes of log pages (SSC-5): 10 to the 6th bytes.
_MEGABYTE = 1_000_000


def _counter(code: int, value: int) -> LogParameter:
    return LogParameter(code, struct.pack(">Q", value), counter=True)


def error_counters(processed: int, uncorrected: int) -> tuple[LogParameter, ...]:
    """Build the parameters of log pages 02h and 03h (SPC-5 7.3.7): nothing is ever corrected."""
    values = (0, 0, 0, 0, 0, processed, uncorrected)
    return tuple(_counter(code, value) for code, value in enumerate(values))


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes that were moved: by guests, and to or from the image."""

    written: int
    stored_written: int
    read: int
    stored_read: int


def sequential_access(moved: Moved) -> tuple[LogParameter, ...]:
    """Build the parameters of log page 0Ch (SSC-5)."""
    values = (moved.written, moved.stored_written, moved.stored_read, moved.read)
    return tuple(_counter(code, value) for code, value in enumerate(values))


def tape_alerts(raised: frozenset[int]) -> tuple[LogParameter, ...]:
    """Build the parameters of log page 2Eh (SSC-5): one flag each."""
    return tuple(LogParameter(flag, bytes([flag in raised])) for flag in range(1, TAPE_ALERTS + 1))


def alert_mask(raised: Iterable[int]) -> int:
    """Build attribute 0002h, TAPEALERT FLAGS: flag 01h is the highest of 64 bits (SPC-5 7.4)."""
    return sum(1 << TAPE_ALERTS - flag for flag in raised)


def _ratio(plain: int, stored: int) -> int:
    """A compression ratio in hundredths; 0: nothing was moved."""
    return min(plain * 100 // stored, 0xFFFF) if stored else 0


def data_compression(moved: Moved, *, enabled: bool) -> tuple[LogParameter, ...]:
    """Build the parameters of log page 1Bh (SSC-5): ratios, and bytes on both sides."""
    ratios = _ratio(moved.read, moved.stored_read), _ratio(moved.written, moved.stored_written)
    found = [LogParameter(code, struct.pack(">H", ratio)) for code, ratio in enumerate(ratios)]
    code = len(ratios)
    for count in (moved.read, moved.stored_read, moved.written, moved.stored_written):
        whole, rest = divmod(count, _MEGABYTE)
        for value in (whole, rest):
            found.append(LogParameter(code, struct.pack(">I", min(value, 0xFFFFFFFF))))
            code += 1
    return (*found, LogParameter(0x100, bytes([enabled])))


@dataclass(frozen=True, slots=True)
class Volume:
    """What log page 17h tells of a volume; bytes are those of the image."""

    loads: int
    blocks_written: int
    blocks_read: int
    write_errors: int
    read_errors: int
    load_write_errors: int
    load_read_errors: int
    lifetime_written: int
    lifetime_read: int
    load: Moved
    capacity: int
    used: int
    serial: str
    barcode: str
    manufacturer: str
    protected: bool


def volume_statistics(volume: Volume) -> tuple[LogParameter, ...]:
    """Build the parameters of log page 17h (SSC-5, "Volume statistics log page")."""
    load = volume.load
    left = max(volume.capacity - volume.used, 0)
    numbers = {
        0x01: volume.loads,
        # A data set is what is written and read as a whole: a block here.
        0x02: volume.blocks_written,
        0x03: 0,  # total write retries
        0x04: volume.write_errors,
        0x05: 0,  # total suspended writes
        0x06: 0,  # total fatal suspended writes
        0x07: volume.blocks_read,
        0x08: 0,  # total read retries
        0x09: volume.read_errors,
        0x0A: 0,  # total suspended reads
        0x0B: 0,  # total fatal suspended reads
        0x0C: volume.load_write_errors,
        0x0D: volume.load_read_errors,
        0x0E: load.stored_written // _MEGABYTE,
        0x0F: load.stored_read // _MEGABYTE,
        0x10: volume.lifetime_written // _MEGABYTE,
        0x11: volume.lifetime_read // _MEGABYTE,
        0x12: _ratio(load.written, load.stored_written),
        0x13: _ratio(load.read, load.stored_read),
        0x16: volume.capacity // _MEGABYTE,
        0x17: volume.used // _MEGABYTE,
    }
    texts = {
        0x40: f"{volume.serial:32.32}",
        0x42: f"{volume.barcode:32.32}",
        0x43: f"{volume.manufacturer:8.8}",
    }
    return (
        LogParameter(0x00, b"\x01"),  # the page is valid
        *(LogParameter(code, struct.pack(">Q", value)) for code, value in numbers.items()),
        *(
            LogParameter(code, text.encode("ascii", "replace"), text=True)
            for code, text in texts.items()
        ),
        LogParameter(0x80, bytes([volume.protected])),
        LogParameter(0x81, b"\x00"),  # no WORM
        *(
            LogParameter(code, _of_the_partition(size))
            for code, size in ((0x202, volume.capacity), (0x203, volume.used), (0x204, left))
        ),
    )


def _of_the_partition(size: int) -> bytes:
    """Build a volume statistics partition record descriptor (SSC-5): there is one, number 0."""
    return struct.pack(">BxHI", 7, 0, min(size // _MEGABYTE, 0xFFFFFFFF))
