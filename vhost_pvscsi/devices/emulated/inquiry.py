"""INQUIRY of the emulated disk: standard data and vital product data pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import inquiry as primary
from vhost_pvscsi.devices.primary.parameters import MOST_SENSE
from vhost_pvscsi.scsi import copy_results, pages
from vhost_pvscsi.scsi.pages import Vpd

if TYPE_CHECKING:
    from .state import DiskState


def _standard(disk: DiskState) -> bytes:
    return primary.standard_data(
        disk,
        pages.DeviceType.DISK,
        pages.SBC_4,
        removable=disk.geometry.removable,
        third_party_copy=True,
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


#: Page code -> what builds its body; the common ones are there besides.
_PAGES: primary.VpdPages[DiskState] = {
    Vpd.EXTENDED_INQUIRY: _extended_inquiry,
    Vpd.THIRD_PARTY_COPY: _third_party_copy,
    Vpd.BLOCK_LIMITS: _limits,
    Vpd.BLOCK_CHARACTERISTICS: _characteristics,
    Vpd.LOGICAL_BLOCK_PROVISIONING: _provisioning,
}

inquiry = primary.inquiry(_standard, _PAGES)
