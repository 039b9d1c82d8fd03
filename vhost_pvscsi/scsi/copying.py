"""EXTENDED COPY: its parameter lists as values (SPC-4 6.4, 6.5; SPC-3 6.3).

Only what can be copied from block device to block device is understood: identification CSCD
descriptors (E4h), segment descriptors 02h. Whatever else a list has in it is refused here, before
a single segment is looked at (SPC-4 5.17.7.3).
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import sense
from .sense import FieldPointer, check_condition, invalid_field, invalid_parameter

if TYPE_CHECKING:
    from .request import Reply


class DescriptorType(enum.IntEnum):
    """Descriptor type codes (SPC-4 6.4.4)."""

    BLOCK_TO_BLOCK = 0x02
    IDENTIFICATION = 0xE4


class Usage(enum.IntEnum):
    """LIST ID USAGE (SPC-4 6.4.3.2); in SPC-3 the upper bit is NRCR."""

    HOLD = 0b00  #: results are kept for whoever asks by the list identifier
    MAY_DISCARD = 0b10
    NO_IDENTIFIER = 0b11


#: Most descriptors of a list, and most bytes of them (SPC-4 6.4.3.4, 6.4.3.5).
MAX_CSCDS, MAX_SEGMENTS = 64, 256
CSCD_LENGTH, SEGMENT_LENGTH = 32, 28
MAX_LIST_LENGTH = MAX_CSCDS * CSCD_LENGTH + MAX_SEGMENTS * SEGMENT_LENGTH
#: Most bytes of a parameter list that are looked at.
MOST_PARAMETERS = 0x10000
#: Bytes that one segment can copy: 65535 blocks of 4096 bytes, the largest there are, are less.
MAX_SEGMENT_LENGTH = 1 << 28
#: Every segment is of whole blocks, and the smallest block has 512 bytes.
GRANULARITY_LOG2 = 9

#: The CSCD descriptor ID of the unit that the command was sent to (SPC-4 table 148).
COPY_MANAGER = 0xFFFF

#: Most bytes of a designator in an identification CSCD descriptor.
MOST_DESIGNATOR = 20

_HEADER_LID1 = struct.Struct(">BBHxxxxII")
_HEADER_LID4 = struct.Struct(">BBH11xBB3xI18xHHH")
#: Parameter list format, length and type code of the descriptor that SPC-3 would see (SPC-4 6.4.2).
_FORMAT_LID4, _HEADER_CSCD_LENGTH, _HEADER_CSCD_TYPE = 0x01, 0x20, 0xFF

_SEGMENT = struct.Struct(">BBHHHxxHQQ")


@dataclass(frozen=True, slots=True)
class Cscd:
    """An identification CSCD descriptor (SPC-4 6.4.5.6): a copy source or destination."""

    at: int  #: its first byte in the parameter list
    device_type: int
    null: bool  #: NUL of SPC-3: no command may be sent to it
    designator: bytes  #: as VPD page 83h has it, with its header
    pad: bool
    block_length: int  #: DISK BLOCK LENGTH in bytes; 0: not said

    @classmethod
    def parse(cls, data: bytes, at: int) -> Cscd | Reply:
        """Take one out of the parameter list; there are `CSCD_LENGTH` bytes at that place."""
        one = data[at : at + CSCD_LENGTH]
        if one[0] != DescriptorType.IDENTIFICATION:
            return check_condition(
                sense.UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE, pointer=_in_list(at)
            )
        if one[1] & 0x80:
            # A reserved kind of LU identifier. SPC-3 reserves the field here, SPC-4 ignores it.
            return invalid_parameter(at + 1, 7)
        length = one[7]
        if length > MOST_DESIGNATOR:
            return invalid_parameter(at + 7)
        header = bytes((one[4] & 0x0F, one[5] & 0x3F, 0, length))
        return cls(
            at,
            device_type=one[1] & 0x1F,
            null=bool(one[1] & 0x20),
            designator=header + one[8 : 8 + length],
            pad=bool(one[28] & 0x04),
            block_length=int.from_bytes(one[29:32], "big"),
        )


#: Bytes of a segment descriptor, for field pointers into it.
SOURCE_BYTE, DESTINATION_BYTE, BLOCKS_BYTE = 4, 6, 10
SOURCE_LBA_BYTE, DESTINATION_LBA_BYTE = 12, 20


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment descriptor of type 02h (SPC-4 6.4.6.4). Addresses and counts are in blocks."""

    source: int  #: CSCD descriptor ID
    destination: int  #: CSCD descriptor ID
    blocks: int
    source_lba: int
    destination_lba: int
    counts_destination: bool  #: DC: `blocks` are the destination's
    concatenate: bool  #: CAT

    @classmethod
    def parse(cls, data: bytes, at: int) -> Segment | Reply:
        """Take one out of the bytes, which end with the list of segment descriptors."""
        if data[at] != DescriptorType.BLOCK_TO_BLOCK:
            return check_condition(
                sense.UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE, pointer=_in_list(at)
            )
        if len(data) - at < SEGMENT_LENGTH:
            return check_condition(sense.PARAMETER_LIST_LENGTH_ERROR)
        _, flags, length, source, destination, blocks, from_lba, to_lba = _SEGMENT.unpack_from(
            data, at
        )
        if flags & 0xFC:
            return invalid_parameter(at + 1, flags.bit_length() - 1)
        if length != SEGMENT_LENGTH - 4:
            return invalid_parameter(at + 2)
        return cls(
            source,
            destination,
            blocks,
            from_lba,
            to_lba,
            counts_destination=bool(flags & 0x02),
            concatenate=bool(flags & 0x01),
        )


