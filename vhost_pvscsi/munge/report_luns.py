"""REPORT LUNS: the table's view of a target, not the unit's or the host's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.codes import Opcode
from vhost_pvscsi.scsi.luns import lun_list
from vhost_pvscsi.scsi.opcodes import command
from vhost_pvscsi.scsi.request import Reply, Request

from .asking import is_good
from .registry import outbound

if TYPE_CHECKING:
    from vhost_pvscsi.translation import Mapping

_COMMAND = command(Opcode.REPORT_LUNS)


@outbound(Opcode.REPORT_LUNS)
def only_attached(request: Request, reply: Reply, mapping: Mapping) -> Reply:
    """Put the LUNs attached at the guest's target in the place of the unit's own.

    SPC-5, "REPORT LUNS command": sorted; cut to any allocation length, while LUN LIST LENGTH
    speaks of the whole. It says that there should be room for 16 bytes, and not that less is a
    mistake: that is of SPC, the first, and QEMU's own targets keep to it. We are of SPC-5 (INQUIRY,
    VERSION), where an allocation length cuts and is never an error (SPC-5 4.2.5.6). A unit that
    refuses the command, as one of SPC may do, is left its refusal.
    """
    if not is_good(reply):
        return reply
    cdb = _COMMAND.parse(request.cdb)
    if isinstance(cdb, Reply):
        return cdb
    data = lun_list(mapping.siblings, cdb["select_report"])
    return replace(reply, data=data[: cdb["allocation_length"]])
