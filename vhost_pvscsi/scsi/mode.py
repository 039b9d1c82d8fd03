"""Mode parameters of a disk: header, block descriptor, pages (SPC-5 7.5, SBC-4 6.5)."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    INFORMATIONAL_EXCEPTIONS = 0x1C
    ALL = 0x3F


#: Subpage code that asks for all subpages of a page.
ALL_SUBPAGES = 0xFF


def _page(code: ModePage, body: bytes) -> bytes:
    # PS 0: no page of ours is saved.
    return struct.pack(">BB", code, len(body)) + body


def error_recovery() -> bytes:
    """Build the read-write error recovery page (SBC-4, 01h): AWRE, the host does the rest."""
    return _page(ModePage.ERROR_RECOVERY, bytes([0x80]).ljust(10, b"\0"))


def caching(*, write_cache: bool) -> bytes:
    """Build the caching page (SBC-4, 08h): WCE says whether writes wait for a flush."""
    return _page(ModePage.CACHING, bytes([0x04 if write_cache else 0x00]).ljust(18, b"\0"))


def control() -> bytes:
    """Build the control page (SPC-5, 0Ah).

    TST 000b: one task set for all nexuses. GLTSD: log parameters are not saved.
    QUEUE ALGORITHM MODIFIER 1: commands may be reordered. BUSY TIMEOUT FFFFh: unlimited.
    """
    body = struct.pack(">BBBBxxHH", 0x02, 0x10, 0x00, 0x00, 0xFFFF, 0)
    return _page(ModePage.CONTROL, body)


def informational_exceptions() -> bytes:
    """Build the informational exceptions control page (SPC-5, 1Ch): DEXCPT, none are reported."""
    return _page(ModePage.INFORMATIONAL_EXCEPTIONS, bytes([0x08]).ljust(10, b"\0"))


def changeable(page: bytes) -> bytes:
    """Build the mask of a page that MODE SELECT cannot change: the header and zeros."""
    return page[:2].ljust(len(page), b"\0")


def short_block_descriptor(blocks: int, block_size: int) -> bytes:
    """Build the 8-byte block descriptor of a disk (SBC-4 6.5.2.2)."""
    return struct.pack(">II", min(blocks, 0xFFFFFFFF), block_size)


def long_block_descriptor(blocks: int, block_size: int) -> bytes:
    """Build the 16-byte block descriptor, for LLBAA (SBC-4 6.5.2.3)."""
    return struct.pack(">QxxxxI", blocks, block_size)


@dataclass(frozen=True, slots=True)
class ModeData:
    """What MODE SENSE returns, before the header of its kind."""

    write_protected: bool
    descriptor: bytes
    pages: bytes

    @property
    def _device_specific(self) -> int:
        # SBC-4 6.5.1: WP, and DPOFUA: DPO and FUA bits are understood.
        return (0x80 if self.write_protected else 0) | 0x10

    def pack_6(self) -> bytes:
        """Build with the header of MODE SENSE(6) (SPC-5 7.5.4)."""
        rest = self.descriptor + self.pages
        length = min(3 + len(rest), 0xFF)
        return struct.pack(">BBBB", length, 0, self._device_specific, len(self.descriptor)) + rest

    def pack_10(self) -> bytes:
        """Build with the header of MODE SENSE(10) (SPC-5 7.5.4)."""
        rest = self.descriptor + self.pages
        long_lba = len(self.descriptor) == 16
        head = struct.pack(
            ">HBBBxH", 6 + len(rest), 0, self._device_specific, long_lba, len(self.descriptor)
        )
        return head + rest


def select_pages(pages: Mapping[ModePage, bytes], code: int, subpage: int) -> bytes | None:
    """Choose what a page and subpage code ask for; None where there is no such page.

    Only subpages 0 exist, so "all subpages" gives the same as that one.
    """
    if subpage not in {0, ALL_SUBPAGES}:
        return None
    if code == ModePage.ALL:
        return b"".join(pages[page] for page in sorted(pages))
    return next((body for page, body in pages.items() if page == code), None)
