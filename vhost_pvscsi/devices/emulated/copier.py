"""Carries out the segments of an EXTENDED COPY, between units of one virtual host."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.devices.designators import descriptors, renamed
from vhost_pvscsi.devices.host_errors import host_error
from vhost_pvscsi.devices.presentation import PLAIN
from vhost_pvscsi.scsi import copying, sense
from vhost_pvscsi.scsi.command import Barrier
from vhost_pvscsi.scsi.copy_results import Failure, Forwarded, SegmentPointer
from vhost_pvscsi.scsi.pages import Association, DeviceType
from vhost_pvscsi.scsi.request import Reply, Status

from .state import Reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor

    from vhost_pvscsi.devices.gates import Cause
    from vhost_pvscsi.medium import Medium
    from vhost_pvscsi.scsi.copying import CopyList, Cscd, Extent, Segment

    from .copies import Copy
    from .state import DiskState

#: Bytes copied at once. An abort waits for no more than this.
PIECE = 16 << 20
#: Bytes read at once to find out whose error it was.
_LOOK = 1 << 20


@dataclass(frozen=True, slots=True)
class Side:
    """A copy source or copy destination that was found."""

    disk: DiskState
    medium: Medium
    cscd: Cscd | None  #: its descriptor; None: the unit that was asked, by FFFFh
    lba: int
    lba_byte: int  #: where the segment descriptor says so
    written: bool  #: it is the destination
    protected: bool  #: this nexus may not write there

    @property
    def block(self) -> int:
        """Bytes in one of its blocks."""
        return self.disk.geometry.block_size

    @property
    def offset(self) -> int:
        """Where the segment begins, in bytes."""
        return self.lba * self.block

    @property
    def pads(self) -> bool:
        """PAD."""
        return self.cscd is not None and self.cscd.pad

    def failed(self, reply: Reply) -> Failure:
        """Make a failure of what the unit would have answered to a READ or WRITE."""
        said = reply.sense
        if said and self.disk.modes.descriptor_sense:
            said = sense.in_descriptor_format(said)
        return Failure(
            sense.THIRD_PARTY_DEVICE_FAILURE,
            None if self.cscd is None else SegmentPointer(self.cscd.at),
            Forwarded(reply.status, said, from_destination=self.written),
        )


def _made(
    found: tuple[Reached, Medium, Cscd | None], lba: int, lba_byte: int, *, written: bool
) -> Side:
    reached, medium, cscd = found
    return Side(
        reached.disk,
        medium,
        cscd,
        lba,
        lba_byte,
        written=written,
        protected=reached.shown.protected,
    )


class _Visit:
    """A copy's presence at a unit, where others may want its end (PREEMPT AND ABORT).

    It is one of the unit's mappings for as long as it lasts. Gates mean nothing to it: it asks
    what they stand for before each piece.
    """

    def __init__(self, idle: asyncio.Event) -> None:
        self._idle = idle
        self.aborted = False

    async def keep(self, cause: Cause, shut: bool) -> None:
        pass

    async def end(self) -> None:
        self.aborted = True
        await self._idle.wait()


class Copier:
    """One EXTENDED COPY.

    Blocks are moved in pieces, each in a thread. Between two of them everything that may have
    changed is asked anew: reservations, readiness, whether somebody wants the end of it. A task
    that is cancelled ends when its piece has: no thread of it writes any more then.
    """

    def __init__(self, disk: DiskState, plan: CopyList, copy: Copy) -> None:
        self._disk = disk
        self._plan = plan
        self._copy = copy
        # Once, not for each segment: a host may have thousands of units.
        reached = tuple(disk.neighbours(copy.nexus))
        self._asked = _asked(disk, reached)
        self._units = _by_designator(self._asked, reached)
        self._idle = asyncio.Event()  # no piece is on its way
        self._idle.set()
        self._visits: dict[DiskState, _Visit] = {}
        self._in_order = 0  # bytes of the segment, without a gap from its first on
        self._begun = False  # some of the segment has been written

    async def run(self, *, descriptors: bool) -> Reply | None:
        """Copy all segments, in their order; a reply says why one could not be."""
        for number, segment in enumerate(self._plan.segments):
            self._copy.begin_segment()
            self._in_order, self._begun = 0, False
            last = number == len(self._plan.segments) - 1
            found = self._sides(segment)
            failure = found if isinstance(found, Failure) else None
            residual = None
            if not isinstance(found, Failure):
                failure, total = await self._segment(segment, *found, last=last)
                if self._begun:
                    residual = -(-(total - self._in_order) // found[1].block)
            if failure is not None:
                said = failure.sense(number, residual, descriptors=descriptors)
                return Reply(status=Status.CHECK_CONDITION, sense=said)
        return None

    # -- finding

    def _sides(self, segment: Segment) -> tuple[Side, Side] | Failure:
        source = self._side(segment.source, copying.SOURCE_BYTE)
        if isinstance(source, Failure):
            return source
        destination = self._side(segment.destination, copying.DESTINATION_BYTE)
        if isinstance(destination, Failure):
            return destination
        return (
            _made(source, segment.source_lba, copying.SOURCE_LBA_BYTE, written=False),
            _made(destination, segment.destination_lba, copying.DESTINATION_LBA_BYTE, written=True),
        )

    def _side(self, identifier: int, byte: int) -> tuple[Reached, Medium, Cscd | None] | Failure:
        cscd, reached = None, self._asked
        if identifier != copying.COPY_MANAGER:
            if identifier >= len(self._plan.cscds):
                return Failure(sense.UNREACHABLE_COPY_TARGET, SegmentPointer(byte, in_segment=True))
            cscd = self._plan.cscds[identifier]
            found = self._found(cscd)
            if isinstance(found, Failure):
                return found
            reached = found
        if reached.disk.medium is None:
            return Failure(sense.COPY_TARGET_DEVICE_NOT_REACHABLE)
        return reached, reached.disk.medium, cscd

    def _found(self, cscd: Cscd) -> Reached | Failure:
        here = SegmentPointer(cscd.at)
        if cscd.null:
            return Failure(sense.UNREACHABLE_COPY_TARGET, here)
        reached = self._units.get(cscd.designator)
        # It may have been taken away from this guest since the command began.
        if reached is None or self._copy.nexus not in reached.disk.gates.nexuses:
            return Failure(sense.UNREACHABLE_COPY_TARGET, here)
        if cscd.device_type != DeviceType.DISK:
            return Failure(sense.INCORRECT_COPY_TARGET_DEVICE_TYPE, here)
        if cscd.block_length not in {0, reached.disk.geometry.block_size}:
            return Failure(sense.INVALID_FIELD_IN_COPY_LIST, SegmentPointer(cscd.at + 29))
        return reached

    # -- moving

    async def _segment(
        self, segment: Segment, source: Side, destination: Side, *, last: bool
    ) -> tuple[Failure | None, int]:
        """Copy one segment; what stopped it, and the bytes that it was to write."""
        moved = copying.extent(
            segment, (source.block, destination.block), (source.pads, destination.pads), last=last
        )
        if moved is None:
            where = SegmentPointer(copying.BLOCKS_BYTE, in_segment=True)
            return Failure(sense.UNEXPECTED_INEXACT_SEGMENT, where), 0
        total = moved.whole + moved.tail
        read = total if segment.counts_destination else segment.blocks * source.block
        for side, length in ((source, read), (destination, total)):
            if length and side.lba + -(-length // side.block) > side.disk.geometry.blocks:
                # Found out without asking the unit: an error of the segment descriptor.
                where = SegmentPointer(side.lba_byte, in_segment=True)
                return Failure(sense.COPY_ABORTED, where), total
        with ExitStack() as stack:
            for side in (source, destination):
                stack.enter_context(self._visiting(side.disk))
            return await self._moved(moved, source, destination), total

    async def _moved(self, moved: Extent, source: Side, destination: Side) -> Failure | None:
        # As memmove: from the end where the beginning of the destination is in the source.
        distance = destination.offset - source.offset
        backwards = source.disk is destination.disk and 0 < distance < moved.whole
        pieces = [(at, min(PIECE, moved.whole - at)) for at in range(0, moved.whole, PIECE)]
        works = [(_whole(source, destination, at, length), length) for at, length in pieces]
        if moved.tail:
            works.append((_tail(source, destination, moved), moved.tail))
        for work, length in reversed(works) if backwards else works:
            failure = await self._piece(work, source, destination)
            if failure is not None:
                return failure
            self._begun = True
            self._in_order += 0 if backwards else length
            self._copy.advance(0 if backwards else length)
        if backwards:
            self._in_order = moved.whole + moved.tail
            self._copy.advance(self._in_order)
        return None

    async def _piece(self, work: Work, source: Side, destination: Side) -> Failure | None:
        async with AsyncExitStack() as stack:
            # Always in the same order: two copies must not wait for each other's unit while
            # COMPARE AND WRITE waits for both. None of them may run beside a piece of this.
            disks = {side.disk for side in (source, destination)}
            for disk in sorted(disks, key=id):
                await stack.enter_async_context(disk.exclusion.shared())
            if self._copy.cleared:
                return Failure(sense.COMMANDS_CLEARED_BY_DEVICE_SERVER)
            for side in (source, destination):
                refused = self._refused(side)
                if refused is not None:
                    return side.failed(refused)
            self._idle.clear()
            try:
                fault = await _in_thread(self._disk.copies.threads, work)
            finally:
                self._idle.set()
        if fault is None:
            return None
        side = destination if fault.writing else source
        return side.failed(host_error(fault.error, writing=fault.writing))

    def _refused(self, side: Side) -> Reply | None:
        """What the unit would answer to a READ or WRITE of this nexus, if it would refuse it."""
        if self._visits[side.disk].aborted:
            return Reply(status=Status.TASK_ABORTED)
        barrier = Barrier.WRITE if side.written else Barrier.READ
        if side.disk.reservations.stops(self._copy.nexus, barrier):
            return Reply(status=Status.RESERVATION_CONFLICT)
        refused = side.disk.not_ready()
        protected = side.protected or side.disk.geometry.read_only
        if refused is None and side.written and protected:
            return sense.check_condition(sense.WRITE_PROTECTED)
        return refused

    @contextmanager
    def _visiting(self, disk: DiskState) -> Iterator[None]:
        if disk in self._visits:
            yield
            return
        visit, nexus = _Visit(self._idle), self._copy.nexus
        self._visits[disk] = visit
        disk.gates.add(nexus, visit.keep, visit.end, visit=True)
        try:
            yield
        finally:
            del self._visits[disk]
            if disk.gates.remove(nexus, visit.keep):
                disk.attentions.leave(nexus)


def _by_designator(asked: Reached, others: Iterable[Reached]) -> dict[bytes, Reached]:
    """All names of disks, as VPD page 83h shows them; of two with one name the first."""
    found: dict[bytes, Reached] = {}
    for reached in (asked, *others):
        designators = reached.disk.identity.designators
        own = b"".join(
            one.pack() for one in designators if one.association is Association.LOGICAL_UNIT
        )
        for descriptor in descriptors(renamed(own, reached.shown)):
            found.setdefault(descriptor, reached)
    return found


def _asked(disk: DiskState, reached: Iterable[Reached]) -> Reached:
    """The disk that was asked, as it is shown; where it has several addresses, one that writes."""
    own = [one for one in reached if one.disk is disk]
    return min(own, key=lambda one: one.shown.protected, default=Reached(disk, PLAIN))


@dataclass(frozen=True, slots=True)
class _Fault:
    """The host could not read the source, or write the destination."""

    error: OSError
    writing: bool


#: One piece of work for a thread.
Work: TypeAlias = "Callable[[], _Fault | None]"


def _whole(source: Side, destination: Side, at: int, length: int) -> Work:
    """Copy whole blocks `at` bytes behind the segment's first."""

    def work() -> _Fault | None:
        start = source.offset + at
        try:
            source.medium.copy_to(destination.medium, start, destination.offset + at, length)
        except OSError as error:
            return _read_again(source.medium, start, length) or _Fault(error, writing=True)
        return None

    return work


