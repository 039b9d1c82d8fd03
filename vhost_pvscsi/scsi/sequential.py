"""What tapes say of themselves: mode parameters, capabilities, densities (SSC-5)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .mode import DATA_COMPRESSION_ENABLE, Bit, ModePage, PageDefinition, page, page_key
from .pages import text_field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .mode import PageKey

#: A density code of our own: what the image is, no cartridge has (SSC-5: 80h to FFh are vendors').
DENSITY = 0x80
#: The type of its medium: data.
MEDIUM_TYPE = 0x00
#: Who gives these codes, what the density and the type are called, and described.
ORGANIZATION = "VHPVSCSI"
_NAMES = text_field(ORGANIZATION, 8), text_field("SIMH", 8), text_field("SIMH tape image", 20)
#: Density codes of MODE SELECT that change nothing: the default one, and "no change".
SAME_DENSITIES = frozenset({0x00, 0x7F, DENSITY})

#: The DEVICE-SPECIFIC PARAMETER (SSC-5 8.3): BUFFERED MODE, three bits of it, and SPEED.
_BUFFERED_SHIFT, _BUFFERED_MASK, _SPEED_MASK = 4, 0x07, 0x0F

#: Most filemarks, bytes of blocks: what a 24-bit field can say.
MOST_24 = 0xFFFFFF

_COMPRESSION: PageKey = (ModePage.DATA_COMPRESSION, 0)
_DEVICE: PageKey = (ModePage.DEVICE_CONFIGURATION, 0)
#: The low byte of COMPRESSION ALGORITHM; SELECT DATA COMPRESSION ALGORITHM.
_ALGORITHM_AT, _SELECTED_AT = 7, 14
#: Algorithms (SSC-5, "Compression algorithm identifiers"): the default one; FFh, one that is not
#: registered, as zstd is not.
_DEFAULT_ALGORITHM, _ALGORITHM = 0x01, 0xFF


def device_specific(*, protected: bool, buffered: bool) -> int:
    """Build a mode parameter header's byte for tapes: WP, BUFFERED MODE 1h or 0h."""
    return (0x80 if protected else 0) | (1 << _BUFFERED_SHIFT if buffered else 0)


def buffered_mode(byte: int) -> int:
    """Read BUFFERED MODE."""
    return byte >> _BUFFERED_SHIFT & _BUFFERED_MASK


def speed(byte: int) -> int:
    """Read SPEED."""
    return byte & _SPEED_MASK


def block_descriptor(block_length: int) -> bytes:
    """Build the block descriptor of a tape (SSC-5 8.3); 0: blocks may have any length."""
    return struct.pack(">II", DENSITY << 24, block_length & MOST_24)


@dataclass(frozen=True, slots=True)
class BlockDescriptor:
    """What MODE SELECT is given of blocks."""

    density: int
    blocks: int
    block_length: int

    @classmethod
    def parse(cls, data: bytes) -> BlockDescriptor:
        """Read its 8 bytes."""
        first, second = struct.unpack(">II", data[:8])
        return cls(first >> 24, first & MOST_24, second & MOST_24)


def error_recovery() -> PageDefinition:
    """Define the read-write error recovery page (SSC-5, 01h): the host does it all."""
    return PageDefinition(page(ModePage.ERROR_RECOVERY, bytes(10)))


def data_compression(*, enabled: bool) -> PageDefinition:
    """Define the data compression page (SSC-5, 0Fh): DCC and DDE, there is one algorithm.

    DCE can be changed. So can the low byte of COMPRESSION ALGORITHM, which Linux's st sets to 0
    when it turns compression off, and back.
    """
    body = bytearray(14)
    body[0] = 0xC0 if enabled else 0x40
    body[1] = 0x80
    body[5] = body[9] = _ALGORITHM
    algorithm = tuple(Bit(_ALGORITHM_AT, bit) for bit in range(8))
    return PageDefinition(
        page(ModePage.DATA_COMPRESSION, bytes(body)), (DATA_COMPRESSION_ENABLE, *algorithm)
    )


def compresses(pages: Mapping[PageKey, bytes]) -> bool:
    """Whether DCE is set."""
    return DATA_COMPRESSION_ENABLE.read(pages[_COMPRESSION])


