"""INQUIRY: a unit's names and limits as attached, in standard data and vital product data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.designators import renamed
from vhost_pvscsi.devices.presentation import (
    PRODUCT_WIDTH,
    REVISION_WIDTH,
    VENDOR_WIDTH,
    Hidden,
)
from vhost_pvscsi.scsi.codes import Opcode
from vhost_pvscsi.scsi.opcodes import command
from vhost_pvscsi.scsi.pages import Vpd, limit_transfers, text_field
from vhost_pvscsi.scsi.request import Reply, Request
from vhost_pvscsi.scsi.sense import invalid_field

from .asking import as_asked, is_good, whole
from .registry import inbound, outbound

if TYPE_CHECKING:
    from vhost_pvscsi.devices.presentation import Presentation
    from vhost_pvscsi.translation import Mapping

_COMMAND = command(Opcode.INQUIRY)

#: Where standard INQUIRY data has which name, and how long it is there (SPC-5 6.6.2).
_VENDOR, _PRODUCT, _REVISION = 8, 16, 32
#: Vendor specific bytes, in which many a disk repeats its serial number.
_VENDOR_SPECIFIC = slice(36, 56)

#: What is asked for of a page. Devices of SPC-2 and before take the upper byte of the allocation
#: length for reserved, and see FCh in this.
_ROOM = 0x0FFC


@inbound(Opcode.INQUIRY)
def whole_page(request: Request, mapping: Mapping) -> Request | Reply:
    """Ask for the whole of a page that is about to be rewritten; refuse one that is hidden."""
    cdb = _COMMAND.parse(request.cdb)
    if isinstance(cdb, Reply) or not cdb["evpd"]:
        return request
    if cdb["page_code"] == Vpd.BLOCK_LIMITS:
        limited = _transfer_limit(request, mapping) > 0
        return whole(request, cdb.field("allocation_length"), _ROOM) if limited else request
    if not mapping.presentation.renames:
        return request
    hidden = Hidden.SERIAL in mapping.presentation.hidden
    if cdb["page_code"] == Vpd.UNIT_SERIAL_NUMBER and hidden:
        return invalid_field(cdb.field("page_code").byte)
    return whole(request, cdb.field("allocation_length"), _ROOM)


@outbound(Opcode.INQUIRY)
def as_attached(request: Request, reply: Reply, mapping: Mapping) -> Reply:
    """Put the names of the attachment in the place of the unit's (SPC-5 6.6.2, 7.7)."""
    shown = mapping.presentation
    cdb = _COMMAND.parse(request.cdb)
    if isinstance(cdb, Reply) or not is_good(reply):
        return as_asked(request, reply)
    if cdb["evpd"] and cdb["page_code"] == Vpd.BLOCK_LIMITS:
        # What is longer is carried out all the same.
        limit = _transfer_limit(request, mapping)
        data = limit_transfers(reply.data, limit) if limit else reply.data
    elif not shown.renames:
        return reply
    else:
        data = _page(reply.data, shown) if cdb["evpd"] else _standard(reply.data, shown)
    return replace(reply, data=data[: cdb["allocation_length"]])


def _standard(data: bytes, shown: Presentation) -> bytes:
    told = bytearray(data)
    for at, text, width in (
        (_VENDOR, shown.vendor, VENDOR_WIDTH),
        (_PRODUCT, shown.product, PRODUCT_WIDTH),
        (_REVISION, shown.revision, REVISION_WIDTH),
    ):
        if text is not None:
            # What the guest asked for may end before, or within it.
            told[at : at + width] = text_field(text, width)[: max(len(data) - at, 0)]
    if shown.serial is not None or Hidden.SERIAL in shown.hidden:
        blank = told[_VENDOR_SPECIFIC]
        told[_VENDOR_SPECIFIC] = bytes(len(blank))
    return bytes(told)


def _page(data: bytes, shown: Presentation) -> bytes:
    if len(data) < 4:
        return data  # no page; the unit's own fault
    body = data[4 : 4 + int.from_bytes(data[2:4], "big")]
    match data[1]:
        case Vpd.SUPPORTED_PAGES if Hidden.SERIAL in shown.hidden:
            body = bytes(code for code in body if code != Vpd.UNIT_SERIAL_NUMBER)
        case Vpd.UNIT_SERIAL_NUMBER if shown.serial is not None:
            body = shown.serial.encode("ascii", "replace")
        case Vpd.DEVICE_IDENTIFICATION:
            body = renamed(body, shown)
    return data[:2] + len(body).to_bytes(2, "big") + body


def _transfer_limit(request: Request, mapping: Mapping) -> int:
    """How many blocks a command may move, as far as others than the unit have a say; 0: any."""
    said = mapping.presentation.max_transfer
    limit = request.transfer_limit if said is None else said
    return limit // mapping.unit.block_size if mapping.unit.block_size else 0
