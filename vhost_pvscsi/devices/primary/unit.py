"""PrimaryUnit: what every emulated unit does with a request, whatever it is."""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeAlias

from vhost_pvscsi.devices.gates import Cause
from vhost_pvscsi.devices.reached import ReachedUnit
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.command import Access
from vhost_pvscsi.scsi.request import Reply, Request, Service, Status

from . import reserving
from .state import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhost_pvscsi.devices.faults.injector import Faults
    from vhost_pvscsi.devices.identification import UnitIdentity
    from vhost_pvscsi.medium import Medium
    from vhost_pvscsi.scsi.command import Command
    from vhost_pvscsi.scsi.pages import DeviceType

    from .state import Handler

#: Runs a medium command that a ring holds: the engine's executor, bound to this unit's medium.
Executor: TypeAlias = Callable[[Request], Awaitable[Reply]]


class PrimaryUnit(ReachedUnit, Generic[State]):
    """A unit whose medium is the engine's, and whose other commands are functions.

    Unit attentions are the unit's own matter: `execute` reports and clears them by the nexus
    of the request, before anything else of the command is looked at (SAM-5 5.14).
    """

    def __init__(
        self,
        name: str,
        state: State,
        handlers: Mapping[Command, Handler[State]],
        executor: Executor,
        medium: Medium | None,
        faults: Faults,
    ) -> None:
        super().__init__(state.gates, state.attentions)
        self._name = name
        self._state = state
        self._handlers = handlers
        self._executor = executor
        self._medium = medium
        self._faults = faults

    @property
    def name(self) -> str:
        return self._name

    @property
    def medium(self) -> Medium | None:
        return self._medium

    @property
    def forwarded_as(self) -> DeviceType | None:
        return None

    @property
    @abc.abstractmethod
    def medium_opcodes(self) -> frozenset[int]: ...

    @property
    def identity(self) -> UnitIdentity:
        """The names it goes by."""
        return self._state.identity

    @property
    def state(self) -> State:
        """What it knows."""
        return self._state

    @property
    def faults(self) -> Faults:
        """The fault rules that are in force."""
        return self._faults

    def _shutting(self, nexus: str) -> tuple[Cause, ...]:
        state = self._state
        causes = (
            (Cause.STOPPED, state.stopped),
            (Cause.FAULTS, self._faults.shut),
            (Cause.RESERVATION, reserving.shut_for(state.reservations, nexus)),
        )
        return tuple(cause for cause, holds in causes if holds)

    def _left(self, nexus: str) -> None:
        self._state.removal.allow(nexus)
        super()._left(nexus)

    async def nexus_lost(self, nexus: str) -> bool:
        """Give up what RESERVE took (SPC-2 5.5.1); True: something was given up."""
        self._state.removal.allow(nexus)
        return await reserving.nexus_lost(self._state, nexus)

    async def reset_device(self) -> None:
        """Do nothing: its commands end when they are told to."""

    async def execute(self, request: Request) -> Reply:
        """Answer one request; a mistake of the guest is a reply with sense, never an exception."""
        reply = await self._answer(request)
        if reply.sense and self._state.modes.descriptor_sense:
            # The engine's own is in that format already.
            return replace(reply, sense=sense.in_descriptor_format(reply.sense))
        return reply

    async def _answer(self, request: Request) -> Reply:
        command = self._state.commands.find(request.cdb)
        if isinstance(command, Reply) or not command.ignores_attention:
            attention = await self._state.attentions.take(request.nexus)
            if attention is not None:
                return sense.check_condition(attention)
        strike = await self._faults.strike(request)
        if strike is not None:
            carry_out = partial(self._carry_out, command)
            return await strike.inflict(request, self._executor, carry_out)
        return await self._carry_out(command, request, self._executor)

    async def _carry_out(
        self, command: Command | Reply, request: Request, execute: Executor
    ) -> Reply:
        if isinstance(command, Reply):
            return command
        if command.access is not Access.OTHER:
            return await self._on_medium(command, request, execute)
        conflict = reserving.conflict(self._state, command, request)
        if conflict is not None:
            return conflict
        cdb = command.parse(request.cdb)
        if isinstance(cdb, Reply):
            return cdb
        reply = await self._handlers[command](self._state, request, cdb)
        if reply.data or reply.transferred is not None or reply.status is not Status.GOOD:
            return reply
        # Whatever data-out there is beyond the parameter list is the residual.
        wanted = cdb.get("parameter_list_length", 0) if reply.service is Service.COMPLETE else 0
        return replace(reply, transferred=min(wanted, len(request.data_out)))

    @abc.abstractmethod
    async def _on_medium(self, command: Command, request: Request, execute: Executor) -> Reply:
        """Have a command of the medium carried out, or refuse it."""
