"""The REPORT LUNS well known logical unit, which every target has (SAM-5 4.7.5.2; SPC-5 8.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import opcodes, pages, sense
from vhost_pvscsi.scsi.codes import Opcode
from vhost_pvscsi.scsi.command import CommandSet
from vhost_pvscsi.scsi.request import Reply, Request

from .identification import REVISION, VENDOR
from .unready import report_luns, request_sense

if TYPE_CHECKING:
    from vhost_pvscsi.medium import Medium
    from vhost_pvscsi.scsi.cdb import Cdb

_ANSWERED = CommandSet(
    opcodes.command(code)
    for code in (
        Opcode.TEST_UNIT_READY,
        Opcode.REQUEST_SENSE,
        Opcode.INQUIRY,
        Opcode.REPORT_LUNS,
    )
)
_PERIPHERAL = pages.Qualifier.CONNECTED << 5 | pages.DeviceType.WELL_KNOWN


class WellKnownUnit:
    """Answers REPORT LUNS for whoever does not know of any other LUN, and what must go with it.

    It keeps no unit attentions: what a guest has to hear, the target's other units tell.
    """

    name = "REPORT LUNS well known logical unit"
    forwarded_as: pages.DeviceType | None = None
    medium: Medium | None = None
    block_size = 0
    medium_opcodes: frozenset[int] = frozenset()

    async def execute(self, request: Request) -> Reply:
        """Answer the four commands it has, refuse the others."""
        found = _ANSWERED.find(request.cdb)
        if isinstance(found, Reply):
            return found
        cdb = found.parse(request.cdb)
        if isinstance(cdb, Reply):
            return cdb
        match found.opcode:
            case Opcode.TEST_UNIT_READY:
                return Reply()
            case Opcode.INQUIRY:
                return _inquiry(cdb)
            case Opcode.REPORT_LUNS:
                return report_luns(cdb, ())
            case _:
                return request_sense(cdb, sense.NO_ADDITIONAL_SENSE)


#: One is enough: it has no state.
WELL_KNOWN_UNIT = WellKnownUnit()


def _inquiry(cdb: Cdb) -> Reply:
    page = cdb["page_code"]
    if page:
        return sense.invalid_field(cdb.field("page_code").byte)
    if cdb["evpd"]:
        data = pages.vpd_page(_PERIPHERAL, pages.Vpd.SUPPORTED_PAGES, bytes([page]))
    else:
        data = pages.standard_inquiry(
            peripheral=_PERIPHERAL, vendor=VENDOR, product="REPORT LUNS", revision=REVISION
        )
    return Reply(data=data[: cdb["allocation_length"]])
