"""INQUIRY of the emulated disk: standard data and vital product data pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import inquiry as primary
from vhost_pvscsi.devices.primary.parameters import MOST_SENSE
from vhost_pvscsi.scsi import copy_results, pages, target_ports
from vhost_pvscsi.scsi.pages import Vpd

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.request import Reply, Request

    from .state import DiskState

_PERIPHERAL = pages.Qualifier.CONNECTED << 5 | pages.DeviceType.DISK


async def inquiry(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer INQUIRY (SPC-5 6.6)."""
    del request
    return primary.answer(disk, cdb, _standard(disk), VPD_PAGES)


def _standard(disk: DiskState) -> bytes:
    return pages.standard_inquiry(
        peripheral=_PERIPHERAL,
        vendor=disk.identity.vendor,
        product=disk.identity.product,
        revision=disk.identity.revision,
        third_party_copy=True,
        removable=disk.geometry.removable,
        target_port_groups=target_ports.TPGS_IMPLICIT,
        versions=(pages.SAM_5, pages.SPC_5, pages.SBC_4),
    )


def _extended_inquiry(disk: DiskState) -> bytes:
    geometry = disk.geometry
    return pages.extended_inquiry(
        volatile_cache=geometry.write_cache or geometry.write_cache_switchable,
        most_sense=MOST_SENSE,
    )


def _third_party_copy(disk: DiskState) -> bytes:
    return copy_results.third_party_copy_page(disk.commands)


def _limits(disk: DiskState) -> bytes:
    return disk.geometry.limits.pack()


def _characteristics(disk: DiskState) -> bytes:
    return pages.block_characteristics(disk.geometry.rotation_rate)


def _provisioning(disk: DiskState) -> bytes:
    unmap = disk.geometry.unmap
    return pages.Provisioning(unmap, unmap, unmap and disk.geometry.unmap_zeros).pack()


#: Page code -> what builds its body.
VPD_PAGES: primary.VpdPages[DiskState] = {
    Vpd.UNIT_SERIAL_NUMBER: primary.serial_number,
    Vpd.DEVICE_IDENTIFICATION: primary.identification,
    Vpd.EXTENDED_INQUIRY: _extended_inquiry,
    Vpd.MODE_PAGE_POLICY: primary.mode_page_policy,
    Vpd.THIRD_PARTY_COPY: _third_party_copy,
    Vpd.BLOCK_LIMITS: _limits,
    Vpd.BLOCK_CHARACTERISTICS: _characteristics,
    Vpd.LOGICAL_BLOCK_PROVISIONING: _provisioning,
}
