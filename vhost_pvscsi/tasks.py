"""Task management of one virtual host (SAM-5 7), and the end of commands for other reasons."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .engine import GateReason
from .scsi import sense
from .scsi.request import ManagementOutcome, Service, TaskFunction, TaskManagement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .devices.gates import Keeper
    from .devices.unit import AttachableUnit
    from .engine import Host
    from .identity import Address
    from .translation import Table

log = logging.getLogger(__name__)

#: How long a task management function waits for the kernel to let go of a command. Linux
#: guests give up on a TMF after 30 s or so and then reset harder.
TMF_DEADLINE = 20.0


@dataclass(frozen=True, slots=True)
class Attachment:
    """A unit at an address of a virtual host."""

    id: int  #: of the mapping: unique in the process, and never used again
    address: Address
    unit: AttachableUnit
    keeper: Keeper  #: of the mapping's gate
    unwatch: Callable[[], None]  #: ends the watch for unit attentions


class Neighbour(Protocol):
    """A virtual host that shares a unit; adapter.py has one."""

    async def abort_unit(self, address: Address, service: Service) -> ManagementOutcome:
        """End all commands of its nexus at an address."""


class Tasks:
    """The commands of one virtual host, as those see them who want their end."""

    def __init__(
        self,
        host: Host,
        table: Table,
        peers: Callable[[AttachableUnit], Iterable[tuple[Neighbour, Address]]],
    ) -> None:
        """Begin with nothing attached; `peers` finds all places that a unit is attached at."""
        self._host = host
        self._peers = peers
        #: What guests see; adapter.py swaps it whole.
        self.table = table
        #: By mapping: also what `table` has no more, until its commands have ended.
        self.attached: dict[int, Attachment] = {}
        #: Mappings with a command that did not end: nothing more is risked with them.
        self.offline: set[int] = set()
        #: Mappings that a guest of this host is having reset.
        self.resetting: set[int] = set()

    async def abort(
        self, attachment: Attachment, service: Service, *, tag: int = -1
    ) -> ManagementOutcome:
        """End the commands of an attachment, or the one with that tag.

        FAILED: one did not end in time, and the LUN is offline from now on. REJECTED: a device of
        the host is still at work on one, which goes on.
        """
        address = attachment.address
        try:
            async with asyncio.timeout(TMF_DEADLINE):
                await self._host.abort(service, target=address.target, lun=address.lun, tag=tag)
        except TimeoutError:
            if attachment.unit.forwarded_as is not None:
                # Nothing is wrong: SG takes no command back, and a tape rewinds for minutes. It
                # ends by itself or by its time-out.
                log.info("%s: its device is still at work; a task stays", address)
                return ManagementOutcome.REJECTED
            # The kernel still has the guest's pages: nothing is pretended, and no more is risked.
            log.error(  # noqa: TRY400
                "%s: commands did not end within %.0f s of being told to; the LUN is offline",
                address,
                TMF_DEADLINE,
            )
            self.offline.add(attachment.id)
            self._host.gate(attachment.id).shut(GateReason.STOPPED)
            return ManagementOutcome.FAILED
        return ManagementOutcome.COMPLETE

    async def drain(self, attachment: Attachment, patience: float) -> bool:
        """Shut its gate and end its commands: those of workers by themselves, if they hurry.

        True: all have ended. The gate stays shut by DRAINING.
        """
        try:
            async with asyncio.timeout(patience):
                await self._host.gate(attachment.id).close(GateReason.DRAINING)
        except TimeoutError:
            log.info("%s: commands are ended for its removal", attachment.address)
        return await self.abort(attachment, Service.ABORTED) is ManagementOutcome.COMPLETE

    async def abort_all(self, service: Service) -> ManagementOutcome:
        """End the commands of all attachments; FAILED as `abort`."""
        return await self._abort_these(tuple(self.attached.values()), service)

    async def _abort_these(
        self, attachments: Sequence[Attachment], service: Service
    ) -> ManagementOutcome:
        return _together([await self.abort(one, service) for one in attachments])

    async def lose_nexus(
        self,
        code: sense.SenseCode,
        *,
        always: bool,
        attachments: Sequence[Attachment] | None = None,
    ) -> None:
        """Have units give up what ends with the nexus (SAM-5 6.3.4), and say so by `code`.

        All units, if not those of some attachments only. Without `always` only those say it that
        had something to give up.
        """
        nexus = self._host.nexus
        those = tuple(self.attached.values()) if attachments is None else attachments
        for unit in {id(one.unit): one.unit for one in those}.values():
            if await unit.nexus_lost(nexus) or always:
                await unit.attend(code, nexus=nexus)

    def find(self, target: int, lun: int) -> Attachment | ManagementOutcome:
        """Find what a guest sees at an address, or how a function for it is answered."""
        mapping = self.table.resolve(target, lun)
        if mapping.id in self.attached:
            return self.attached[mapping.id]
        known = bool(mapping.siblings)
        return ManagementOutcome.INCORRECT_LUN if known else ManagementOutcome.BAD_TARGET

    async def manage(self, task: TaskManagement) -> ManagementOutcome:
        """Carry out a task management function (SAM-5 7)."""
        if task.function is TaskFunction.I_T_NEXUS_RESET:
            return await self._reset_nexus(task.target)
        found = self.find(task.target, task.lun)
        if isinstance(found, ManagementOutcome):
            return found
        if task.function in {TaskFunction.QUERY_TASK, TaskFunction.QUERY_TASK_SET}:
            return await self._query(task)
        return await self._end(task, found)

    async def _end(self, task: TaskManagement, attachment: Attachment) -> ManagementOutcome:
        match task.function:
            case TaskFunction.ABORT_TASK:
                return await self.abort(attachment, Service.ABORTED, tag=task.tag)
            case TaskFunction.ABORT_TASK_SET:
                return await self.abort(attachment, Service.ABORTED)
            case TaskFunction.CLEAR_TASK_SET:
                return await self._abort_everywhere(attachment.unit, Service.ABORTED)
            case TaskFunction.LOGICAL_UNIT_RESET:
                return await self._reset_unit(attachment)
            case _:
                # CLEAR ACA: no such condition is ever established, NORMACA is 0 (SPC-5 6.7.2).
                return ManagementOutcome.REJECTED

    async def _query(self, task: TaskManagement) -> ManagementOutcome:
        tag = task.tag if task.function is TaskFunction.QUERY_TASK else -1
        found = await self._host.count(target=task.target, lun=task.lun, tag=tag)
        return ManagementOutcome.SUCCEEDED if found else ManagementOutcome.COMPLETE

    async def _reset_unit(self, attachment: Attachment) -> ManagementOutcome:
        await attachment.unit.reset_device()
        outcome = await self._abort_everywhere(attachment.unit, Service.RESET)
        if outcome is ManagementOutcome.REJECTED:
            return outcome
        self.resetting.add(attachment.id)
        try:
            await attachment.unit.reset()
        finally:
            self.resetting.discard(attachment.id)
        return outcome

    async def _abort_everywhere(self, unit: AttachableUnit, service: Service) -> ManagementOutcome:
        # At once: LUNs may come and go while this waits.
        places = tuple(self._peers(unit))
        outcomes = [await host.abort_unit(address, service) for host, address in places]
        return _together(outcomes)

    async def _reset_nexus(self, target: int) -> ManagementOutcome:
        # Each target has a port of its own, and so a nexus of its own with the guest (SAM-5
        # 4.7.1; virtio 1.2, 5.6.6.2: the LUN field says whose). QEMU resets that target alone too.
        here = tuple(one for one in self.attached.values() if one.address.target == target)
        if not here:
            return ManagementOutcome.BAD_TARGET
        outcome = await self._abort_these(here, Service.RESET)
        await self.lose_nexus(sense.I_T_NEXUS_LOSS, always=True, attachments=here)
        return outcome


def _together(outcomes: list[ManagementOutcome]) -> ManagementOutcome:
    for worse in (ManagementOutcome.FAILED, ManagementOutcome.REJECTED):
        if worse in outcomes:
            return worse
    return ManagementOutcome.COMPLETE
