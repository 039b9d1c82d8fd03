"""EXTENDED COPY and its relatives as a front-end sends them (SPC-4 6.3 to 6.5, 6.20 to 6.25)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from . import commands as cdb
from .answers import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .frontend import FrontEnd, Pending

LID1, LID4 = 0x00, 0x01
STATUS_LID1, DATA_LID1, OPERATING_PARAMETERS, FAILURE_DETAILS = 0x00, 0x01, 0x03, 0x04
STATUS_LID4, DATA_LID4 = 0x05, 0x06
#: LIST ID USAGE.
HOLD, MAY_DISCARD, NO_IDENTIFIER = 0b00, 0b10, 0b11


def naa(identifier: bytes) -> bytes:
    """The designator of VPD page 83h that an NAA identifier makes."""
    return bytes((0x01, 0x03, 0x00, len(identifier))) + identifier


def cscd(
    designator: bytes,
    *,
    device_type: int = 0,
    null: bool = False,
    pad: bool = False,
    block_length: int = 0,
    kind: int = 0xE4,
) -> bytes:
    """An identification CSCD descriptor; the designator with its header."""
    head = struct.pack(">BBxx", kind, null << 5 | device_type)
    return head + designator.ljust(24, b"\0") + (pad << 26 | block_length).to_bytes(4, "big")


def segment(
    source: int,
    destination: int,
    blocks: int,
    source_lba: int = 0,
    destination_lba: int = 0,
    *,
    dc: bool = False,
    cat: bool = False,
    kind: int = 0x02,
    length: int = 0x18,
) -> bytes:
    """A segment descriptor, block to block."""
    return struct.pack(
        ">BBHHHxxHQQ",
        kind,
        dc << 1 | cat,
        length,
        source,
        destination,
        blocks,
        source_lba,
        destination_lba,
    )


def lid1(
    cscds: Sequence[bytes],
    segments: Sequence[bytes],
    *,
    identifier: int = 0,
    usage: int = HOLD,
    inline: int = 0,
) -> bytes:
    """The parameter list of EXTENDED COPY(LID1)."""
    units, parts = b"".join(cscds), b"".join(segments)
    head = struct.pack(">BBHxxxxII", identifier, usage << 3, len(units), len(parts), inline)
    return head + units + parts


def lid4(
    cscds: Sequence[bytes],
    segments: Sequence[bytes],
    *,
    identifier: int = 0,
    usage: int = HOLD,
    good_sense: bool = False,
    immediate: bool = False,
) -> bytes:
    """The parameter list of EXTENDED COPY(LID4)."""
    units, parts = b"".join(cscds), b"".join(segments)
    flags = good_sense << 1 | immediate
    head = struct.pack(">BBH11xBB3xI18x", 0x01, usage << 3, 0x20, flags, 0xFF, identifier)
    return head + struct.pack(">HHH", len(units), len(parts), 0) + units + parts


def extended_copy(length: int, action: int = LID1) -> bytes:
    """The CDB of EXTENDED COPY."""
    return struct.pack(">BB8xIxx", 0x83, action, length)


def copy_operation_abort(identifier: int) -> bytes:
    """The CDB of COPY OPERATION ABORT."""
    return struct.pack(">BBI10x", 0x83, 0x1C, identifier)


def receive(action: int, identifier: int = 0, length: int = 512) -> bytes:
    """The CDB of one of the commands that tell of copies."""
    form = ">BBI4xIxx" if action in {STATUS_LID4, DATA_LID4} else ">BBB7xIxx"
    return struct.pack(form, 0x84, action, identifier, length)


def submit(guest: FrontEnd, data: bytes, *, target: int = 0, action: int = LID1) -> Pending:
    """Send a parameter list; wait for the end of it later."""
    return guest.submit(target, 0, extended_copy(len(data), action), data_out=data)


def copy(guest: FrontEnd, data: bytes, *, target: int = 0, action: int = LID1) -> str:
    """Send a parameter list, and say what became of it."""
    return describe(guest.wait(submit(guest, data, target=target, action=action)))


def told(guest: FrontEnd, action: int, identifier: int = 0, *, length: int = 512) -> bytes:
    """Ask about a copy, or copies, and return the data."""
    response = guest.scsi(0, 0, receive(action, identifier, length), data_in=length)
    assert response.good, describe(response)
    return response.data[: length - response.resid]


def names(guest: FrontEnd, target: int) -> list[bytes]:
    """The designators of a unit, each with its header."""
    page = guest.scsi(target, 0, cdb.inquiry(255, page=0x83), data_in=255)
    assert page.good, describe(page)
    found, at, end = [], 4, 4 + int.from_bytes(page.data[2:4], "big")
    while at < end:
        length = 4 + page.data[at + 3]
        found.append(page.data[at : at + length])
        at += length
    return found
