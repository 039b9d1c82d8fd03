"""Mode parameters and mechanism of a CD or DVD drive (MMC-6 7)."""

from __future__ import annotations

import struct

from .mode import ModePage, PageDefinition, PageKey, page

CAPABILITIES: PageKey = (ModePage.CAPABILITIES, 0)

#: KB in a second: what a drive of 48 times the single speed says.
_SPEED = 48 * 176
#: KB of the drive's buffer.
_BUFFER = 2048

#: In byte 6 of the capabilities: a tray; it is ejected and locked by commands.
_TRAY, _EJECT, _LOCK, _LOCKED = 1 << 5, 1 << 3, 1 << 0, 1 << 1


def error_recovery() -> PageDefinition:
    """Define the read error recovery page (MMC-6 7.3): the host does it all."""
    return PageDefinition(page(ModePage.ERROR_RECOVERY, bytes(10)))


def capabilities(*, locked: bool = False) -> PageDefinition:
    """Define the capabilities page (MMC-6 annex, 2Ah): CDs and DVDs are read, none is written."""
    body = struct.pack(
        ">BBBBBBHHHH",
        0x3F,  # CD-R, CD-RW, method 2, DVD-ROM, DVD-R, DVD-RAM
        0x00,
        0x00,  # no audio, no other modes, one session
        0x00,
        _TRAY | _EJECT | _LOCK | (_LOCKED if locked else 0),
        0x00,
        _SPEED,
        0,  # levels of volume
        _BUFFER,
        _SPEED,
    )
    return PageDefinition(page(ModePage.CAPABILITIES, body.ljust(30, b"\0")))


def mechanism(*, door_open: bool) -> bytes:
    """Build MECHANISM STATUS data (MMC-6 6.10.3), the header alone: a tray, no slots."""
    return struct.pack(">BB3sBH", 0, door_open << 4, bytes(3), 0, 0)
