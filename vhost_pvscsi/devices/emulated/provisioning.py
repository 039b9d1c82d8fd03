"""GET LBA STATUS of the emulated disk: which blocks are holes of its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.allocation import Run, Runs
from vhost_pvscsi.devices.primary import removal
from vhost_pvscsi.devices.primary.state import truncated
from vhost_pvscsi.scsi import lba_status, sense
from vhost_pvscsi.scsi.lba_status import REPORT_TYPES, Completion, LbaStatus, ProvisioningStatus
from vhost_pvscsi.scsi.sense import invalid_field

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.request import Reply, Request

    from .state import DiskState

#: Descriptors of one reply, and runs looked for: a file may have a hole at every other block,
#: and each costs a system call. An initiator goes on after the last one.
MOST_DESCRIPTORS = MOST_RUNS = 1024


async def get_lba_status(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer GET LBA STATUS(16) (SBC-4, that command).

    A hole is deallocated, and reads as zeros; all else is mapped, or not known to be a hole.
    """
    del request
    refused = removal.no_medium(disk)
    if refused is not None:
        return refused
    if cdb["report_type"] not in REPORT_TYPES:
        return invalid_field(cdb.field("report_type").byte)
    first = cdb["starting_lba"]
    if first > disk.geometry.last_lba:
        return sense.check_condition(sense.LBA_OUT_OF_RANGE, information=first)
    most = min(lba_status.room(cdb["allocation_length"]), MOST_DESCRIPTORS)
    return truncated(await _report(disk, first, REPORT_TYPES[cdb["report_type"]], most), cdb)


async def _report(
    disk: DiskState, first: int, wanted: frozenset[ProvisioningStatus], most: int
) -> bytes:
    """Parameter data of the blocks from `first`, with at most `most` descriptors."""
    # One more than fits tells whether it was the last one. Of some types fewer may be wanted than
    # there are.
    everything = wanted == frozenset(ProvisioningStatus)
    found = await _runs(disk, first, min(most + 1, MOST_RUNS) if everything else MOST_RUNS)
    statuses = [status for run in found.runs for status in _status(disk, run).split()]
    chosen = [status for status in statuses if status.status in wanted]
    # Where the search ended before anything fit, an empty list would say that nothing does.
    by_type = bool(chosen) or found.complete
    chosen = chosen if by_type else statuses
    if len(chosen) > most or (len(chosen) == most and not found.complete):
        full = most < MOST_DESCRIPTORS
        ended = Completion.ALLOCATION_LENGTH if full else Completion.NOT_INDICATED
    else:
        ended = Completion.CAPACITY if found.complete else Completion.NOT_INDICATED
    return lba_status.parameter_data(chosen[:most], ended, by_type=by_type)


async def _runs(disk: DiskState, first: int, most: int) -> Runs:
    size = disk.geometry.block_size
    start, end = first * size, disk.geometry.blocks * size
    if disk.find_runs is None or not (disk.geometry.unmap and disk.geometry.unmap_zeros):
        # A unit that is fully provisioned has mapped blocks only (SBC-4 4.7.2).
        return Runs((Run(start, end, hole=False),), complete=True)
    return await disk.find_runs(start, end, most)


def _status(disk: DiskState, run: Run) -> LbaStatus:
    size = disk.geometry.block_size
    status = ProvisioningStatus.DEALLOCATED if run.hole else ProvisioningStatus.MAPPED
    return LbaStatus(run.start // size, (run.end - run.start) // size, status)
