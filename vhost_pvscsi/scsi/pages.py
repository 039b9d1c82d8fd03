"""INQUIRY data and vital product data pages, built from values (SPC-5 6.6, 7.7; SBC-4 6.6)."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class DeviceType(enum.IntEnum):
    """Peripheral device types (SPC-5 6.6.2)."""

    DISK = 0x00
    TAPE = 0x01
    PROCESSOR = 0x03
    CD = 0x05
    OPTICAL = 0x07
    CHANGER = 0x08
    STORAGE_ARRAY = 0x0C
    ENCLOSURE = 0x0D
    AUTOMATION = 0x12
    ZONED_DISK = 0x14
    WELL_KNOWN = 0x1E
    NONE = 0x1F


class Qualifier(enum.IntEnum):
    """Peripheral qualifiers: whether a logical unit is there (SPC-5 6.6.2)."""

    CONNECTED = 0b000
    NOT_CONNECTED = 0b001
    NOT_SUPPORTED = 0b011


#: Byte 0 of INQUIRY data for an address at which there is nothing.
NO_UNIT = Qualifier.NOT_SUPPORTED << 5 | DeviceType.NONE

VERSION_SPC_5 = 0x07
#: Version descriptors, no version claimed (SPC-5, annex "Version descriptor values").
SAM_5, SPC_5, SBC_4 = 0x00A0, 0x05C0, 0x0600
SSC_5, SMC_3, MMC_6 = 0x05A0, 0x0480, 0x04E0


class Vpd(enum.IntEnum):
    """Vital product data page codes."""

    SUPPORTED_PAGES = 0x00
    UNIT_SERIAL_NUMBER = 0x80
    DEVICE_IDENTIFICATION = 0x83
    EXTENDED_INQUIRY = 0x86
    MODE_PAGE_POLICY = 0x87
    THIRD_PARTY_COPY = 0x8F
    BLOCK_LIMITS = 0xB0
    BLOCK_CHARACTERISTICS = 0xB1
    LOGICAL_BLOCK_PROVISIONING = 0xB2
    #: of tapes; B0h is another page there
    SEQUENTIAL_CAPABILITIES = 0xB0


def text_field(text: str, width: int) -> bytes:
    """Left-aligned ASCII, filled with blanks (SPC-5 4.3.1)."""
    return text.encode("ascii", "replace")[:width].ljust(width)


def standard_inquiry(
    *,
    peripheral: int,
    vendor: str,
    product: str,
    revision: str,
    removable: bool = False,
    third_party_copy: bool = False,
    target_port_groups: int = 0,
    versions: Iterable[int] = (),
) -> bytes:
    """Build standard INQUIRY data, 96 bytes (SPC-5 6.6.2)."""
    head = struct.pack(
        ">BBBBBBBB8s16s4s",
        peripheral,
        0x80 if removable else 0,
        VERSION_SPC_5,
        0x12,  # HISUP: LUNs are as SAM-5 4.7 says; response data format 2
        96 - 5,
        # TPGS, 3PC; no SCCS, ACC, PROTECT
        target_port_groups << 4 | (0x08 if third_party_copy else 0x00),
        0x00,
        0x02,  # CMDQUE
        text_field(vendor, 8),
        text_field(product, 16),
        text_field(revision, 4),
    )
    descriptors = struct.pack(">8H", *([*versions, *[0] * 8][:8]))
    return (head.ljust(58, b"\0") + descriptors).ljust(96, b"\0")


def vpd_page(peripheral: int, page: int, body: bytes) -> bytes:
    """Put the header before a page's body (SPC-5 7.7.1)."""
    return struct.pack(">BBH", peripheral, page, len(body)) + body


class Association(enum.IntEnum):
    """What a designator names (SPC-5 7.7.6.1)."""

    LOGICAL_UNIT = 0
    TARGET_PORT = 1
    TARGET_DEVICE = 2


class DesignatorType(enum.IntEnum):
    """Kinds of designators (SPC-5 7.7.6.1)."""

    VENDOR_SPECIFIC = 0
    T10_VENDOR = 1
    EUI_64 = 2
    NAA = 3
    RELATIVE_TARGET_PORT = 4
    TARGET_PORT_GROUP = 5


@dataclass(frozen=True, slots=True)
class Designator:
    """One designation descriptor of VPD page 83h."""

    kind: DesignatorType
    value: bytes
    association: Association = Association.LOGICAL_UNIT
    ascii: bool = False

    def pack(self) -> bytes:
        """Build the descriptor; a value above 255 bytes is cut."""
        value = self.value[:255]
        code_set = 2 if self.ascii else 1
        kind = self.association << 4 | self.kind
        return struct.pack(">BBxB", code_set, kind, len(value)) + value