def _read_again(medium: Medium, start: int, length: int) -> _Fault | None:
    """Find out whether it was the source that failed."""
    for at in range(start, start + length, _LOOK):
        try:
            medium.read(at, min(_LOOK, start + length - at))
        except OSError as error:
            return _Fault(error, writing=False)
    return None


def _tail(source: Side, destination: Side, moved: Extent) -> Work:
    """Copy what is not of whole blocks on both sides, filled up with zeros (PAD)."""

    def work() -> _Fault | None:
        try:
            data = source.medium.read(
                source.offset + moved.whole, _rounded_up(moved.tail, source.block)
            )
        except OSError as error:
            return _Fault(error, writing=False)
        room = _rounded_up(moved.tail, destination.block)
        try:
            destination.medium.write(
                destination.offset + moved.whole, data[: moved.tail].ljust(room, b"\0")
            )
        except OSError as error:
            return _Fault(error, writing=True)
        return None

    return work


def _rounded_up(length: int, block: int) -> int:
    return -(-length // block) * block


async def _in_thread(threads: Executor, work: Work) -> _Fault | None:
    """Do it in a thread. Cancelled, this ends when the thread has: until then it may write."""
    job = threads.submit(work)
    running = asyncio.wrap_future(job)
    cancelled = False
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            cancelled = True
            job.cancel()  # where it has not begun
    if cancelled:
        if not running.cancelled():
            running.exception()  # it is of no more interest
        raise asyncio.CancelledError
    return running.result()
