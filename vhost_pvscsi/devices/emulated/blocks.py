"""What the emulated disk says of its blocks: capacity and mode parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import capacity, mode, sense
from vhost_pvscsi.scsi.mode import ModePage, PageControl
from vhost_pvscsi.scsi.request import Reply, Request
from vhost_pvscsi.scsi.sense import invalid_field

from .state import DiskState, truncated

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb


def _bad_lba(cdb: Cdb) -> Reply | None:
    # SBC-2: an LBA without PMI is a mistake. With PMI the answer is the last LBA before a delay
    # in transfer, and there is none before the end.
    return invalid_field(cdb.field("lba").byte) if cdb["lba"] and not cdb["pmi"] else None


async def read_capacity_10(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ CAPACITY(10) (SBC-4, "READ CAPACITY (10) command")."""
    del request
    geometry = disk.geometry
    return _bad_lba(cdb) or Reply(
        data=capacity.read_capacity_10(geometry.last_lba, geometry.block_size)
    )


async def read_capacity_16(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ CAPACITY(16) (SBC-4, "READ CAPACITY (16) command")."""
    del request
    geometry = disk.geometry
    data = capacity.read_capacity_16(
        geometry.last_lba,
        geometry.block_size,
        physical_exponent=geometry.physical_exponent,
        provisioned=geometry.unmap,
        reads_zeros=geometry.unmap_zeros,
    )
    return _bad_lba(cdb) or truncated(data, cdb)


async def mode_sense_6(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer MODE SENSE(6) (SPC-5, "MODE SENSE(6) command")."""
    del request
    chosen = _mode_data(disk, cdb, long_lba=False)
    return chosen if isinstance(chosen, Reply) else truncated(chosen.pack_6(), cdb)


async def mode_sense_10(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer MODE SENSE(10) (SPC-5, "MODE SENSE(10) command")."""
    del request
    chosen = _mode_data(disk, cdb, long_lba=bool(cdb["llbaa"]))
    return chosen if isinstance(chosen, Reply) else truncated(chosen.pack_10(), cdb)


def _mode_data(disk: DiskState, cdb: Cdb, *, long_lba: bool) -> mode.ModeData | Reply:
    control = PageControl(cdb["page_control"])
    if control is PageControl.SAVED:
        return sense.check_condition(sense.SAVING_PARAMETERS_NOT_SUPPORTED)
    pages = _pages(disk)
    if control is PageControl.CHANGEABLE:
        pages = {code: mode.changeable(page) for code, page in pages.items()}
    chosen = mode.select_pages(pages, cdb["page_code"], cdb["subpage_code"])
    if chosen is None:
        known = cdb["page_code"] in {*pages, ModePage.ALL}
        where = cdb.field("subpage_code" if known else "page_code")
        return invalid_field(where.byte, where.top_bit)
    geometry = disk.geometry
    describe = mode.long_block_descriptor if long_lba else mode.short_block_descriptor
    descriptor = b"" if cdb["dbd"] else describe(geometry.blocks, geometry.block_size)
    return mode.ModeData(geometry.read_only, descriptor, chosen)


def _pages(disk: DiskState) -> dict[ModePage, bytes]:
    return {
        ModePage.ERROR_RECOVERY: mode.error_recovery(),
        ModePage.CACHING: mode.caching(write_cache=disk.geometry.write_cache),
        ModePage.CONTROL: mode.control(),
        ModePage.INFORMATIONAL_EXCEPTIONS: mode.informational_exceptions(),
    }
