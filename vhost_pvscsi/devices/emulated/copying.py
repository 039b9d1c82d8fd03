"""Third-party copy commands of the emulated disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary.state import truncated
from vhost_pvscsi.scsi import copy_results, copying, sense
from vhost_pvscsi.scsi.codes import ThirdPartyIn, ThirdPartyOut
from vhost_pvscsi.scsi.request import Reply, Request, Service
from vhost_pvscsi.scsi.sense import invalid_field

from .copier import Copier

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.copying import CopyList

    from .copies import Copy
    from .state import DiskState

#: Where each parameter list has its list identifier.
_IDENTIFIER_BYTE = {ThirdPartyOut.EXTENDED_COPY_LID1: 0, ThirdPartyOut.EXTENDED_COPY_LID4: 20}


async def extended_copy(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Carry out EXTENDED COPY(LID1) and (LID4) (SPC-4 6.5, 6.4)."""
    length = cdb["parameter_list_length"]
    if not length:
        return Reply()
    if length > copying.MOST_PARAMETERS:
        return sense.check_condition(sense.PARAMETER_LIST_LENGTH_ERROR)
    if len(request.data_out) < length:
        return Reply(service=Service.OVERRUN)
    action = ThirdPartyOut(cdb["service_action"])
    short = action is ThirdPartyOut.EXTENDED_COPY_LID1
    plan = (copying.parse_lid1 if short else copying.parse_lid4)(request.data_out[:length])
    if isinstance(plan, Reply):
        return plan
    copy = disk.copies.begin(request.nexus, action, plan, _IDENTIFIER_BYTE[action])
    if isinstance(copy, Reply):
        return copy
    reply = None
    try:
        reply = await _carried_out(disk, plan, copy)
    finally:
        disk.copies.end(copy, reply)
    return reply


async def _carried_out(disk: DiskState, plan: CopyList, copy: Copy) -> Reply:
    descriptors = disk.modes.descriptor_sense
    failed = await Copier(disk, plan, copy).run(descriptors=descriptors)
    if failed is not None or not plan.good_sense:
        return failed or Reply()
    code, segments = sense.EXTENDED_COPY_INFORMATION_AVAILABLE, len(plan.segments)
    return Reply(sense=copy_results.completed(code, segments, descriptors=descriptors))


async def copy_operation_abort(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """End a copy of the same nexus; no more is written when this ends (SPC-4 5.17.4.7, 6.3)."""
    copy = disk.copies.find(request.nexus, cdb["list_identifier"])
    if copy is None or not copy.in_progress:
        return _unknown(cdb)
    copy.cleared = True
    await copy.ended.wait()
    return Reply()


async def receive_copy_operating_parameters(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer RECEIVE COPY OPERATING PARAMETERS (SPC-4 6.22)."""
    del disk, request
    return truncated(copy_results.operating_parameters(), cdb)


async def receive_copy_results(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer the commands that tell of one copy (SPC-4 6.20, 6.21, 6.23 to 6.25)."""
    copy = disk.copies.find(request.nexus, cdb["list_identifier"])
    data = None if copy is None else _told(copy, cdb)
    return _unknown(cdb) if data is None else truncated(data, cdb)


def _told(copy: Copy, cdb: Cdb) -> bytes | None:
    """The parameter data, which some commands get once; None: the copy is unknown to it."""
    now = copy.progress
    match cdb["service_action"]:
        case ThirdPartyIn.RECEIVE_COPY_STATUS_LID1:
            known, copy.status_kept = copy.status_kept, copy.in_progress
            return now.status_lid1() if known else None
        case ThirdPartyIn.RECEIVE_COPY_DATA_LID1:
            return None if copy.in_progress else copy_results.NO_HELD_DATA
        case ThirdPartyIn.RECEIVE_COPY_FAILURE_DETAILS_LID1:
            if copy.in_progress or now.action != ThirdPartyOut.EXTENDED_COPY_LID1:
                return None
            return _details(copy, cdb)
        case ThirdPartyIn.RECEIVE_COPY_STATUS_LID4:
            return now.status_lid4()
        case _:
            return now.data_lid4()


def _details(copy: Copy, cdb: Cdb) -> bytes:
    if not copy.details_kept:
        return copy_results.NO_HELD_DATA
    data, room = copy.progress.failure_details(), cdb["allocation_length"]
    # Gone when they were told as a whole, or when nobody wants them (SPC-4 6.23).
    copy.details_kept = 0 < room < len(data)
    return data


def _unknown(cdb: Cdb) -> Reply:
    return invalid_field(cdb.field("list_identifier").byte)
