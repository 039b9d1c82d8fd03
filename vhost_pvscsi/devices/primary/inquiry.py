"""INQUIRY of an emulated unit, for whatever vital product data pages it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.scsi import pages, target_ports
from vhost_pvscsi.scsi.pages import Vpd
from vhost_pvscsi.scsi.sense import invalid_field

from .parameters import MOST_SENSE
from .state import State, UnitState, truncated

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.pages import DeviceType
    from vhost_pvscsi.scsi.request import Reply, Request

    from .state import Handler

#: Page code -> what builds its body.
VpdPages: TypeAlias = Mapping[int, Callable[[State], bytes]]


def inquiry(standard: Callable[[State], bytes], built: VpdPages[State]) -> Handler[State]:
    """Make what answers INQUIRY (SPC-5 6.6) with this standard data, or with one of these pages.

    The pages of `COMMON` and SUPPORTED VPD PAGES are there besides.
    """
    known = {**COMMON, **built}

    async def answered(unit: State, request: Request, cdb: Cdb) -> Reply:
        del request
        return _answer(unit, cdb, standard(unit), known)

    return answered


def standard_data(
    unit: UnitState,
    kind: DeviceType,
    version: int,
    *,
    removable: bool,
    third_party_copy: bool = False,
    target_port_groups: int = target_ports.TPGS_IMPLICIT,
) -> bytes:
    """Build the standard data of a unit of that type; `version` is its command set's descriptor."""
    return pages.standard_inquiry(
        peripheral=pages.Qualifier.CONNECTED << 5 | kind,
        vendor=unit.identity.vendor,
        product=unit.identity.product,
        revision=unit.identity.revision,
        removable=removable,
        third_party_copy=third_party_copy,
        target_port_groups=target_port_groups,
        versions=(pages.SAM_5, pages.SPC_5, version),
    )


def _answer(unit: State, cdb: Cdb, standard: bytes, built: VpdPages[State]) -> Reply:
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


def extended_inquiry(*, volatile_cache: bool) -> Callable[[UnitState], bytes]:
    """Make what builds VPD page 86h."""
    body = pages.extended_inquiry(volatile_cache=volatile_cache, most_sense=MOST_SENSE)
    return lambda _unit: body


#: Pages that every unit has and that are alike.
COMMON: VpdPages[UnitState] = {
    Vpd.UNIT_SERIAL_NUMBER: serial_number,
    Vpd.DEVICE_IDENTIFICATION: identification,
    Vpd.MODE_PAGE_POLICY: mode_page_policy,
}
