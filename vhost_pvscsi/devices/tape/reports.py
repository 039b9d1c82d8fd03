"""What the emulated tape says of itself: INQUIRY, limits, densities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import inquiry as primary
from vhost_pvscsi.devices.primary.state import truncated
from vhost_pvscsi.medium import MAX_TAPE_BLOCK
from vhost_pvscsi.scsi import pages, sequential
from vhost_pvscsi.scsi.pages import Vpd
from vhost_pvscsi.scsi.request import Reply, Request

from .description import SHORTEST_BLOCK

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb

    from .state import TapeState


def _standard(tape: TapeState) -> bytes:
    return primary.standard_data(tape, pages.DeviceType.TAPE, pages.SSC_5, removable=True)


def _capabilities(tape: TapeState) -> bytes:
    del tape
    return sequential.capabilities()


#: Page code -> what builds its body; the common ones are there besides.
_PAGES: primary.VpdPages[TapeState] = {
    Vpd.EXTENDED_INQUIRY: primary.extended_inquiry(volatile_cache=True),
    Vpd.SEQUENTIAL_CAPABILITIES: _capabilities,
}

inquiry = primary.inquiry(_standard, _PAGES)


async def read_block_limits(tape: TapeState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ BLOCK LIMITS (SSC-5, that command)."""
    del request, cdb
    return tape.not_ready() or Reply(data=sequential.block_limits(MAX_TAPE_BLOCK, SHORTEST_BLOCK))


async def report_density_support(tape: TapeState, request: Request, cdb: Cdb) -> Reply:
    """Answer REPORT DENSITY SUPPORT (SSC-5, that command): of drive and medium alike."""
    del request
    refused = tape.not_ready() if cdb["media"] else None
    if refused is not None:
        return refused
    if cdb["medium_type"]:
        return truncated(sequential.medium_types(), cdb)
    geometry = tape.geometry
    # WRTOK: of the drive, which writes it always; of the cartridge, with MEDIA.
    writable = not (cdb["media"] and geometry.read_only)
    data = sequential.density_support(writable=writable, megabytes=geometry.megabytes)
    return truncated(data, cdb)
