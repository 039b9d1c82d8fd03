"""Mode parameters of a disk: header, block descriptor, pages (SPC-5 7.5, SBC-4 6.5)."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .sense import PARAMETER_LIST_LENGTH_ERROR, check_condition, invalid_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .request import Reply


class PageControl(enum.IntEnum):
    """Which values of a page are wanted (SPC-5, "MODE SENSE(6) command")."""

    CURRENT = 0
    CHANGEABLE = 1
    DEFAULT = 2
    SAVED = 3


class ModePage(enum.IntEnum):
    """Mode page codes."""

    ERROR_RECOVERY = 0x01
    CACHING = 0x08
    CONTROL = 0x0A
    DATA_COMPRESSION = 0x0F
    DEVICE_CONFIGURATION = 0x10
    MEDIUM_PARTITION = 0x11
    INFORMATIONAL_EXCEPTIONS = 0x1C
    ELEMENT_ADDRESS_ASSIGNMENT = 0x1D
    TRANSPORT_GEOMETRY = 0x1E
    DEVICE_CAPABILITIES = 0x1F
    CAPABILITIES = 0x2A
    ALL = 0x3F


#: The DEVICE-SPECIFIC PARAMETER of a header: WP (SBC-4 6.5.1, SSC-5 8.3), and DPOFUA of disks, DPO
#: and FUA bits are understood.
WRITE_PROTECTED, DPO_FUA = 0x80, 0x10

#: Bytes of the headers, and of a short block descriptor (SPC-5 7.5.5, 7.5.6).
HEADER_6, HEADER_10, SHORT_DESCRIPTOR = 4, 8, 8

#: Subpage code that asks for all subpages of a page.
ALL_SUBPAGES = 0xFF

#: Page code and subpage code; a page without subpages has subpage 0.
PageKey: TypeAlias = tuple[int, int]

CACHING: PageKey = (ModePage.CACHING, 0)
CONTROL: PageKey = (ModePage.CONTROL, 0)

#: PS in MODE SENSE data: the page can be saved. SPF: the header has a subpage code.
_PS, _SPF = 0x80, 0x40


@dataclass(frozen=True, slots=True)
class Bit:
    """One bit of a mode page."""

    byte: int
    bit: int

    def read(self, page: bytes) -> bool:
        """Whether it is set in a page."""
        return bool(page[self.byte] >> self.bit & 1)


#: Caching page: WCE. A write is stable only after SYNCHRONIZE CACHE or with FUA.
WRITE_CACHE_ENABLE = Bit(2, 2)
#: Data compression page: DCE. Blocks are compressed.
DATA_COMPRESSION_ENABLE = Bit(2, 7)
#: Control page: D_SENSE. Sense data comes in descriptor format.
DESCRIPTOR_SENSE = Bit(2, 2)


@dataclass(frozen=True, slots=True)
class PageDefinition:
    """A mode page: its default values, and which bits MODE SELECT may change."""

    default: bytes  #: with its header; PS is 0
    changeable: tuple[Bit, ...] = ()

    @property
    def key(self) -> PageKey:
        """Page code and subpage code."""
        return page_key(self.default)

    @property
    def mask(self) -> bytes:
        """The changeable values, as MODE SENSE reports them: the header and a mask."""
        values = bytearray(len(self.default))
        for place in self.changeable:
            values[place.byte] |= 1 << place.bit
        head = header_length(self.default)
        return self.default[:head] + values[head:]

    def merged(self, kept: bytes) -> bytes:
        """Take the changeable bits of another page of the same length, the rest as by default."""
        head = header_length(self.default)
        body = zip(self.default[head:], kept[head:], self.mask[head:], strict=True)
        return self.default[:head] + bytes(own & ~mask | new & mask for own, new, mask in body)


def page_key(page: bytes) -> PageKey:
    """Page code and subpage code of a page."""
    return page[0] & 0x3F, page[1] if page[0] & _SPF else 0


def header_length(page: bytes) -> int:
    """Bytes before a page's parameters (SPC-5 7.5.7): 2, or 4 with a subpage code."""
    return 4 if page[0] & _SPF else 2


def saveable(page: bytes) -> bytes:
    """Set PS: the page can be saved."""
    return bytes((page[0] | _PS, *page[1:]))


def page(code: ModePage, body: bytes, subpage: int = 0) -> bytes:
    """Put the header before a page's parameters (SPC-5 7.5.7)."""
    if subpage:
        return struct.pack(">BBH", _SPF | code, subpage, len(body)) + body
    return struct.pack(">BB", code, len(body)) + body


def error_recovery() -> PageDefinition:
    """Define the read-write error recovery page (SBC-4, 01h): AWRE, the host does the rest."""
    return PageDefinition(page(ModePage.ERROR_RECOVERY, bytes([0x80]).ljust(10, b"\0")))


def caching(*, write_cache: bool, switchable: bool) -> PageDefinition:
    """Define the caching page (SBC-4, 08h): WCE says whether writes wait for a flush."""
    body = bytes([0x04 if write_cache else 0x00]).ljust(18, b"\0")
    changeable = (WRITE_CACHE_ENABLE,) if switchable else ()
    return PageDefinition(page(ModePage.CACHING, body), changeable)


def control(*, reorders: bool = True) -> PageDefinition:
    """Define the control page (SPC-5, 0Ah); D_SENSE can be changed.

    TST 000b: one task set for all nexuses. GLTSD: log parameters are not saved.
    QUEUE ALGORITHM MODIFIER 1: commands may be reordered. BUSY TIMEOUT FFFFh: unlimited.
    """
    body = struct.pack(">BBBBxxHH", 0x02, 0x10 if reorders else 0, 0x00, 0x00, 0xFFFF, 0)
    return PageDefinition(page(ModePage.CONTROL, body), (DESCRIPTOR_SENSE,))


