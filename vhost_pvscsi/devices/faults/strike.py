"""One rule at work on one command."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.scsi.request import Reply, Request, Service, Status
from vhost_pvscsi.scsi.sense import SenseKey, fixed

from . import blocks
from .rule import Extent

if TYPE_CHECKING:
    from vhost_pvscsi.medium import Medium

    from .subject import Subject
    from .trigger import Trigger

log = logging.getLogger(__name__)

#: Runs a medium command on the unit's medium.
Executor: TypeAlias = Callable[[Request], Awaitable[Reply]]
#: Carries a request out, its medium commands by that executor.
CarryOut: TypeAlias = Callable[[Request, Executor], Awaitable[Reply]]

#: The INFORMATION field of these has the first block in error (SBC-4 4.18.1).
_NAMES_A_BLOCK = frozenset(
    {SenseKey.RECOVERED_ERROR, SenseKey.MEDIUM_ERROR, SenseKey.HARDWARE_ERROR}
)
_GOOD = frozenset({Status.GOOD, Status.CONDITION_MET})


@dataclass(frozen=True, slots=True)
class Strike:
    """A rule that acts on a command."""

    trigger: Trigger
    subject: Subject
    medium: Medium | None
    geometry: blocks.Geometry

    async def inflict(self, request: Request, execute: Executor, carry_out: CarryOut) -> Reply:
        """Answer a command as the rule says; it is carried out only if the rule lets it."""
        rule = self.trigger.rule
        log.debug("fault rule %s acts on CDB %s", rule, request.cdb.hex())
        if rule.delay:
            await asyncio.sleep(rule.delay)
        if rule.hang:
            await self.trigger.hold()
        if rule.transport is not None:
            return Reply(service=rule.transport)
        if rule.status is not None and not rule.carried_out:
            return self._made_up(rule.status, request)
        if not self.subject.on_medium:
            return self._reworked(await carry_out(self._sent(request), execute))

        async def execute_worse(sound: Request) -> Reply:
            return await self._execute(sound, execute)

        return self._ended(await carry_out(request, execute_worse))

    def _made_up(self, status: Status, request: Request) -> Reply:
        # A write that is said to be good, and is lost, has taken all of its data.
        taken = request.data_out_length if status in _GOOD else None
        return Reply(status=status, sense=self._sense(), transferred=taken)

    def _sense(self) -> bytes:
        code = self.trigger.rule.sense
        if code is None:
            return b""
        hit = self._hit(self.subject.extent)
        information = hit.first if hit is not None and code.key in _NAMES_A_BLOCK else None
        return fixed(code, information=information)

    def _hit(self, extent: Extent | None) -> Extent | None:
        """The blocks among these that the rule is about, without those it lets pass."""
        rule, subject = self.trigger.rule, self.subject
        hit = extent if extent is None or rule.lba is None else extent.overlap(rule.lba)
        if hit is None or rule.short is None or rule.corrupt:
            return hit
        passed = subject.lba + rule.short // self.geometry.block_size
        return Extent(max(hit.first, passed), hit.last)

    def _ended(self, reply: Reply) -> Reply:
        """Give what went well the status of the rule, where it has one."""
        rule = self.trigger.rule
        if rule.status is None or not _went_well(reply):
            return reply
        return replace(reply, status=rule.status, sense=self._sense())

    # -- commands whose data Python has

    def _sent(self, request: Request) -> Request:
        """The request with its data-out made corrupt."""
        rule = self.trigger.rule
        if not rule.corrupt or not request.data_out:
            return request
        return replace(request, data_out=blocks.flipped(request.data_out, 0, rule.corrupt))

    def _reworked(self, reply: Reply) -> Reply:
        rule = self.trigger.rule
        if not _went_well(reply):
            return reply
        data = reply.data if rule.short is None else reply.data[: rule.short]
        return self._ended(replace(reply, data=blocks.flipped(data, 0, rule.corrupt)))

    # -- commands whose data the engine has

    async def _execute(self, request: Request, execute: Executor) -> Reply:
        rule, subject = self.trigger.rule, self.subject
        extent = subject.extent
        if extent is None or extent.last is None:
            return await execute(request)
        if rule.short is not None or subject.reads_blocks:
            if not blocks.sound(subject, request, self.geometry):
                return await execute(request)
            if rule.short is not None:
                count = min(rule.short // self.geometry.block_size, subject.blocks)
                request = blocks.shortened(subject, request, count)
                if count == 0:
                    return await execute(request)
                extent = Extent(extent.first, extent.first + count - 1)
        hit = extent if rule.lba is None else extent.overlap(rule.lba)
        if not rule.corrupt or hit is None or self.medium is None:
            return await execute(request)
        if subject.reads_blocks:
            return await self._read(request, execute, extent, hit)
        reply = await execute(request)
        if _went_well(reply):
            await self._store(hit)
        return reply

    async def _read(
        self, request: Request, execute: Executor, extent: Extent, hit: Extent
    ) -> Reply:
        assert self.medium is not None
        assert hit.last is not None
        size = self.geometry.block_size
        count = min(self.trigger.rule.corrupt, (hit.last - hit.first + 1) * size)
        try:
            data = await blocks.read_corrupt(self.medium, extent, size, hit.first * size, count)
        except (OSError, ValueError):
            # It fails for the executor too, which knows how to say so.
            return await execute(request)
        return Reply(data=data)

    async def _store(self, hit: Extent) -> None:
        assert self.medium is not None
        assert hit.last is not None
        size = self.geometry.block_size
        count = min(self.trigger.rule.corrupt, (hit.last - hit.first + 1) * size)
        try:
            await blocks.corrupt_stored(self.medium, hit, size, count)
        except (OSError, ValueError) as error:
            # What was written stays right, and the guest is told that it was: not a lie.
            log.warning("fault rule %s: cannot corrupt: %s", self.trigger.rule, error)


def _went_well(reply: Reply) -> bool:
    return reply.service is Service.COMPLETE and reply.status in _GOOD
