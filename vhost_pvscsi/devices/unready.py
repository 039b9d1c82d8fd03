"""What units answer that cannot be used: the three commands that need no ready one (SPC-5 5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import luns, opcodes, sense
from vhost_pvscsi.scsi.codes import Opcode
from vhost_pvscsi.scsi.command import CommandSet
from vhost_pvscsi.scsi.request import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.sense import SenseCode

_ANSWERED = CommandSet(
    opcodes.command(code) for code in (Opcode.INQUIRY, Opcode.REPORT_LUNS, Opcode.REQUEST_SENSE)
)


def answer(request: Request, why: SenseCode, inquiry: Callable[[Cdb], Reply]) -> Reply:
    """Answer INQUIRY by `inquiry`, REPORT LUNS and REQUEST SENSE; refuse the others, saying why."""
    found = _ANSWERED.find(request.cdb)
    if isinstance(found, Reply):
        return sense.check_condition(why)
    cdb = found.parse(request.cdb)
    if isinstance(cdb, Reply):
        return cdb
    match found.opcode:
        case Opcode.INQUIRY:
            return inquiry(cdb)
        case Opcode.REPORT_LUNS:
            return report_luns(cdb, ())
        case _:
            return request_sense(cdb, why)


def report_luns(cdb: Cdb, present: tuple[int, ...]) -> Reply:
    """Answer REPORT LUNS with these LUNs (SPC-5, "REPORT LUNS command")."""
    selection = cdb["select_report"]
    if not luns.is_selection(selection):
        return sense.invalid_field(cdb.field("select_report").byte)
    return Reply(data=luns.lun_list(present, selection)[: cdb["allocation_length"]])


def request_sense(cdb: Cdb, code: SenseCode, *, progress: int | None = None) -> Reply:
    """Answer REQUEST SENSE in the format that is asked for (SPC-5, "REQUEST SENSE command")."""
    build = sense.descriptor if cdb["desc"] else sense.fixed
    return Reply(data=build(code, progress=progress)[: cdb["allocation_length"]])
