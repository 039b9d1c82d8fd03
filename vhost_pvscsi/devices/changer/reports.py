"""What the medium changer says of itself: INQUIRY, element status, logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.designators import descriptors, renamed
from vhost_pvscsi.devices.primary import inquiry as primary
from vhost_pvscsi.devices.primary import logs
from vhost_pvscsi.scsi import log, pages, sense, tape_logs
from vhost_pvscsi.scsi.log import LogPage
from vhost_pvscsi.scsi.medium_changer import Element, ElementType, element_status
from vhost_pvscsi.scsi.pages import Association, Designator, DesignatorType, Vpd
from vhost_pvscsi.scsi.request import Reply, Request
from vhost_pvscsi.scsi.sense import SenseCode, invalid_field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vhost_pvscsi.scsi.cdb import Cdb

    from .state import ChangerState, FoundDrive

PRODUCT = "VIRTUAL CHANGER"


def _standard(changer: ChangerState) -> bytes:
    return primary.standard_data(changer, pages.DeviceType.CHANGER, pages.SMC_3, removable=True)


#: Page code -> what builds its body; the common ones are there besides.
_PAGES: primary.VpdPages[ChangerState] = {
    Vpd.EXTENDED_INQUIRY: primary.extended_inquiry(volatile_cache=False),
}

inquiry = primary.inquiry(_standard, _PAGES)


async def log_sense(changer: ChangerState, request: Request, cdb: Cdb) -> Reply:
    """Answer LOG SENSE (SPC-5, "LOG SENSE command"): nothing is alerted of."""
    del changer, request
    known = {
        LogPage.TAPE_ALERT: tape_logs.tape_alerts(frozenset()),
        LogPage.INFORMATIONAL_EXCEPTIONS: log.informational_exceptions(),
    }
    return logs.answer({(int(code), 0): known[code] for code in known}, cdb)


async def read_element_status(changer: ChangerState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ ELEMENT STATUS (SMC-3, that command).

    Nothing has to be looked at for it: CURDATA changes nothing but who may ask.
    """
    del request
    code = cdb["element_type_code"]
    if code not in set(ElementType):
        where = cdb.field("element_type_code")
        return invalid_field(where.byte, where.top_bit)
    start = cdb["starting_element_address"]
    addresses = [
        address
        for kind, those in changer.layout.ranges.items()
        if code in {ElementType.ALL, kind}
        for address in those
        if address >= start
    ]
    if not addresses and start:
        return sense.check_condition(sense.INVALID_ELEMENT_ADDRESS)
    wanted = addresses[: cdb["number_of_elements"]]
    data = element_status(
        [element(changer, address) for address in wanted],
        tagged=bool(cdb["voltag"]),
        identified=bool(cdb["dvcid"]),
        most=cdb["allocation_length"],
    )
    return Reply(data=data)


def elements(changer: ChangerState) -> Iterator[Element]:
    """All elements, by address."""
    for those in changer.layout.ranges.values():
        for address in those:
            yield element(changer, address)


def element(changer: ChangerState, address: int) -> Element:
    """How an element is now."""
    kind = changer.layout.kind_of(address)
    assert kind is not None  # of those that the layout has
    one = changer.contents.lying.get(address)
    found = changer.drive_of(address)
    exception = _exception(changer, address, found) if kind is ElementType.DATA_TRANSFER else None
    return Element(
        address,
        kind,
        volume=changer.folder.barcode(one.file) if one is not None else None,
        source=one.source if one is not None else None,
        by_operator=one is not None and one.by_operator,
        accessible=(
            exception is None
            and address not in changer.opened
            and not (found and found.tape.state.removal.preventing)
        ),
        exception=(exception.asc, exception.ascq) if exception else None,
        device=_device(found) if found is not None else None,
    )


def _exception(changer: ChangerState, address: int, found: FoundDrive | None) -> SenseCode | None:
    if found is None:
        return sense.DATA_TRANSFER_DEVICE_REMOVED
    if address in changer.contents.lying and found.tape.state.cartridge is None:
        # It lies there, and could not be loaded when drive or changer were attached.
        return sense.MEDIA_LOAD_OR_EJECT_FAILED
    return None


def _device(found: FoundDrive) -> Designator | None:
    """A designator that the drive has in VPD page 83h where it is attached: text before numbers."""
    body = renamed(primary.identification(found.tape.state), found.shown)
    known = {
        descriptor[1] & 0x0F: descriptor[4:]
        for descriptor in descriptors(body)
        if descriptor[1] >> 4 & 0x03 == Association.LOGICAL_UNIT
    }
    for kind in (DesignatorType.T10_VENDOR, DesignatorType.NAA):
        if kind in known:
            return Designator(kind, known[kind], ascii=kind is DesignatorType.T10_VENDOR)
    return None
