"""INQUIRY of an emulated unit, for whatever vital product data pages it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.scsi import pages, target_ports
from vhost_pvscsi.scsi.pages import Vpd
from vhost_pvscsi.scsi.sense import invalid_field

from .state import State, UnitState, truncated

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.request import Reply

#: Page code -> what builds its body.
VpdPages: TypeAlias = Mapping[int, Callable[[State], bytes]]


def answer(unit: State, cdb: Cdb, standard: bytes, built: VpdPages[State]) -> Reply:
    """Answer INQUIRY (SPC-5 6.6) with this standard data, or with one of these pages.

    SUPPORTED VPD PAGES is made here.
    """
    page = cdb["page_code"]
    if not cdb["evpd"] and not page:
        return truncated(standard, cdb)
    known = {Vpd.SUPPORTED_PAGES, *built}
    if not cdb["evpd"] or page not in known:
        return invalid_field(cdb.field("page_code").byte)
    listed = page == Vpd.SUPPORTED_PAGES
    body = bytes(sorted(known)) if listed else built[page](unit)
    return truncated(pages.vpd_page(standard[0], page, body), cdb)


def serial_number(unit: UnitState) -> bytes:
    """Build VPD page 80h."""
    return unit.identity.serial.encode("ascii", "replace")


def identification(unit: UnitState) -> bytes:
    """Build VPD page 83h."""
    designators = (*unit.identity.designators, *target_ports.designators())
    return b"".join(designator.pack() for designator in designators)


def mode_page_policy(unit: UnitState) -> bytes:
    """Build VPD page 87h."""
    del unit
    return pages.mode_page_policy()
