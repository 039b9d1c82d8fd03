"""Events of a drive, for GET EVENT STATUS NOTIFICATION (MMC-6 6.6)."""

from __future__ import annotations

import enum
import struct


class EventClass(enum.IntEnum):
    """Notification classes that are told; in the order of their urgency."""

    OPERATIONAL = 1
    EXTERNAL = 3
    MEDIA = 4
    BUSY = 6


class MediaEvent(enum.IntEnum):
    """What may have happened to a medium (MMC-6 6.6.3.5)."""

    NONE = 0
    EJECT_REQUEST = 1
    NEW = 2
    REMOVED = 3


#: The operational state has changed, and in what (MMC-6 6.6.3.2): the features that are current.
OPERATIONAL_CHANGED, _FEATURE_CHANGE = 2, 0x0001

#: NEA: no event is available of the classes that were asked for.
_NONE_AVAILABLE = 0x80
#: Bytes of the header. Who has room for no more has taken no event.
HEADER = 4


def supported() -> int:
    """The classes as a mask."""
    return sum(1 << each for each in EventClass)


def _report(kind: int, body: bytes) -> bytes:
    return struct.pack(">HBB", 2 + len(body), kind, supported()) + body


def nothing() -> bytes:
    """Say that no class was asked for that is told (MMC-6 6.6.3.1)."""
    return _report(_NONE_AVAILABLE, b"")


def operational(code: int, *, persistent: bool) -> bytes:
    """Report on the operational state."""
    change = _FEATURE_CHANGE if code else 0
    return _report(EventClass.OPERATIONAL, struct.pack(">BBH", code, persistent << 7, change))


def external(*, persistent: bool) -> bytes:
    """Report that nobody has pressed a key: there are none (MMC-6 6.6.3.4)."""
    return _report(EventClass.EXTERNAL, struct.pack(">BBH", 0, persistent << 7, 0))


def media(event: MediaEvent, *, tray_open: bool, present: bool) -> bytes:
    """Report on the medium."""
    return _report(EventClass.MEDIA, bytes((event, present << 1 | tray_open, 0, 0)))


def busy() -> bytes:
    """Report that the drive is not busy (MMC-6 6.6.3.7)."""
    return _report(EventClass.BUSY, bytes(4))
