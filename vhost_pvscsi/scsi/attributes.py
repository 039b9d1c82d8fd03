"""Attributes of a medium's auxiliary memory, MAM (SPC-5 7.4): lists, and who may write which."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .request import Reply
from .sense import PARAMETER_LIST_LENGTH_ERROR, check_condition, invalid_parameter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: READ ONLY in an attribute's third byte; FORMAT, two bits of it.
_READ_ONLY, _FORMAT_MASK = 0x80, 0x03
_HEAD = struct.Struct(">HBH")

#: Longest value of an attribute whose length is the application's matter.
MOST_VALUE = 1024


class Format(enum.IntEnum):
    """FORMAT of an attribute (SPC-5 7.4.1)."""

    BINARY = 0
    ASCII = 1
    TEXT = 2


class ReadAttribute(enum.IntEnum):
    """Service actions of READ ATTRIBUTE (SPC-5, that command)."""

    VALUES = 0x00
    LIST = 0x01
    LOGICAL_VOLUME_LIST = 0x02
    PARTITION_LIST = 0x03
    SUPPORTED = 0x05


class Id(enum.IntEnum):
    """Attribute identifiers (SPC-5 7.4.2): a device's, a medium's, a host's."""

    REMAINING_CAPACITY = 0x0000
    MAXIMUM_CAPACITY = 0x0001
    TAPE_ALERT = 0x0002
    LOAD_COUNT = 0x0003
    SPACE_REMAINING = 0x0004
    ASSIGNING_ORGANIZATION = 0x0005
    FORMATTED_DENSITY = 0x0006
    VOLUME_IDENTIFIER = 0x0008
    DRIVE_AT_LAST_LOAD = 0x020A
    DRIVE_AT_LOAD_BEFORE = 0x020B
    DRIVE_TWO_BEFORE = 0x020C
    DRIVE_THREE_BEFORE = 0x020D
    WRITTEN_IN_LIFE = 0x0220
    READ_IN_LIFE = 0x0221
    WRITTEN_IN_LOAD = 0x0222
    READ_IN_LOAD = 0x0223

    MANUFACTURER = 0x0400
    SERIAL_NUMBER = 0x0401
    MEDIUM_ASSIGNING_ORGANIZATION = 0x0404
    DENSITY = 0x0405
    MEMORY_CAPACITY = 0x0407
    MEDIUM_TYPE = 0x0408

    APPLICATION_VENDOR = 0x0800
    APPLICATION_NAME = 0x0801
    APPLICATION_VERSION = 0x0802
    USER_TEXT_LABEL = 0x0803
    LAST_WRITTEN = 0x0804
    LOCALIZATION = 0x0805
    BARCODE = 0x0806
    OWNING_HOST = 0x0807
    MEDIA_POOL = 0x0808
    PARTITION_LABEL = 0x0809
    LOAD_AT_PARTITION = 0x080A
    APPLICATION_FORMAT = 0x080B
    COHERENCY = 0x080C
    MEDIUM_GUID = 0x0820
    MEDIA_POOL_GUID = 0x0821


#: Drives that have had the medium, the last one first.
DRIVES = (
    Id.DRIVE_AT_LAST_LOAD,
    Id.DRIVE_AT_LOAD_BEFORE,
    Id.DRIVE_TWO_BEFORE,
    Id.DRIVE_THREE_BEFORE,
)

