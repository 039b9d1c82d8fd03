"""What medium changers say of their elements: mode pages, element status data (SMC-3)."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .mode import ModePage, PageDefinition, page

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .pages import Designator

#: Of a volume tag (SMC-3, "Volume tag information format"): what it is called, its whole length.
VOLUME_IDENTIFIER, VOLUME_TAG = 32, 36

#: The header of READ ELEMENT STATUS data, that of each page in it, and what a descriptor has before
#: its volume tag.
_HEADER, _PAGE_HEADER, _DESCRIPTOR = 8, 8, 12
#: Code set, identifier type, reserved, identifier length.
_IDENTIFIER_HEADER = 4
_PVOLTAG = 0x80

_FULL, _BY_OPERATOR, _EXCEPTION, _ACCESS, _EXPORT, _IMPORT = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_SVALID = 0x80


class ElementType(enum.IntEnum):
    """Element type codes (SMC-3, READ ELEMENT STATUS)."""

    ALL = 0
    MEDIUM_TRANSPORT = 1
    STORAGE = 2
    IMPORT_EXPORT = 3
    DATA_TRANSFER = 4


class Door(enum.IntEnum):
    """Action codes of OPEN/CLOSE IMPORT/EXPORT ELEMENT (SMC-3, that command)."""

    OPEN = 0
    CLOSE = 1


@dataclass(frozen=True, slots=True)
class Element:
    """An element as READ ELEMENT STATUS tells of it."""

    address: int
    kind: ElementType
    volume: str | None = None  #: what the cartridge in it is called; None: it is empty
    source: int | None = None  #: the storage element that the cartridge was last in
    by_operator: bool = False  #: it was put there by hand
    accessible: bool = True
    exception: tuple[int, int] | None = None  #: additional sense code and qualifier
    device: Designator | None = None  #: of a data transfer element: which unit it is


def _flags(element: Element) -> int:
    flags = _FULL if element.volume is not None else 0
    if element.exception is not None:
        flags |= _EXCEPTION
    if element.kind is ElementType.MEDIUM_TRANSPORT:
        return flags
    if element.accessible:
        flags |= _ACCESS
    if element.kind is ElementType.IMPORT_EXPORT:
        flags |= _EXPORT | _IMPORT | (_BY_OPERATOR if element.by_operator else 0)
    return flags


def volume_tag(volume: str | None) -> bytes:
    """Build a volume tag; of what is empty it is zeros (SMC-3, "Volume tag information format")."""
    if volume is None:
        return bytes(VOLUME_TAG)
    name = volume.encode("ascii", "replace")[:VOLUME_IDENTIFIER].ljust(VOLUME_IDENTIFIER)
    return name + bytes(VOLUME_TAG - VOLUME_IDENTIFIER)


def _descriptor(element: Element, *, tagged: bool, identified: bool, room: int) -> bytes:
    source = element.source
    data = struct.pack(
        ">HBxBB3xBH",
        element.address,
        _flags(element),
        *(element.exception or (0, 0)),
        0 if source is None else _SVALID,
        source or 0,
    )
    if tagged:
        data += volume_tag(element.volume)
    device = element.device if identified else None
    if device is None:
        identifier = bytes(_IDENTIFIER_HEADER)
    else:
        packed = device.pack()
        # As in VPD page 83h, but for the association, which has no place here.
        identifier = bytes((packed[0], packed[1] & 0x0F, 0, packed[3])) + packed[4:]
    return data + identifier.ljust(_IDENTIFIER_HEADER + room, b"\0")


def _room(elements: Iterable[Element], *, identified: bool) -> int:
    """Bytes that the longest identifier has: all descriptors of a page are of one length."""
    devices = (element.device for element in elements if identified)
    return max((len(device.pack()) - 4 for device in devices if device is not None), default=0)


def element_status(
    elements: Sequence[Element], *, tagged: bool, identified: bool, most: int
) -> bytes:
    """Build READ ELEMENT STATUS data of elements in the order of their addresses.

    `tagged`: with volume tags. `identified`: data transfer elements with the unit's identifier.
    `most`: the allocation length. Only whole descriptors are in it, and the byte counts say what
    there would be without a limit (SMC-3, "READ ELEMENT STATUS command").
    """
    runs: list[list[Element]] = []
    for element in elements:
        if not runs or runs[-1][0].kind is not element.kind:
            runs.append([])
        runs[-1].append(element)
    body, pieces = 0, []
    for run in runs:
        room = _room(run, identified=identified)
        descriptors = [
            _descriptor(one, tagged=tagged, identified=identified, room=room) for one in run
        ]
        length = len(descriptors[0])
        total = length * len(run)
        head = struct.pack(">BBH", run[0].kind, _PVOLTAG if tagged else 0, length)
        pieces += [head + struct.pack(">I", total), *descriptors]
        body += _PAGE_HEADER + total
    first = elements[0].address if elements else 0
    pieces.insert(0, struct.pack(">HHI", first, len(elements), body))
    data = b""
    for piece in pieces:
        if len(data) + len(piece) > most:
            # Of the first header as much as there is room for, as of any other data.
            return data or piece[:most]
        data += piece
    return data


def element_address_assignment(ranges: Mapping[ElementType, range]) -> PageDefinition:
    """Define the element address assignment page (SMC-3, 1Dh)."""
    body = b"".join(
        struct.pack(">HH", ranges[kind].start if ranges[kind] else 0, len(ranges[kind]))
        for kind in (
            ElementType.MEDIUM_TRANSPORT,
            ElementType.STORAGE,
            ElementType.IMPORT_EXPORT,
            ElementType.DATA_TRANSFER,
        )
    )
    return PageDefinition(page(ModePage.ELEMENT_ADDRESS_ASSIGNMENT, body + bytes(2)))


def transport_geometry(transports: int) -> PageDefinition:
    """Define the transport geometry parameters page (SMC-3, 1Eh): each alone, none turns media."""
    return PageDefinition(page(ModePage.TRANSPORT_GEOMETRY, bytes(2 * transports)))


#: A bit for each type of element: MT lowest, then ST, I/E, DT (SMC-3, page 1Fh).
_STORES = 0b1110


def device_capabilities() -> PageDefinition:
    """Define the device capabilities page (SMC-3, 1Fh).

    All but the medium transport store media; what one of them stores can be moved to, and exchanged
    with, what any other of them does.
    """
    to = bytes((0, _STORES, _STORES, _STORES))
    return PageDefinition(
        page(ModePage.DEVICE_CAPABILITIES, bytes((_STORES, 0)) + to + bytes(4) + to + bytes(4))
    )
