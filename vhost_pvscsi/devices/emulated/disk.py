"""EmulatedDisk: a LogicalUnit whose blocks the engine moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.devices.faults.injector import Faults
from vhost_pvscsi.devices.gates import Cause, Ender, Keeper
from vhost_pvscsi.scsi import opcodes, sense
from vhost_pvscsi.scsi.command import Access
from vhost_pvscsi.scsi.request import Reply, Request, Service, Status

from . import modes, power, removal, reserving
from .handlers import HANDLERS, commands
from .state import DiskState, Reached

if TYPE_CHECKING:
    import concurrent.futures

    from vhost_pvscsi.devices.allocation import FindRuns
    from vhost_pvscsi.devices.attention import Watcher
    from vhost_pvscsi.devices.faults.rule import Rule
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.devices.presentation import Presentation
    from vhost_pvscsi.devices.unit import LogicalUnit
    from vhost_pvscsi.medium import Medium
    from vhost_pvscsi.scsi.command import Command
    from vhost_pvscsi.scsi.pages import DeviceType
    from vhost_pvscsi.scsi.sense import SenseCode

    from .description import DiskGeometry, DiskIdentity

#: Runs a medium command that a ring holds: the engine's executor, bound to this unit's medium.
Executor: TypeAlias = Callable[[Request], Awaitable[Reply]]
#: Finds the units that a nexus reaches, and as what: who may be copied from and to.
Neighbours: TypeAlias = Callable[[str], "Iterable[tuple[LogicalUnit, Presentation]]"]


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
        memory: UnitMemory | None = None,
        faults: Iterable[Rule] = (),
        neighbours: Neighbours = lambda _: (),
        copy_threads: concurrent.futures.Executor | None = None,
        find_runs: FindRuns | None = None,
    ) -> None:
        self._name = name
        self._medium = medium
        self._executor = executor
        self._state = DiskState(
            identity,
            geometry,
            commands(nonvolatile=memory is not None),
            flush=flush,
            medium=medium,
            memory=memory,
            neighbours=lambda nexus: _reached(neighbours(nexus)),
            copy_threads=copy_threads,
            find_runs=find_runs,
        )
        self._faults = Faults(self._state.gates, lambda: self._state.geometry, medium, faults)

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
    def block_size(self) -> int:
        return self._state.geometry.block_size

    @property
    def medium_opcodes(self) -> frozenset[int]:
        return opcodes.MEDIUM_OPCODES

    @property
    def state(self) -> DiskState:
        """What it knows: for the other disks, which copy from it and to it."""
        return self._state

    @property
    def identity(self) -> DiskIdentity:
        """The names it goes by."""
        return self._state.identity

    @property
    def geometry(self) -> DiskGeometry:
        """Its blocks."""
        return self._state.geometry

    @property
    def faults(self) -> Faults:
        """The fault rules that are in force."""
        return self._faults

    @property
    def notifications(self) -> int:
        """None: they are about removable media of MMC's kinds."""
        return 0

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
        if self._faults.shut:
            await keeper(Cause.FAULTS, True)
        if reserving.shut_for(state.reservations, nexus):
            await keeper(Cause.RESERVATION, True)
        if first:
            await state.attentions.join(nexus)
        elif state.attentions.pending(nexus):
            await keeper(Cause.ATTENTION, True)

    def disconnect(self, nexus: str, keeper: Keeper) -> None:
        """Forget a mapping; with a nexus' last one what it had still to hear is gone."""
        if self._state.gates.remove(nexus, keeper):
            self._state.removal.allow(nexus)
            self._state.attentions.leave(nexus)

    async def attend(
        self, code: SenseCode, *, nexus: str | None = None, but: str | None = None
    ) -> None:
        """Establish a unit attention for one nexus, or for all, `but` one."""
        await self._state.attentions.establish(code, nexus=nexus, but=but)

    def watch(self, nexus: str, watcher: Watcher) -> Callable[[], None]:
        """Tell `watcher` of each unit attention that begins or ends for a nexus; what ends that."""
        return self._state.attentions.watch(nexus, watcher)

    def grow(self, blocks: int) -> None:
        """Have more blocks from now on, as the file behind the medium has.

        Initiators are to be told: `capacity_changed`.

        Raises:
            ValueError: not more than before, or the medium does not grow.
        """
        if self._medium is None:
            msg = f"{self._name} has no medium to grow"
            raise ValueError(msg)
        # The medium first: nobody may be told of blocks that it would refuse.
        self._medium.grow(blocks * self.geometry.block_size)
        self._state.geometry = replace(self.geometry, blocks=blocks)

    async def capacity_changed(self) -> None:
        """Tell every nexus; returns when each command that begins from now on will."""
        await self.attend(sense.CAPACITY_DATA_HAS_CHANGED)

    async def nexus_lost(self, nexus: str) -> bool:
        """Give up what RESERVE took (SPC-2 5.5.1); True: something was given up.

        No copy that another unit does for the nexus touches the medium when this returns.
        """
        await self._state.gates.end_visits(nexus)
        self._state.copies.forget(nexus)
        self._state.removal.allow(nexus)
        return await reserving.nexus_lost(self._state, nexus)

    async def reset(self) -> None:
        """Do a logical unit reset (SAM-5 6.3.3); its commands have been ended by the caller."""
        self._state.copies.forget(None)
        await reserving.nexus_lost(self._state, None)
        await removal.reset(self._state)
        await modes.reset(self._state)
        await self.attend(sense.BUS_DEVICE_RESET)

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
        reply = await HANDLERS[command](self._state, request, cdb)
        if reply.data or reply.transferred is not None or reply.status is not Status.GOOD:
            return reply
        # Whatever data-out there is beyond the parameter list is the residual.
        wanted = cdb.get("parameter_list_length", 0) if reply.service is Service.COMPLETE else 0
        return replace(reply, transferred=min(wanted, len(request.data_out)))

    async def _on_medium(self, command: Command, request: Request, execute: Executor) -> Reply:
        exclusion = self._state.exclusion
        alone = command.access is Access.EXCLUSIVE
        async with exclusion.exclusive() if alone else exclusion.shared():
            # Asked here, not before: another nexus may have preempted this one while it waited.
            refused = reserving.conflict(self._state, command, request)
            refused = refused or power.not_ready(self._state)
            # The executor checks the rest, write protection too, so that both roads answer alike.
            return refused or await execute(request)


def _reached(units: Iterable[tuple[LogicalUnit, Presentation]]) -> Iterator[Reached]:
    return (Reached(unit.state, shown) for unit, shown in units if isinstance(unit, EmulatedDisk))