@dataclass(frozen=True, slots=True)
class CopyList:
    """What EXTENDED COPY is given. STR and PRIORITY are hints, which nothing here needs."""

    identifier: int
    usage: Usage
    cscds: tuple[Cscd, ...]
    segments: tuple[Segment, ...]
    good_sense: bool = False  #: G_SENSE: GOOD comes with sense data (LID4)


def parse_lid1(data: bytes) -> CopyList | Reply:
    """Read the parameter list of EXTENDED COPY(LID1), or make the refusal of it."""
    if len(data) < _HEADER_LID1.size:
        return check_condition(sense.PARAMETER_LIST_LENGTH_ERROR)
    identifier, flags, cscds, segments, inline = _HEADER_LID1.unpack_from(data)
    if inline:
        return check_condition(sense.INLINE_DATA_LENGTH_EXCEEDED, pointer=_in_list(12))
    usage = _usage(flags, identifier, 0)
    if not isinstance(usage, Usage):
        return usage
    return _lists(data, _HEADER_LID1.size, cscds, segments, (identifier, usage, False))


def parse_lid4(data: bytes) -> CopyList | Reply:
    """Read the parameter list of EXTENDED COPY(LID4), or make the refusal of it.

    IMMED is not supported, that is, taken as 0 (SPC-4 5.17.4.3).
    """
    if len(data) < _HEADER_LID4.size:
        return check_condition(sense.PARAMETER_LIST_LENGTH_ERROR)
    (form, flags, header_length, answer, header_type, identifier, cscds, segments, inline) = (
        _HEADER_LID4.unpack_from(data)
    )
    for wrong, byte in (
        (form != _FORMAT_LID4, 0),
        (header_length != _HEADER_CSCD_LENGTH, 2),
        (header_type != _HEADER_CSCD_TYPE, 16),
    ):
        if wrong:
            return invalid_parameter(byte)
    usage = _usage(flags, identifier, 20)
    if not isinstance(usage, Usage):
        return usage
    if answer & 0x01 and (answer & 0x02 or usage is Usage.NO_IDENTIFIER):
        return invalid_field(0)  # in the CDB, says SPC-4 6.4.2, though it has neither bit
    if inline:
        return check_condition(sense.INLINE_DATA_LENGTH_EXCEEDED, pointer=_in_list(46))
    named = identifier, usage, bool(answer & 0x02)
    return _lists(data, _HEADER_LID4.size, cscds, segments, named)


def _usage(flags: int, identifier: int, where: int) -> Usage | Reply:
    usage = flags >> 3 & 0b11
    if usage not in set(Usage):
        return invalid_parameter(1, 4)
    if usage == Usage.NO_IDENTIFIER and identifier:
        return invalid_parameter(where)
    return Usage(usage)


def _lists(
    data: bytes, start: int, cscds: int, segments: int, named: tuple[int, Usage, bool]
) -> CopyList | Reply:
    """Read the two lists of descriptors, `cscds` and `segments` bytes long."""
    middle, end = start + cscds, start + cscds + segments
    for wrong, code in (
        (cscds + segments > MAX_LIST_LENGTH, sense.PARAMETER_LIST_LENGTH_ERROR),
        (cscds > MAX_CSCDS * CSCD_LENGTH, sense.TOO_MANY_TARGET_DESCRIPTORS),
        (segments > MAX_SEGMENTS * SEGMENT_LENGTH, sense.TOO_MANY_SEGMENT_DESCRIPTORS),
        (cscds % CSCD_LENGTH or len(data) < end, sense.PARAMETER_LIST_LENGTH_ERROR),
    ):
        if wrong:
            return check_condition(code)
    found = []
    for at in range(start, middle, CSCD_LENGTH):
        cscd = Cscd.parse(data, at)
        if not isinstance(cscd, Cscd):
            return cscd
        found.append(cscd)
    pieces = []
    for at in range(middle, end, SEGMENT_LENGTH):
        segment = Segment.parse(data[:end], at)
        if not isinstance(segment, Segment):
            return segment
        pieces.append(segment)
    identifier, usage, good_sense = named
    return CopyList(identifier, usage, tuple(found), tuple(pieces), good_sense)


def _in_list(byte: int) -> FieldPointer:
    return FieldPointer(byte, in_cdb=False)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a segment moves, in bytes."""

    whole: int  #: of blocks that are whole on both sides
    tail: int = 0  #: behind them: a part of a block on one side, which is written none the less


def extent(
    segment: Segment,
    blocks: tuple[int, int],
    pads: tuple[bool, bool],
    *,
    last: bool,
) -> Extent | None:
    """Decide how much a segment moves (SPC-4 table 116); None: it is an inexact one.

    Nothing is kept for the next segment: where CAT asks for that, the segment is inexact.

    Args:
        segment: the segment.
        blocks: bytes in a block of the source and of the destination.
        pads: PAD of the source and of the destination.
        last: no segment comes after it, so that CAT keeps nothing.
    """
    source_block, destination_block = blocks
    source_pads, destination_pads = pads
    if segment.counts_destination:
        # A residue is a part of the last block read. It is not part of what is to be written.
        whole, tail = _divided(segment.blocks * destination_block, source_block)
        dropped = last if segment.concatenate else source_pads or (destination_pads and last)
        return Extent(whole, tail) if dropped or not tail else None
    # A residue is what does not fill the last block to be written.
    whole, tail = _divided(segment.blocks * source_block, destination_block)
    if not tail or (segment.concatenate and last):
        return Extent(whole)
    if segment.concatenate:
        return None
    if destination_pads:
        return Extent(whole, tail)
    return Extent(whole) if source_pads else None


def _divided(total: int, block: int) -> tuple[int, int]:
    return total - total % block, total % block