def wrong_algorithm(page: bytes) -> bool:
    """Whether a page asks to compress by an algorithm that is not here."""
    asked = page_key(page) == _COMPRESSION and len(page) > _ALGORITHM_AT
    return asked and page[_ALGORITHM_AT] not in {0, _DEFAULT_ALGORITHM, _ALGORITHM}


def agreeing(
    before: Mapping[PageKey, bytes], after: Mapping[PageKey, bytes]
) -> dict[PageKey, bytes]:
    """Make both pages that speak of compression say the same (SSC-5, 0Fh and 10h).

    SELECT DATA COMPRESSION ALGORITHM of the device configuration page is DCE once more; what was
    changed decides.
    """
    compression, device = bytearray(after[_COMPRESSION]), bytearray(after[_DEVICE])
    on = compresses(after)
    selected = bool(device[_SELECTED_AT])
    if on == compresses(before) and selected != bool(before[_DEVICE][_SELECTED_AT]):
        on = selected
    compression[2] = compression[2] & 0x7F | on << 7
    device[_SELECTED_AT] = on
    if on:
        # "No algorithm" and "the default one" are this one.
        compression[_ALGORITHM_AT] = _ALGORITHM
    return {**after, _COMPRESSION: bytes(compression), _DEVICE: bytes(device)}


def device_configuration(*, compressing: bool) -> PageDefinition:
    """Define the device configuration page (SSC-5, 10h).

    LOIS: objects have identifiers. EEG: the end of data follows what was written last. REWIND ON
    RESET 10b: a reset moves nothing. SELECT DATA COMPRESSION ALGORITHM can be changed.
    """
    body = bytearray(14)
    body[6] = 0x40
    body[8] = 0x10
    body[12] = compressing
    body[13] = 0x10
    return PageDefinition(page(ModePage.DEVICE_CONFIGURATION, bytes(body)), (Bit(_SELECTED_AT, 0),))


def device_configuration_extension() -> PageDefinition:
    """Define the device configuration extension page (SSC-5, 10h/01h).

    WRITE MODE 0h: what is there may be written over. PEWS 0: no early warning is programmed.
    """
    return PageDefinition(page(ModePage.DEVICE_CONFIGURATION, bytes(28), subpage=0x01))


def medium_partition() -> PageDefinition:
    """Define the medium partition page (SSC-5, 11h): there is one, and it stays so."""
    return PageDefinition(page(ModePage.MEDIUM_PARTITION, bytes([0, 0, 0, 0x01, 0, 0])))


def capabilities() -> bytes:
    """Build the body of VPD page B0h of tapes (SSC-5): no WORM, no timestamp mode."""
    return bytes(2)


def block_limits(longest: int, shortest: int) -> bytes:
    """Build READ BLOCK LIMITS data (SSC-5, that command): any number of bytes in between."""
    return struct.pack(">IH", longest, shortest)


def limit_blocks(data: bytes, longest: int) -> bytes:
    """Lower MAXIMUM BLOCK LENGTH LIMIT of READ BLOCK LIMITS data; 0 there is no limit."""
    if len(data) < 4:
        return data
    said = int.from_bytes(data[1:4], "big")
    most = min(longest, said or MOST_24)
    return data[:1] + most.to_bytes(3, "big") + data[4:]


def density_support(*, writable: bool, megabytes: int) -> bytes:
    """Build REPORT DENSITY SUPPORT data (SSC-5, that command): one density."""
    descriptor = struct.pack(
        # DLV 0: no length. BITS PER MM and MEDIA WIDTH are of no meaning here.
        ">BBBxx3x2xHI8s8s20s",
        DENSITY,
        DENSITY,
        (0x80 if writable else 0) | 0x20,  # WRTOK, DEFLT
        1,  # TRACKS
        min(megabytes, 0xFFFFFFFF),
        *_NAMES,
    )
    return struct.pack(">HH", 2 + len(descriptor), 0) + descriptor


def medium_types() -> bytes:
    """Build REPORT DENSITY SUPPORT data with MEDIUM TYPE 1 (SSC-5, that command): one type."""
    descriptor = struct.pack(
        # Room for 9 density codes; MEDIUM WIDTH and MEDIUM LENGTH are of no meaning here.
        ">BxHB9s2x2x2x8s8s20s",
        MEDIUM_TYPE,
        52,  # behind this
        1,
        bytes([DENSITY]),
        *_NAMES,
    )
    return struct.pack(">HH", 2 + len(descriptor), 0) + descriptor
