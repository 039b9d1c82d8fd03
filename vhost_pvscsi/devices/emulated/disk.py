"""EmulatedDisk: a LogicalUnit whose blocks the engine moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.devices.gates import Cause, Ender, Keeper
from vhost_pvscsi.scsi import opcodes, sense
from vhost_pvscsi.scsi.command import Access
from vhost_pvscsi.scsi.request import Reply, Request

from . import power, reserving
from .handlers import COMMANDS, HANDLERS
from .state import DiskState

if TYPE_CHECKING:
    from vhost_pvscsi.engine import Medium
    from vhost_pvscsi.scsi.command import Command
    from vhost_pvscsi.scsi.sense import SenseCode

    from .description import DiskGeometry, DiskIdentity

#: Runs a medium command that a ring holds: the engine's executor, bound to this unit's medium.
Executor: TypeAlias = Callable[[Request], Awaitable[Reply]]


class EmulatedDisk:
    """A disk over a medium of the engine's.

    Unit attentions are the unit's own matter: `execute` reports and clears them by the nexus
    of the request, before anything else of the command is looked at (SAM-5 5.14).
    """

    def __init__(
        self,
        name: str,
        identity: DiskIdentity,
        geometry: DiskGeometry,
        executor: Executor,
        *,
        medium: Medium | None = None,
        flush: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._name = name
        self._medium = medium
        self._executor = executor
        self._state = DiskState(identity, geometry, COMMANDS, flush)

    @property
    def name(self) -> str:
        return self._name

    @property
    def medium(self) -> Medium | None:
        return self._medium

    @property
    def medium_opcodes(self) -> frozenset[int]:
        return opcodes.MEDIUM_OPCODES

    @property
    def identity(self) -> DiskIdentity:
        """The names it goes by."""
        return self._state.identity

    @property
    def geometry(self) -> DiskGeometry:
        """Its blocks."""
        return self._state.geometry

    async def connect(self, nexus: str, keeper: Keeper, ender: Ender | None = None) -> None:
        """Take a mapping of a nexus into account, before it is put in service.

        A nexus that is new to the unit has a POWER ON unit attention to hear; what shuts
        gates already, shuts this one too.
        """
        state = self._state
        first = state.gates.add(nexus, keeper, ender)
        if state.stopped:
            await keeper(Cause.STOPPED, True)
        if state.exclusion.alone:
            await keeper(Cause.EXCLUSIVE, True)
        if reserving.shut_for(state.reservations, nexus):
            await keeper(Cause.RESERVATION, True)
        if first:
            await state.attentions.join(nexus)
        elif state.attentions.pending(nexus):
            await keeper(Cause.ATTENTION, True)

    def disconnect(self, nexus: str, keeper: Keeper) -> None:
        """Forget a mapping; with a nexus' last one what it had still to hear is gone."""
        if self._state.gates.remove(nexus, keeper):
            self._state.attentions.leave(nexus)

    async def attend(
        self, code: SenseCode, *, nexus: str | None = None, but: str | None = None
    ) -> None:
        """Establish a unit attention for one nexus, or for all, `but` one."""
        await self._state.attentions.establish(code, nexus=nexus, but=but)

    async def nexus_lost(self, nexus: str) -> bool:
        """Give up what RESERVE took (SPC-2 5.5.1); True: something was given up."""
        return await reserving.nexus_lost(self._state, nexus)

    async def reset(self) -> None:
        """Do a logical unit reset (SAM-5 6.3.3); its commands have been ended by the caller."""
        await reserving.nexus_lost(self._state, None)
        await self._state.set_stopped(False)
        await self.attend(sense.BUS_DEVICE_RESET)

    async def execute(self, request: Request) -> Reply:
        """Answer one request; a mistake of the guest is a reply with sense, never an exception."""
        command = COMMANDS.find(request.cdb)
        if isinstance(command, Reply) or not command.ignores_attention:
            attention = await self._state.attentions.take(request.nexus)
            if attention is not None:
                return sense.check_condition(attention)
        if isinstance(command, Reply):
            return command
        if command.access is not Access.OTHER:
            return await self._on_medium(command, request)
        conflict = reserving.conflict(self._state, command, request)
        if conflict is not None:
            return conflict
        cdb = command.parse(request.cdb)
        if isinstance(cdb, Reply):
            return cdb
        return await HANDLERS[command](self._state, request, cdb)

    async def _on_medium(self, command: Command, request: Request) -> Reply:
        exclusion = self._state.exclusion
        alone = command.access is Access.EXCLUSIVE
        async with exclusion.exclusive() if alone else exclusion.shared():
            # Asked here, not before: another nexus may have preempted this one while it waited.
            refused = reserving.conflict(self._state, command, request)
            refused = refused or power.not_ready(self._state)
            # The executor checks the rest, write protection too, so that both roads answer alike.
            return refused or await self._executor(request)
