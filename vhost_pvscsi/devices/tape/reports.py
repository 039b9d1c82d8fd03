"""What the emulated tape says of itself: INQUIRY, limits, densities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import inquiry as primary
from vhost_pvscsi.devices.primary.parameters import MOST_SENSE
from vhost_pvscsi.devices.primary.state import truncated
from vhost_pvscsi.medium import MAX_TAPE_BLOCK
from vhost_pvscsi.scsi import pages, sequential, target_ports
from vhost_pvscsi.scsi.pages import Vpd
from vhost_pvscsi.scsi.request import Reply, Request
from vhost_pvscsi.scsi.sense import invalid_field

from .description import SHORTEST_BLOCK

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb

    from .state import TapeState

_PERIPHERAL = pages.Qualifier.CONNECTED << 5 | pages.DeviceType.TAPE


async def inquiry(tape: TapeState, request: Request, cdb: Cdb) -> Reply:
    """Answer INQUIRY (SPC-5 6.6)."""
    del request
    return primary.answer(tape, cdb, _standard(tape), VPD_PAGES)


def _standard(tape: TapeState) -> bytes:
    return pages.standard_inquiry(
        peripheral=_PERIPHERAL,
        vendor=tape.identity.vendor,
        product=tape.identity.product,
        revision=tape.identity.revision,
        removable=True,
        target_port_groups=target_ports.TPGS_IMPLICIT,
        versions=(pages.SAM_5, pages.SPC_5, pages.SSC_5),
    )


def _extended_inquiry(tape: TapeState) -> bytes:
    del tape
    return pages.extended_inquiry(volatile_cache=True, most_sense=MOST_SENSE)


def _capabilities(tape: TapeState) -> bytes:
    del tape
    return sequential.capabilities()


#: Page code -> what builds its body.
VPD_PAGES: primary.VpdPages[TapeState] = {
    Vpd.UNIT_SERIAL_NUMBER: primary.serial_number,
    Vpd.DEVICE_IDENTIFICATION: primary.identification,
    Vpd.EXTENDED_INQUIRY: _extended_inquiry,
    Vpd.MODE_PAGE_POLICY: primary.mode_page_policy,
    Vpd.SEQUENTIAL_CAPABILITIES: _capabilities,
}


async def read_block_limits(tape: TapeState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ BLOCK LIMITS (SSC-5, that command)."""
    del request, cdb
    return tape.not_ready() or Reply(data=sequential.block_limits(MAX_TAPE_BLOCK, SHORTEST_BLOCK))


async def report_density_support(tape: TapeState, request: Request, cdb: Cdb) -> Reply:
    """Answer REPORT DENSITY SUPPORT (SSC-5, that command): of drive and medium alike."""
    del request
    if cdb["medium_type"]:
        where = cdb.field("medium_type")
        return invalid_field(where.byte, where.top_bit)
    refused = tape.not_ready() if cdb["media"] else None
    geometry = tape.geometry
    data = sequential.density_support(writable=not geometry.read_only, megabytes=geometry.megabytes)
    return refused or truncated(data, cdb)
