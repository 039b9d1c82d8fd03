"""The copies that a unit's copy manager carries out or still knows of, by list identifier."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.copy_results import MAX_COPIES, CopyStatus, Progress
from vhost_pvscsi.scsi.copying import CopyList, Usage
from vhost_pvscsi.scsi.request import Reply, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Copies that have ended and are remembered, for all nexuses of a unit together.
MAX_KEPT = 64


class Copy:
    """One copy operation (SPC-4 5.17.4.3)."""

    def __init__(self, nexus: str, action: int, identifier: int | None) -> None:
        self.nexus = nexus
        self.identifier = identifier  #: None: nobody can ask for it
        self.progress = Progress(action)
        self.cleared = False  #: COPY OPERATION ABORT has asked for its end
        self.ended = asyncio.Event()
        #: What RECEIVE COPY STATUS(LID1) and FAILURE DETAILS(LID1) still have to tell, once each.
        self.status_kept = True
        self.details_kept = True

    @property
    def in_progress(self) -> bool:
        """Whether it goes on."""
        return self.progress.state is CopyStatus.IN_PROGRESS

    def begin_segment(self) -> None:
        """Count a segment."""
        self.progress = replace(self.progress, segments=self.progress.segments + 1)

    def advance(self, written: int) -> None:
        """Count one read and write that ended well, and bytes written in order."""
        now = self.progress
        self.progress = replace(now, written=now.written + written, pieces=now.pieces + 1)

    def end(self, reply: Reply | None) -> None:
        """Say how it ended; None: it was terminated."""
        if reply is None:
            state, status, said = CopyStatus.TERMINATED, Status.TASK_ABORTED, b""
        else:
            good = reply.status is Status.GOOD
            state = CopyStatus.COMPLETED if good else CopyStatus.FAILED
            status, said = reply.status, reply.sense
        self.progress = replace(self.progress, state=state, status=status, sense=said)
        self.ended.set()


class Copies:
    """All copies of one unit. A list identifier is one of its nexus."""

    def __init__(self, threads: Executor | None = None) -> None:
        """Begin with none; `threads` are for all units of a daemon, else it has one of its own."""
        self.threads = threads or ThreadPoolExecutor(1, "copy")  # none before it is needed
        self._known: list[Copy] = []  # the oldest first

    def begin(self, nexus: str, action: int, plan: CopyList, identifier_byte: int) -> Copy | Reply:
        """Enter a new copy, or make the refusal of it (SPC-4 5.17.4.2, 6.4.3.2)."""
        identifier = None if plan.usage is Usage.NO_IDENTIFIER else plan.identifier
        if sum(known.in_progress for known in self._known) >= MAX_COPIES:
            return Reply(status=Status.TASK_SET_FULL)
        before = None if identifier is None else self.find(nexus, identifier)
        if before is not None:
            if before.in_progress and before.progress.action == action:
                return sense.check_condition(sense.OPERATION_IN_PROGRESS)
            if before.in_progress:
                return sense.invalid_parameter(identifier_byte)
            self._known.remove(before)
        copy = Copy(nexus, action, identifier)
        self._known.append(copy)
        return copy

    def end(self, copy: Copy, reply: Reply | None) -> None:
        """Say how a copy ended; the oldest ones are forgotten when there are too many."""
        copy.end(reply)
        if copy.identifier is None:
            self._known.remove(copy)
        for old in tuple(self._ended())[:-MAX_KEPT]:
            self._known.remove(old)

    def find(self, nexus: str, identifier: int) -> Copy | None:
        """The copy of that name."""
        for copy in self._known:
            if (copy.nexus, copy.identifier) == (nexus, identifier):
                return copy
        return None

    def forget(self, nexus: str | None) -> None:
        """Forget what has ended, of one nexus or of all: it is lost, or the unit is reset."""
        for copy in tuple(self._ended()):
            if nexus in {None, copy.nexus}:
                self._known.remove(copy)

    def _ended(self) -> Iterator[Copy]:
        return (copy for copy in self._known if not copy.in_progress)