def control_extension(*, most_sense: int) -> PageDefinition:
    """Define the control extension page (SPC-5, 0Ah/01h): at most that many bytes of sense."""
    body = struct.pack(">BBB", 0x00, 0x00, most_sense).ljust(28, b"\0")
    return PageDefinition(page(ModePage.CONTROL, body, subpage=0x01))


def informational_exceptions() -> PageDefinition:
    """Define the informational exceptions control page (SPC-5, 1Ch): DEXCPT, none is reported."""
    return PageDefinition(page(ModePage.INFORMATIONAL_EXCEPTIONS, bytes([0x08]).ljust(10, b"\0")))


def short_block_descriptor(blocks: int, block_size: int) -> bytes:
    """Build the 8-byte block descriptor of a disk (SBC-4 6.5.2.2)."""
    return struct.pack(">II", min(blocks, 0xFFFFFFFF), block_size)


def long_block_descriptor(blocks: int, block_size: int) -> bytes:
    """Build the 16-byte block descriptor, for LLBAA (SBC-4 6.5.2.3)."""
    return struct.pack(">QxxxxI", blocks, block_size)


@dataclass(frozen=True, slots=True)
class ModeData:
    """What MODE SENSE returns, before the header of its kind."""

    device_specific: int  #: what the header says of a unit of its type
    descriptor: bytes
    pages: bytes

    def pack_6(self) -> bytes:
        """Build with the header of MODE SENSE(6) (SPC-5 7.5.4)."""
        rest = self.descriptor + self.pages
        length = min(3 + len(rest), 0xFF)
        return struct.pack(">BBBB", length, 0, self.device_specific, len(self.descriptor)) + rest

    def pack_10(self) -> bytes:
        """Build with the header of MODE SENSE(10) (SPC-5 7.5.4)."""
        rest = self.descriptor + self.pages
        long_lba = len(self.descriptor) == 16
        head = struct.pack(
            ">HBBBxH", 6 + len(rest), 0, self.device_specific, long_lba, len(self.descriptor)
        )
        return head + rest


def choose_pages(pages: Mapping[PageKey, bytes], code: int, subpage: int) -> bytes | None:
    """Choose what a page and subpage code ask for; None where there is no such page.

    SPC-5, "MODE SENSE(6) command": page 3Fh is all pages, subpage FFh all subpages.
    """
    if code == ModePage.ALL and subpage not in {0, ALL_SUBPAGES}:
        return None
    chosen = [
        pages[key]
        for key in sorted(pages)
        if code in {key[0], ModePage.ALL} and subpage in {key[1], ALL_SUBPAGES}
    ]
    return b"".join(chosen) or None


@dataclass(frozen=True, slots=True)
class GivenPage:
    """A page of a MODE SELECT parameter list."""

    offset: int  #: of its first byte in the list
    data: bytes  #: with its header, as it came

    @property
    def key(self) -> PageKey:
        """Page code and subpage code."""
        return page_key(self.data)


class _Place(NamedTuple):
    """Where the header of a MODE SELECT list has what (SPC-5 7.5.5)."""

    header: int  #: its length
    device_specific_at: int
    length_at: int  #: of the block descriptors' length


@dataclass(frozen=True, slots=True)
class ParameterList:
    """What MODE SELECT is given (SPC-5 7.5.2)."""

    device_specific: int  #: of its header
    descriptor: bytes  #: the block descriptor, empty where there is none
    descriptor_offset: int
    pages: tuple[GivenPage, ...]

    @classmethod
    def parse_6(cls, data: bytes) -> ParameterList | Reply:
        """Read the list of MODE SELECT(6); a Reply says what is wrong with it."""
        if len(data) < 4:
            return check_condition(PARAMETER_LIST_LENGTH_ERROR)
        place = _Place(header=HEADER_6, device_specific_at=2, length_at=3)
        return cls._parse(data, place, length=data[3], expected=8)

    @classmethod
    def parse_10(cls, data: bytes) -> ParameterList | Reply:
        """Read the list of MODE SELECT(10); a Reply says what is wrong with it."""
        if len(data) < 8:
            return check_condition(PARAMETER_LIST_LENGTH_ERROR)
        length = int.from_bytes(data[6:8], "big")
        long_lba = data[4] & 0x01
        place = _Place(header=HEADER_10, device_specific_at=3, length_at=6)
        return cls._parse(data, place, length=length, expected=16 if long_lba else 8)

    @classmethod
    def _parse(
        cls, data: bytes, place: _Place, *, length: int, expected: int
    ) -> ParameterList | Reply:
        header = place.header
        if length not in {0, expected}:
            return invalid_parameter(place.length_at)
        if len(data) < header + length:
            return check_condition(PARAMETER_LIST_LENGTH_ERROR)
        descriptor = data[header : header + length]
        pages = []
        at = header + length
        while at < len(data):
            page = _first_page(data[at:])
            if page is None:
                return check_condition(PARAMETER_LIST_LENGTH_ERROR)
            pages.append(GivenPage(at, page))
            at += len(page)
        return cls(data[place.device_specific_at], descriptor, header, tuple(pages))


def _first_page(data: bytes) -> bytes | None:
    head = header_length(data)
    if len(data) < head:
        return None
    length = head + int.from_bytes(data[head - 1 if head == 2 else 2 : head], "big")
    return data[:length] if len(data) >= length else None