@dataclass(frozen=True, slots=True)
class BlockLimits:
    """VPD page B0h (SBC-4 6.6.3); lengths in logical blocks, 0: no limit is reported."""

    max_transfer: int = 0
    optimal_transfer: int = 0
    optimal_granularity: int = 0
    max_unmap_blocks: int = 0
    max_unmap_descriptors: int = 0
    unmap_granularity: int = 0
    max_write_same: int = 0
    max_compare_write: int = 0  #: 0: there is no COMPARE AND WRITE
    write_same_nonzero: bool = True  #: WSNZ: WRITE SAME of 0 blocks is refused

    def pack(self) -> bytes:
        """Build the page's body, 60 bytes."""
        body = struct.pack(
            ">BBHIIIIIIIQ",
            self.write_same_nonzero,
            self.max_compare_write,
            self.optimal_granularity,
            self.max_transfer,
            self.optimal_transfer,
            0,  # PRE-FETCH may name any number of blocks
            self.max_unmap_blocks,
            self.max_unmap_descriptors,
            self.unmap_granularity,
            # UGAVALID: the alignment, 0, is meant
            0x80000000 if self.unmap_granularity else 0,
            self.max_write_same,
        )
        return body.ljust(60, b"\0")


#: Medium rotation rates (SBC-4 6.6.2): the two that are no number of rotations.
RATE_NOT_REPORTED, RATE_SOLID_STATE = 0x0000, 0x0001


#: Block limits page: MAXIMUM TRANSFER LENGTH and OPTIMAL TRANSFER LENGTH, in blocks (SBC-4 6.6.4).
_MAXIMUM_TRANSFER, _OPTIMAL_TRANSFER = slice(8, 12), slice(12, 16)


def limit_transfers(data: bytes, most: int) -> bytes:
    """Have VPD page B0h tell of no longer transfers than so many blocks.

    0 means that a maximum is not reported; as an optimum it stays, there is none.
    """
    limited = bytearray(data)
    for where in (_MAXIMUM_TRANSFER, _OPTIMAL_TRANSFER):
        said = int.from_bytes(data[where], "big")
        unlimited = where is _MAXIMUM_TRANSFER and not said
        if len(data) >= where.stop and (said > most or unlimited):
            limited[where] = most.to_bytes(4, "big")
    return bytes(limited)


def block_characteristics(rotation_rate: int) -> bytes:
    """Build the body of VPD page B1h, 60 bytes (SBC-4 6.6.2).

    The form factor and whether a write erases first are not reported; it is no zoned disk.
    """
    flags = 0x02 | 0x01  # FUAB: FUA is as in SBC-3 and later; VBULS: VERIFY compares holes too
    return struct.pack(">HxxB", rotation_rate, flags).ljust(60, b"\0")


def extended_inquiry(*, volatile_cache: bool, most_sense: int) -> bytes:
    """Build the body of VPD page 86h, 60 bytes (SPC-5 7.7.7).

    SIMPSUP alone of the task attributes: no order is kept between commands. No protection
    information, priorities, groups, non-volatile cache or microcode; LUICLR 0: REPORT LUNS
    clears the unit attention of the unit that it was sent to. At most `most_sense` bytes of sense.
    """
    return struct.pack(">xBB6xB", 0x01, volatile_cache, most_sense).ljust(60, b"\0")


def mode_page_policy() -> bytes:
    """Build the body of VPD page 87h (SPC-5 7.7.15): all pages and subpages are shared."""
    return bytes([0x3F, 0xFF, 0x00, 0x00])


@dataclass(frozen=True, slots=True)
class Provisioning:
    """VPD page B2h: whether blocks can be given back (SBC-4 6.6.5)."""

    unmap: bool
    write_same: bool  #: WRITE SAME(10) and (16) with the UNMAP bit
    reads_zeros: bool

    def pack(self) -> bytes:
        """Build the page's body, 4 bytes."""
        flags = (
            self.unmap << 7
            | self.write_same << 6  # LBPWS
            | self.write_same << 5  # LBPWS10
            | self.reads_zeros << 2  # LBPRZ 001b
        )
        thin = 2 if self.unmap or self.write_same else 0
        return struct.pack(">BBBx", 0, flags, thin)
