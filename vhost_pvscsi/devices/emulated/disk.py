"""EmulatedDisk: a LogicalUnit whose blocks the engine moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.devices.faults.injector import Faults
from vhost_pvscsi.devices.gates import Cause
from vhost_pvscsi.devices.primary import modes, reserving
from vhost_pvscsi.devices.primary.unit import PrimaryUnit
from vhost_pvscsi.scsi import opcodes, sense
from vhost_pvscsi.scsi.command import Access

from . import removal
from .handlers import HANDLERS, commands
from .state import DiskState, Reached

if TYPE_CHECKING:
    import concurrent.futures

    from vhost_pvscsi.devices.allocation import FindRuns
    from vhost_pvscsi.devices.faults.rule import Rule
    from vhost_pvscsi.devices.identification import UnitIdentity
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.devices.presentation import Presentation
    from vhost_pvscsi.devices.primary.unit import Executor
    from vhost_pvscsi.devices.unit import LogicalUnit
    from vhost_pvscsi.medium import Medium
    from vhost_pvscsi.scsi.command import Command
    from vhost_pvscsi.scsi.request import Reply, Request

    from .description import DiskGeometry

#: Finds the units that a nexus reaches, and as what: who may be copied from and to.
Neighbours: TypeAlias = Callable[[str], "Iterable[tuple[LogicalUnit, Presentation]]"]


class EmulatedDisk(PrimaryUnit[DiskState]):
    """A disk over a medium of the engine's."""

    def __init__(
        self,
        name: str,
        identity: UnitIdentity,
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
        state = DiskState(
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
        rules = Faults(state.gates, lambda: state.geometry, medium, faults)
        super().__init__(name, state, HANDLERS, executor, medium, rules)

    @property
    def block_size(self) -> int:
        return self._state.geometry.block_size

    @property
    def medium_opcodes(self) -> frozenset[int]:
        return opcodes.MEDIUM_OPCODES

    @property
    def geometry(self) -> DiskGeometry:
        """Its blocks."""
        return self._state.geometry

    def _shutting(self, nexus: str) -> tuple[Cause, ...]:
        alone = (Cause.EXCLUSIVE,) if self._state.exclusion.alone else ()
        return (*super()._shutting(nexus), *alone)

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
        return await super().nexus_lost(nexus)

    async def reset(self) -> None:
        """Do a logical unit reset (SAM-5 6.3.3); its commands have been ended by the caller."""
        self._state.copies.forget(None)
        await reserving.nexus_lost(self._state, None)
        await removal.reset(self._state)
        await modes.reset(self._state)
        await self.attend(sense.BUS_DEVICE_RESET)

    async def _on_medium(self, command: Command, request: Request, execute: Executor) -> Reply:
        exclusion = self._state.exclusion
        alone = command.access is Access.EXCLUSIVE
        async with exclusion.exclusive() if alone else exclusion.shared():
            # Asked here, not before: another nexus may have preempted this one while it waited.
            refused = reserving.conflict(self._state, command, request)
            refused = refused or self._state.not_ready()
            # The executor checks the rest, write protection too, so that both roads answer alike.
            return refused or await execute(request)


def _reached(units: Iterable[tuple[LogicalUnit, Presentation]]) -> Iterator[Reached]:
    return (Reached(unit.state, shown) for unit, shown in units if isinstance(unit, EmulatedDisk))
