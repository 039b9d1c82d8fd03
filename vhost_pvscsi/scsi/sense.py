"""Sense data: what went wrong with a command, by name, and its two formats (SPC-5 4.4)."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from .request import Reply, Status


class SenseKey(enum.IntEnum):
    """Sense keys (SPC-5 4.4.8)."""

    NO_SENSE = 0x0
    RECOVERED_ERROR = 0x1
    NOT_READY = 0x2
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    DATA_PROTECT = 0x7
    BLANK_CHECK = 0x8
    COPY_ABORTED = 0xA
    ABORTED_COMMAND = 0xB
    MISCOMPARE = 0xE
    COMPLETED = 0xF


@dataclass(frozen=True, slots=True)
class SenseCode:
    """A sense key with its additional sense code and qualifier (SPC-5 4.4.9)."""

    key: SenseKey
    asc: int
    ascq: int

    def __str__(self) -> str:
        return f"{self.key:X}h/{self.asc:02X}h/{self.ascq:02X}h"


NO_ADDITIONAL_SENSE = SenseCode(SenseKey.NO_SENSE, 0x00, 0x00)
VERIFY_IN_PROGRESS = SenseCode(SenseKey.NO_SENSE, 0x00, 0x1C)
INITIALIZING_COMMAND_REQUIRED = SenseCode(SenseKey.NOT_READY, 0x04, 0x02)
NOT_READY_OPERATION_IN_PROGRESS = SenseCode(SenseKey.NOT_READY, 0x04, 0x07)
OFFLINE = SenseCode(SenseKey.NOT_READY, 0x04, 0x12)
MEDIUM_NOT_PRESENT = SenseCode(SenseKey.NOT_READY, 0x3A, 0x00)
MEDIUM_NOT_PRESENT_TRAY_CLOSED = SenseCode(SenseKey.NOT_READY, 0x3A, 0x01)
MEDIUM_NOT_PRESENT_TRAY_OPEN = SenseCode(SenseKey.NOT_READY, 0x3A, 0x02)
WRITE_ERROR = SenseCode(SenseKey.MEDIUM_ERROR, 0x0C, 0x00)
UNRECOVERED_READ_ERROR = SenseCode(SenseKey.MEDIUM_ERROR, 0x11, 0x00)
MEDIA_LOAD_OR_EJECT_FAILED = SenseCode(SenseKey.HARDWARE_ERROR, 0x53, 0x00)
COMMUNICATION_FAILURE = SenseCode(SenseKey.ABORTED_COMMAND, 0x08, 0x00)
COMMUNICATION_TIMEOUT = SenseCode(SenseKey.ABORTED_COMMAND, 0x08, 0x01)
LOGICAL_UNIT_FAILURE = SenseCode(SenseKey.HARDWARE_ERROR, 0x3E, 0x01)
INTERNAL_TARGET_FAILURE = SenseCode(SenseKey.HARDWARE_ERROR, 0x44, 0x00)

OPERATION_IN_PROGRESS = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x00, 0x16)
PARAMETER_LIST_LENGTH_ERROR = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x1A, 0x00)
INVALID_OPERATION_CODE = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x20, 0x00)
LBA_OUT_OF_RANGE = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x21, 0x00)
INVALID_FIELD_IN_CDB = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x24, 0x00)
LOGICAL_UNIT_NOT_SUPPORTED = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x25, 0x00)
INVALID_FIELD_IN_PARAMETER_LIST = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x26, 0x00)
INVALID_RELEASE_OF_PERSISTENT_RESERVATION = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x26, 0x04)
TOO_MANY_TARGET_DESCRIPTORS = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x26, 0x06)
UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x26, 0x07)
TOO_MANY_SEGMENT_DESCRIPTORS = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x26, 0x08)
UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x26, 0x09)
INLINE_DATA_LENGTH_EXCEEDED = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x26, 0x0B)
INCOMPATIBLE_FORMAT = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x30, 0x02)
SAVING_PARAMETERS_NOT_SUPPORTED = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x39, 0x00)
INVALID_ELEMENT_ADDRESS = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x21, 0x01)
MEDIUM_DESTINATION_ELEMENT_FULL = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x3B, 0x0D)
MEDIUM_SOURCE_ELEMENT_EMPTY = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x3B, 0x0E)
MEDIUM_MAGAZINE_NOT_ACCESSIBLE = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x3B, 0x11)
DATA_TRANSFER_DEVICE_REMOVED = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x3B, 0x1A)
AUXILIARY_MEMORY_OUT_OF_SPACE = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x55, 0x06)
MEDIUM_REMOVAL_PREVENTED = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x53, 0x02)

MEDIUM_MAY_HAVE_CHANGED = SenseCode(SenseKey.UNIT_ATTENTION, 0x28, 0x00)
IMPORT_OR_EXPORT_ELEMENT_ACCESSED = SenseCode(SenseKey.UNIT_ATTENTION, 0x28, 0x01)
POWER_ON_OR_RESET = SenseCode(SenseKey.UNIT_ATTENTION, 0x29, 0x00)
POWER_ON = SenseCode(SenseKey.UNIT_ATTENTION, 0x29, 0x01)
SCSI_BUS_RESET = SenseCode(SenseKey.UNIT_ATTENTION, 0x29, 0x02)
BUS_DEVICE_RESET = SenseCode(SenseKey.UNIT_ATTENTION, 0x29, 0x03)
I_T_NEXUS_LOSS = SenseCode(SenseKey.UNIT_ATTENTION, 0x29, 0x07)
MODE_PARAMETERS_CHANGED = SenseCode(SenseKey.UNIT_ATTENTION, 0x2A, 0x01)
RESERVATIONS_PREEMPTED = SenseCode(SenseKey.UNIT_ATTENTION, 0x2A, 0x03)
RESERVATIONS_RELEASED = SenseCode(SenseKey.UNIT_ATTENTION, 0x2A, 0x04)
REGISTRATIONS_PREEMPTED = SenseCode(SenseKey.UNIT_ATTENTION, 0x2A, 0x05)
CAPACITY_DATA_HAS_CHANGED = SenseCode(SenseKey.UNIT_ATTENTION, 0x2A, 0x09)
DEVICE_IDENTIFIER_CHANGED = SenseCode(SenseKey.UNIT_ATTENTION, 0x3F, 0x05)
REPORTED_LUNS_DATA_HAS_CHANGED = SenseCode(SenseKey.UNIT_ATTENTION, 0x3F, 0x0E)

WRITE_PROTECTED = SenseCode(SenseKey.DATA_PROTECT, 0x27, 0x00)
SPACE_ALLOCATION_FAILED = SenseCode(SenseKey.DATA_PROTECT, 0x27, 0x07)

COPY_ABORTED = SenseCode(SenseKey.COPY_ABORTED, 0x00, 0x00)
UNREACHABLE_COPY_TARGET = SenseCode(SenseKey.COPY_ABORTED, 0x08, 0x04)
THIRD_PARTY_DEVICE_FAILURE = SenseCode(SenseKey.COPY_ABORTED, 0x0D, 0x01)
COPY_TARGET_DEVICE_NOT_REACHABLE = SenseCode(SenseKey.COPY_ABORTED, 0x0D, 0x02)
INCORRECT_COPY_TARGET_DEVICE_TYPE = SenseCode(SenseKey.COPY_ABORTED, 0x0D, 0x03)
INVALID_FIELD_IN_COPY_LIST = SenseCode(SenseKey.COPY_ABORTED, 0x26, 0x00)
UNEXPECTED_INEXACT_SEGMENT = SenseCode(SenseKey.COPY_ABORTED, 0x26, 0x0A)
COMMANDS_CLEARED_BY_DEVICE_SERVER = SenseCode(SenseKey.COPY_ABORTED, 0x2F, 0x02)

EXTENDED_COPY_INFORMATION_AVAILABLE = SenseCode(SenseKey.COMPLETED, 0x00, 0x20)


@dataclass(frozen=True, slots=True)
class FieldPointer:
    """Where in a CDB or parameter list the mistake is (SPC-5 4.4.2.4.2).

    `bit` is the most significant bit of the field in that byte, None for a field of
    whole bytes.
    """

    byte: int
    bit: int | None = None
    in_cdb: bool = True

    def pack(self) -> bytes:
        """Sense key specific data: SKSV, C/D, BPV, bit pointer; field pointer."""
        flags = 0x80 | (0x40 if self.in_cdb else 0)
        if self.bit is not None:
            flags |= 0x08 | self.bit & 0x07
        return struct.pack(">BH", flags, self.byte)


#: Bytes of what `fixed` builds.
FIXED_LENGTH = 18


def fixed(
    code: SenseCode,
    *,
    information: int | None = None,
    pointer: FieldPointer | None = None,
    progress: int | None = None,
) -> bytes:
    """Build fixed format sense data, 18 bytes (SPC-5 4.4.3).

    An INFORMATION that does not fit four bytes is left out and VALID stays 0.
    """
    valid = information is not None and 0 <= information <= 0xFFFFFFFF
    return struct.pack(
        ">BxBIBxxxxBBx3s",
        0x70 | (0x80 if valid else 0),
        code.key,
        information if valid and information is not None else 0,
        10,  # additional sense length: bytes after this one
        code.asc,
        code.ascq,
        _specific(pointer, progress),
    )


def _specific(pointer: FieldPointer | None, progress: int | None) -> bytes:
    """Sense key specific data: a field pointer, or 65536ths that are done (SPC-5 4.4.2.4)."""
    if progress is not None:
        return struct.pack(">BH", 0x80, progress)
    return pointer.pack() if pointer else bytes(3)


def descriptor(
    code: SenseCode,
    *,
    information: int | None = None,
    pointer: FieldPointer | None = None,
    progress: int | None = None,
) -> bytes:
    """Build descriptor format sense data (SPC-5 4.4.2)."""
    descriptors = b""
    if information is not None:
        descriptors += struct.pack(">BBBxQ", 0x00, 0x0A, 0x80, information)
    if pointer is not None or progress is not None:
        descriptors += struct.pack(">BBxx3sx", 0x02, 0x06, _specific(pointer, progress))
    head = struct.pack(">BBBBxxxB", 0x72, code.key, code.asc, code.ascq, len(descriptors))
    return head + descriptors


def check_condition(
    code: SenseCode,
    *,
    information: int | None = None,
    pointer: FieldPointer | None = None,
    progress: int | None = None,
) -> Reply:
    """Answer CHECK CONDITION with that sense, in fixed format (D_SENSE is 0)."""
    sense = fixed(code, information=information, pointer=pointer, progress=progress)
    return Reply(status=Status.CHECK_CONDITION, sense=sense)


def invalid_field(byte: int, bit: int | None = None) -> Reply:
    """Answer INVALID FIELD IN CDB, pointing at the field."""
    return check_condition(INVALID_FIELD_IN_CDB, pointer=FieldPointer(byte, bit))


def invalid_parameter(byte: int, bit: int | None = None) -> Reply:
    """Answer INVALID FIELD IN PARAMETER LIST, pointing at the field."""
    return check_condition(
        INVALID_FIELD_IN_PARAMETER_LIST, pointer=FieldPointer(byte, bit, in_cdb=False)
    )


def in_descriptor_format(sense: bytes) -> bytes:
    """Turn fixed format sense data of `fixed()` into descriptor format; other data stays."""
    if len(sense) < FIXED_LENGTH or sense[0] & 0x7F != 0x70:
        return sense
    code = SenseCode(SenseKey(sense[2] & 0x0F), sense[12], sense[13])
    information = int.from_bytes(sense[3:7], "big") if sense[0] & 0x80 else None
    pointer = progress = None
    if sense[15] & 0x80 and code.key is not SenseKey.ILLEGAL_REQUEST:
        progress = int.from_bytes(sense[16:18], "big")
    elif sense[15] & 0x80:
        bit = sense[15] & 0x07 if sense[15] & 0x08 else None
        pointer = FieldPointer(
            int.from_bytes(sense[16:18], "big"), bit, in_cdb=bool(sense[15] & 0x40)
        )
    return descriptor(code, information=information, pointer=pointer, progress=progress)


def parsed(sense: bytes) -> SenseCode | None:
    """Read key and codes of sense data in either format (SPC-5 4.4); None: there are none."""
    if len(sense) < 4:
        return None
    if sense[0] & 0x7F >= 0x72:
        key, codes = sense[1], sense[2:4]
    else:
        key, codes = sense[2], sense[12:14].ljust(2, b"\0")
    known = key & 0x0F
    return SenseCode(SenseKey(known), *codes) if known in set(SenseKey) else None
