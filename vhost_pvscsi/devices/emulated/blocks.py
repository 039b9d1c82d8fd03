"""What the emulated disk says of its blocks: capacity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import removal
from vhost_pvscsi.devices.primary.state import truncated
from vhost_pvscsi.scsi import capacity
from vhost_pvscsi.scsi.request import Reply, Request
from vhost_pvscsi.scsi.sense import LBA_OUT_OF_RANGE, check_condition, invalid_field

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb

    from .state import DiskState


def _bad_lba(cdb: Cdb) -> Reply | None:
    # SBC-2: an LBA without PMI is a mistake. With PMI the answer is the last LBA before a delay
    # in transfer, and there is none before the end.
    return invalid_field(cdb.field("lba").byte) if cdb["lba"] and not cdb["pmi"] else None


async def read_capacity_10(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ CAPACITY(10) (SBC-4, "READ CAPACITY (10) command")."""
    del request
    geometry = disk.geometry
    return (removal.no_medium(disk) or _bad_lba(cdb)) or Reply(
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
    return removal.no_medium(disk) or _bad_lba(cdb) or truncated(data, cdb)


async def seek_10(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer SEEK(10) (SBC-2 5.21): nothing moves, but the address has to be there."""
    del request
    if cdb["lba"] > disk.geometry.last_lba:
        return check_condition(LBA_OUT_OF_RANGE, information=cdb["lba"])
    return removal.no_medium(disk) or Reply()