#: What hosts may write: format, and bytes; None: as many as there are, up to MOST_VALUE.
HOST: Mapping[int, tuple[Format, int | None]] = {
    Id.APPLICATION_VENDOR: (Format.ASCII, 8),
    Id.APPLICATION_NAME: (Format.ASCII, 32),
    Id.APPLICATION_VERSION: (Format.ASCII, 8),
    Id.USER_TEXT_LABEL: (Format.TEXT, 160),
    Id.LAST_WRITTEN: (Format.ASCII, 12),
    Id.LOCALIZATION: (Format.BINARY, 1),
    Id.BARCODE: (Format.ASCII, 32),
    Id.OWNING_HOST: (Format.TEXT, 80),
    Id.MEDIA_POOL: (Format.TEXT, 160),
    Id.PARTITION_LABEL: (Format.ASCII, 16),
    Id.LOAD_AT_PARTITION: (Format.BINARY, 1),
    Id.APPLICATION_FORMAT: (Format.ASCII, 16),
    Id.COHERENCY: (Format.BINARY, None),
    Id.MEDIUM_GUID: (Format.BINARY, 36),
    Id.MEDIA_POOL_GUID: (Format.BINARY, 36),
}
#: Attributes of a host's own, of any format and length.
_HOST_VENDORS = range(0x1400, 0x1800)


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute; a value of no bytes takes it away, where it is written."""

    id: int
    format: Format
    value: bytes

    @property
    def size(self) -> int:
        """Bytes in a list."""
        return _HEAD.size + len(self.value)

    def pack(self) -> bytes:
        """Build it as READ ATTRIBUTE returns it (SPC-5 7.4.1)."""
        flags = self.format | (0 if writable(self.id) else _READ_ONLY)
        return _HEAD.pack(self.id, flags, len(self.value)) + self.value


def binary(code: Id, value: int, size: int = 8) -> Attribute:
    """Make an attribute that is a number; one that is too large is the largest."""
    return Attribute(code, Format.BINARY, min(value, (1 << 8 * size) - 1).to_bytes(size, "big"))


def ascii_text(code: Id, value: str, size: int) -> Attribute:
    """Make an attribute of ASCII characters, spaces behind them."""
    encoded = value.encode("ascii", "replace")[:size]
    return Attribute(code, Format.ASCII, encoded.ljust(size, b" "))


def writable(code: int) -> bool:
    """Whether hosts may write an attribute."""
    return code in HOST or code in _HOST_VENDORS


def value_list(attributes: Iterable[Attribute]) -> bytes:
    """Build what ATTRIBUTE VALUES returns (SPC-5, that service action)."""
    body = b"".join(attribute.pack() for attribute in attributes)
    return struct.pack(">I", len(body)) + body


def identifier_list(codes: Iterable[int]) -> bytes:
    """Build what ATTRIBUTE LIST and SUPPORTED ATTRIBUTES return."""
    body = b"".join(struct.pack(">H", code) for code in codes)
    return struct.pack(">I", len(body)) + body


def one_of_them() -> bytes:
    """Build what LOGICAL VOLUME LIST and PARTITION LIST return: there is one, of number 0."""
    return struct.pack(">HBB", 2, 0, 1)


def parse_list(data: bytes) -> tuple[Attribute, ...] | Reply:
    """Read the list of WRITE ATTRIBUTE; a Reply says what is wrong with it (SPC-5, that command).

    Attributes come in the order of their identifiers; none that hosts may not write is taken.
    """
    end = 4 + int.from_bytes(data[:4], "big")
    if len(data) < 4 or end > len(data):
        return check_condition(PARAMETER_LIST_LENGTH_ERROR)
    found: list[Attribute] = []
    at = 4
    while at < end:
        attribute = _first(data[at:end], at)
        if isinstance(attribute, Reply):
            return attribute
        if found and attribute.id <= found[-1].id:
            return invalid_parameter(at)
        found.append(attribute)
        at += attribute.size
    return tuple(found)


def _first(data: bytes, at: int) -> Attribute | Reply:
    """Read the first attribute of what is left of a list, from byte `at` of it on."""
    if len(data) < _HEAD.size:
        return check_condition(PARAMETER_LIST_LENGTH_ERROR)
    code, flags, length = _HEAD.unpack_from(data)
    value = data[_HEAD.size : _HEAD.size + length]
    if len(value) < length:
        return check_condition(PARAMETER_LIST_LENGTH_ERROR)
    if not writable(code):
        return invalid_parameter(at)
    if flags & ~(_READ_ONLY | _FORMAT_MASK) or flags & _FORMAT_MASK not in set(Format):
        return invalid_parameter(at + 2)
    attribute = Attribute(code, Format(flags & _FORMAT_MASK), value)
    wrong = _wrong(attribute)
    return attribute if wrong is None else invalid_parameter(at + wrong)


def _wrong(attribute: Attribute) -> int | None:
    """The byte of an attribute's head that does not fit it."""
    if not attribute.value:
        return None
    form, size = HOST.get(attribute.id, (attribute.format, None))
    if attribute.format is not form:
        return 2
    length = len(attribute.value)
    return 3 if length > MOST_VALUE or (size is not None and length != size) else None
