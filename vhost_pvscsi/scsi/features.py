"""Features of a CD or DVD drive, for GET CONFIGURATION (MMC-6 5.3)."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from .discs import SECTOR, Profile


class Feature(enum.IntEnum):
    """Feature codes."""

    PROFILE_LIST = 0x0000
    CORE = 0x0001
    MORPHING = 0x0002
    REMOVABLE_MEDIUM = 0x0003
    RANDOM_READABLE = 0x0010
    CD_READ = 0x001E
    DVD_READ = 0x001F
    SERIAL_NUMBER = 0x0108


class Requested(enum.IntEnum):
    """RT of GET CONFIGURATION: which features are wanted (MMC-6 6.5.2)."""

    ALL = 0
    CURRENT = 1
    ONE = 2


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One feature."""

    code: Feature
    version: int
    persistent: bool  #: it is always current
    current: bool
    data: bytes = b""

    def pack(self) -> bytes:
        """Build the descriptor (MMC-6 5.2.2)."""
        flags = self.version << 2 | self.persistent << 1 | self.current
        return struct.pack(">HBB", self.code, flags, len(self.data)) + self.data


def features(current: Profile, serial: str) -> tuple[Descriptor, ...]:
    """All features of a drive whose disc makes it that, by their codes."""
    disc = current is not Profile.NONE
    blocking = 16 if current is Profile.DVD_ROM else 1
    text = serial.encode("ascii", "replace")

    def always(code: Feature, version: int, data: bytes) -> Descriptor:
        return Descriptor(code, version, persistent=True, current=True, data=data)

    def with_disc(code: Feature, version: int, data: bytes, *, there: bool) -> Descriptor:
        return Descriptor(code, version, persistent=False, current=there, data=data)

    return (
        always(Feature.PROFILE_LIST, 0, _profiles(current)),
        # SCSI commands; device busy events are told.
        always(Feature.CORE, 2, struct.pack(">IB3x", 1, 0x01)),
        # Operational changes are told as events, not as unit attentions; nothing is asynchronous.
        always(Feature.MORPHING, 1, bytes((0x02, 0, 0, 0))),
        # A tray that commands load, eject and lock.
        always(Feature.REMOVABLE_MEDIUM, 2, bytes((0x20 | 0x10 | 0x08 | 0x01, 0, 0, 0))),
        # PP: there is the error recovery page.
        with_disc(
            Feature.RANDOM_READABLE, 0, struct.pack(">IHBx", SECTOR, blocking, 1), there=disc
        ),
        with_disc(Feature.CD_READ, 2, bytes(4), there=current is Profile.CD_ROM),
        with_disc(Feature.DVD_READ, 1, bytes(4), there=current is Profile.DVD_ROM),
        always(Feature.SERIAL_NUMBER, 0, text.ljust(-(-len(text) // 4) * 4)),
    )


def _profiles(current: Profile) -> bytes:
    known = (Profile.DVD_ROM, Profile.CD_ROM)
    return b"".join(struct.pack(">HBx", each, each is current) for each in known)


def configuration(
    known: tuple[Descriptor, ...], current: Profile, rt: Requested, first: int
) -> bytes:
    """Build GET CONFIGURATION's data (MMC-6 6.5.3): the features that are wanted, from one on."""
    match rt:
        case Requested.ONE:
            chosen = [each for each in known if each.code == first]
        case Requested.CURRENT:
            chosen = [each for each in known if each.code >= first and each.current]
        case _:
            chosen = [each for each in known if each.code >= first]
    body = b"".join(each.pack() for each in chosen)
    return struct.pack(">IxxH", 4 + len(body), current) + body
