"""Another vendor in standard INQUIRY data."""

from dataclasses import replace

from vhost_pvscsi.munge.registry import outbound
from vhost_pvscsi.scsi.codes import Opcode
from vhost_pvscsi.scsi.request import Reply, Request, Status
from vhost_pvscsi.translation import Mapping


@outbound(Opcode.INQUIRY)
def other_vendor(request: Request, reply: Reply, mapping: Mapping) -> Reply:
    """Give another vendor in standard INQUIRY data (SPC-5 6.6.2)."""
    if reply.status is not Status.GOOD or request.cdb[1] & 1:
        return reply  # refused, or a page of vital product data
    data = bytearray(reply.data)
    data[8:16] = b"EXAMPLE "[: max(len(data) - 8, 0)]
    return replace(reply, data=bytes(data))
