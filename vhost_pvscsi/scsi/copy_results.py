"""What is told of copies: limits, progress, and the sense data of a failed one (SPC-4)."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import copying
from .codes import Opcode
from .copying import DescriptorType
from .request import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .command import Command
    from .sense import SenseCode

#: Copies of one unit at a time; all may have a list identifier.
MAX_COPIES = 16

_DESCRIPTORS = bytes(sorted(DescriptorType))


def operating_parameters() -> bytes:
    """Build the data of RECEIVE COPY OPERATING PARAMETERS (SPC-4 6.22).

    Lists without identifier are supported (SNLID). There is no inline data, held data or stream.
    """
    return _available(
        struct.pack(
            ">BxxxHHIIIIIxxHBBBBxxxB",
            0x01,
            copying.MAX_CSCDS,
            copying.MAX_SEGMENTS,
            copying.MAX_LIST_LENGTH,
            copying.MAX_SEGMENT_LENGTH,
            0,
            0,
            0,
            MAX_COPIES,
            MAX_COPIES,
            copying.GRANULARITY_LOG2,
            0,
            0,
            len(_DESCRIPTORS),
        )
        + _DESCRIPTORS
    )


def third_party_copy_page(commands: Iterable[Command]) -> bytes:
    """Build the body of VPD page 8Fh for a unit with those commands (SPC-4 7.8.17)."""
    supported = b"".join(
        _with_length(actions, 1, before=bytes((opcode,)))
        for opcode, actions in _service_actions(commands).items()
    )
    parameters = struct.pack(
        ">4xHHII12x", copying.MAX_CSCDS, copying.MAX_SEGMENTS, copying.MAX_LIST_LENGTH, 0
    )
    copies = struct.pack(
        ">IIIBB18x", MAX_COPIES, MAX_COPIES, copying.MAX_SEGMENT_LENGTH, copying.GRANULARITY_LOG2, 0
    )
    identifiers = struct.pack(">H", copying.COPY_MANAGER)
    return b"".join(
        (
            _descriptor(0x0001, _with_length(supported, 1)),
            _descriptor(0x0004, parameters),
            _descriptor(0x0008, _with_length(_DESCRIPTORS, 1)),
            _descriptor(0x000C, _with_length(identifiers, 2)),
            _descriptor(0x8001, copies),
            _descriptor(0xC001, bytes(0x1C)),  # no data is held
        )
    )


def _service_actions(commands: Iterable[Command]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for opcode in (Opcode.THIRD_PARTY_COPY_OUT, Opcode.THIRD_PARTY_COPY_IN):
        actions = {c.service_action for c in commands if c.opcode is opcode}
        found[opcode] = bytes(sorted(action for action in actions if action is not None))
    return found


def _descriptor(code: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(">HH", code, len(body)) + body


def _with_length(data: bytes, width: int, *, before: bytes = b"") -> bytes:
    return before + len(data).to_bytes(width, "big") + data


def _available(data: bytes) -> bytes:
    """Put AVAILABLE DATA before parameter data."""
    return _with_length(data, 4)


class CopyStatus(enum.IntEnum):
    """COPY OPERATION STATUS (SPC-4 table 249)."""

    COMPLETED = 0x01
    FAILED = 0x02
    IN_PROGRESS = 0x11  #: in the foreground: there is no IMMED
    TERMINATED = 0x60


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a copy has come, and how it ended."""

    action: int  #: the service action that began it
    state: CopyStatus = CopyStatus.IN_PROGRESS
    segments: int = 0  #: begun, the current one among them
    written: int = 0  #: bytes
    pieces: int = 0  #: reads or writes that have ended well
    status: int = Status.GOOD  #: what the command ended with
    sense: bytes = b""

    def status_lid1(self) -> bytes:
        """Build the data of RECEIVE COPY STATUS(LID1) (SPC-4 6.25)."""
        states = {CopyStatus.IN_PROGRESS: 0x00, CopyStatus.COMPLETED: 0x01}
        # MiB where bytes would not fit: no copy is as long as 2 to the 52.
        unit, count = (0x00, self.written) if self.written < 1 << 32 else (0x02, self.written >> 20)
        return _available(
            struct.pack(">BHBI", states.get(self.state, 0x02), self.segments, unit, count)
        )

    def status_lid4(self) -> bytes:
        """Build the data of RECEIVE COPY STATUS(LID4) (SPC-4 6.24)."""
        return _available(self._shared())

    def data_lid4(self) -> bytes:
        """Build the data of RECEIVE COPY DATA(LID4): the status, no held data (SPC-4 6.20)."""
        return _available(self._shared() + bytes(4))

    def _shared(self) -> bytes:
        in_progress = self.state is CopyStatus.IN_PROGRESS
        terminated = self.state is CopyStatus.TERMINATED
        sense = b"" if in_progress or terminated else self.sense
        field = sense + bytes(-len(sense) % 4)
        return (
            struct.pack(
                ">BBHIBBBBQH6x",
                self.action,
                self.state,
                self.pieces & 0xFFFF,
                _UPDATE_DELAY if in_progress else 0xFFFFFFFE,
                0 if in_progress else self.status,
                len(field),
                len(sense),
                0x00,  # the count is of bytes
                self.written,
                self.segments,
            )
            + field
        )

    def failure_details(self) -> bytes:
        """Build the data of RECEIVE COPY FAILURE DETAILS(LID1) (SPC-4 6.23)."""
        if self.state is not CopyStatus.FAILED:
            return bytes(4)
        return _available(struct.pack(">52xBxH", self.status, len(self.sense)) + self.sense)


