"""What a drive says of a disc with one data track: contents, information, structure (MMC-6)."""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Bytes of user data in a sector.
SECTOR = 2048

#: Most sectors that are still a CD: 80 minutes. What is larger is a DVD.
LARGEST_CD = 80 * 60 * 75

#: Most sectors of one layer of a DVD (ECMA-267: 4.7 GB).
_LARGEST_LAYER = 2_298_496
#: The first sector of a DVD's data area, by its physical number (ECMA-267).
_DATA_AREA = 0x030000

#: The one track, the lead-out, the one session.
TRACK, LEAD_OUT, SESSION = 1, 0xAA, 1
#: ADR 1: what follows is a place. CONTROL 4: a data track.
_ADR_CONTROL = 0x14
#: Sectors before the first one (MMC-6 4.2.3.5): two seconds.
_LEAD_IN = 150


class Profile(enum.IntEnum):
    """What a drive is by its disc (MMC-6 5.3.1)."""

    NONE = 0x0000
    CD_ROM = 0x0008
    DVD_ROM = 0x0010


def profile(blocks: int) -> Profile:
    """Say what disc has so many sectors."""
    return Profile.CD_ROM if blocks <= LARGEST_CD else Profile.DVD_ROM


def minutes(lba: int) -> bytes:
    """Minutes, seconds, frames of a sector (MMC-6 4.2.3.5); beyond 255 minutes: the last place."""
    minute, rest = divmod(lba + _LEAD_IN, 60 * 75)
    return bytes((minute, *divmod(rest, 75))) if minute <= 0xFF else bytes((0xFF, 59, 74))


def _place(lba: int, *, msf: bool) -> bytes:
    return b"\0" + minutes(lba) if msf else struct.pack(">I", min(lba, 0xFFFFFFFF))


def _listed(first: int, last: int, descriptors: Iterable[bytes]) -> bytes:
    body = b"".join(descriptors)
    return struct.pack(">HBB", 2 + len(body), first, last) + body


def contents(blocks: int, first: int, *, msf: bool) -> bytes | None:
    """Build the table of contents from track `first` on (6.25.3.2); None: there is no such one."""
    if first > TRACK and first != LEAD_OUT:
        return None
    tracks = [(LEAD_OUT, blocks)] if first == LEAD_OUT else [(TRACK, 0), (LEAD_OUT, blocks)]
    return _listed(
        TRACK,
        TRACK,
        (struct.pack(">xBBx", _ADR_CONTROL, at) + _place(lba, msf=msf) for at, lba in tracks),
    )


def sessions(*, msf: bool) -> bytes:
    """Build the list of sessions: the first track of the last one (6.25.3.3)."""
    descriptor = struct.pack(">xBBx", _ADR_CONTROL, TRACK) + _place(0, msf=msf)
    return _listed(SESSION, SESSION, (descriptor,))


def full_contents(blocks: int) -> bytes:
    """Build the full table of contents, as the lead-in has it (6.25.3.4): of a CD."""
    points = (
        (0xA0, bytes((TRACK, 0, 0))),  # the first track; a disc of CD-ROM's kind
        (0xA1, bytes((TRACK, 0, 0))),  # the last track
        (0xA2, minutes(blocks)),
        (TRACK, minutes(0)),
    )
    return _listed(
        SESSION,
        SESSION,
        (struct.pack(">BBxB4x", SESSION, _ADR_CONTROL, point) + at for point, at in points),
    )


def information() -> bytes:
    """Build standard disc information (6.21.3.1), 34 bytes: finished, of one session."""
    nowhere = 0xFFFFFFFF  # nothing can be recorded
    return struct.pack(
        ">HBBBBBBB3x4xII8xBB",
        32,
        0x0E,  # the last session is complete, the disc finalised
        TRACK,
        SESSION,
        TRACK,
        TRACK,
        0x20,  # URU: for any use
        0x00,  # CD-DA or CD-ROM
        nowhere,
        nowhere,
        0,
        0,
    )


class TrackAddress(enum.IntEnum):
    """What READ TRACK INFORMATION names a track by (6.26.2)."""

    BLOCK = 0
    TRACK = 1
    SESSION = 2


def names_the_track(kind: TrackAddress, address: int, blocks: int) -> bool:
    """Whether that is the one track."""
    if kind is TrackAddress.BLOCK:
        return address < blocks
    return address == (TRACK if kind is TrackAddress.TRACK else SESSION)


def track_information(blocks: int) -> bytes:
    """Build the track information block (6.26.3), 36 bytes."""
    return struct.pack(
        ">HBBxBBBIIIIII4x",
        34,
        TRACK,
        SESSION,
        0x04,  # data, recorded uninterrupted
        0x01,  # mode 1
        0x00,
        0,  # where it begins
        0,  # nothing is writable: no next address
        0,  # free
        0,  # sectors in a packet
        blocks,
        blocks - 1,
    )


class Structure(enum.IntEnum):
    """Formats of READ DISC STRUCTURE (6.22.3)."""

    PHYSICAL = 0x00
    COPYRIGHT = 0x01
    MANUFACTURING = 0x04
    LIST = 0xFF


_LENGTHS = {
    Structure.PHYSICAL: 4 + SECTOR,
    Structure.COPYRIGHT: 8,
    Structure.MANUFACTURING: 4 + SECTOR,
}


def structure(which: Structure, blocks: int) -> bytes:
    """Build a structure of a DVD (6.22.3), with its header."""
    if which is Structure.LIST:
        # RDS: it can be read, and not be sent.
        rows = ((code, 0x40, length) for code, length in _LENGTHS.items())
        body = b"".join(struct.pack(">BBH", *row) for row in rows)
    elif which is Structure.PHYSICAL:
        body = _physical_format(blocks).ljust(SECTOR, b"\0")
    else:
        # No protection of copies, no regions; nothing of its manufacturing.
        body = bytes(_LENGTHS[which] - 4)
    return struct.pack(">Hxx", 2 + len(body)) + body


def layers(blocks: int) -> int:
    """How many layers a DVD with so many sectors has."""
    return 1 if blocks <= _LARGEST_LAYER else 2


def _physical_format(blocks: int) -> bytes:
    several = layers(blocks) > 1
    last = min(_DATA_AREA + blocks - 1, 0xFFFFFF)
    return struct.pack(
        ">BBBBIIIx",
        0x01,  # DVD-ROM, version 1
        0x0F,  # 120 mm; the rate is not specified
        0x21 if several else 0x01,  # parallel tracks, embossed data
        0x00,
        _DATA_AREA,
        last,
        min(_DATA_AREA + _LARGEST_LAYER - 1, last) if several else 0,
    )