#: Milliseconds after which it is worth while to ask again.
_UPDATE_DELAY = 100

#: There is no held data for RECEIVE COPY DATA(LID1) (SPC-4 6.21).
NO_HELD_DATA = bytes(4)


@dataclass(frozen=True, slots=True)
class SegmentPointer:
    """Where in the parameter list, or in the segment descriptor, a mistake is (SPC-4 4.5.2.4.5)."""

    byte: int
    in_segment: bool = False

    def pack(self) -> bytes:
        """Sense key specific data: SKSV, SD; field pointer."""
        return struct.pack(">BH", 0x80 | (0x20 if self.in_segment else 0), self.byte)


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What a copy source or destination had to say: its status, its sense data."""

    status: int
    sense: bytes
    from_destination: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a segment could not be copied, and all that its sense data tells (SPC-4 5.17.7.4)."""

    code: SenseCode
    pointer: SegmentPointer | None = None
    forwarded: Forwarded | None = None

    def sense(self, segment: int, residual: int | None, *, descriptors: bool) -> bytes:
        """Build the sense data.

        Args:
            segment: the number of the segment descriptor.
            residual: destination blocks that were not written; None: none has been written yet.
            descriptors: in descriptor format, else in fixed format.
        """
        return (self._descriptors if descriptors else self._fixed)(segment, residual)

    def _fixed(self, segment: int, residual: int | None) -> bytes:
        area, places = b"", [0, 0]
        if self.forwarded is not None:
            area = bytes((self.forwarded.status,)) + self.forwarded.sense
            places[self.forwarded.from_destination] = _FIXED.size
        head = _FIXED.pack(
            0x70 | (0x80 if residual is not None else 0),
            self.code.key,
            residual or 0,
            _FIXED.size - 8 + len(area),
            *places,
            segment,
            self.code.asc,
            self.code.ascq,
            self.pointer.pack() if self.pointer else bytes(3),
        )
        return head + area

    def _descriptors(self, segment: int, residual: int | None) -> bytes:
        parts = b"" if residual is None else struct.pack(">BBBxQ", 0x00, 0x0A, 0x80, residual)
        parts += struct.pack(">BBxxQ", 0x01, 0x0A, segment)
        if self.pointer is not None:
            parts += struct.pack(">BBxx3sx", 0x02, 0x06, self.pointer.pack())
        if self.forwarded is not None:
            said = self.forwarded.sense
            source = 2 if self.forwarded.from_destination else 1
            parts += struct.pack(">BBBB", 0x0C, 2 + len(said), source, self.forwarded.status) + said
        code = self.code
        return struct.pack(">BBBBxxxB", 0x72, code.key, code.asc, code.ascq, len(parts)) + parts


_FIXED = struct.Struct(">BxBIBBBHBBx3s")


def completed(code: SenseCode, segments: int, *, descriptors: bool) -> bytes:
    """Build the sense data that goes with GOOD where G_SENSE asks for it (SPC-4 6.4.2)."""
    if descriptors:
        return Failure(code).sense(segments, None, descriptors=True)
    return _FIXED.pack(
        0x70, code.key, 0, _FIXED.size - 8, 0, 0, segments, code.asc, code.ascq, bytes(3)
    )
