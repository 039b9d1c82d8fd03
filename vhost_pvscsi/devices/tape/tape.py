"""EmulatedTape: a LogicalUnit whose image the engine reads and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.faults.injector import Faults
from vhost_pvscsi.devices.primary import modes, reserving
from vhost_pvscsi.devices.primary.unit import PrimaryUnit
from vhost_pvscsi.scsi import opcodes, sense

from . import loading
from .handlers import HANDLERS, commands
from .state import TapeState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vhost_pvscsi.devices.emulated.description import DiskIdentity
    from vhost_pvscsi.devices.faults.rule import Rule
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.devices.primary.unit import Executor
    from vhost_pvscsi.medium import TapeMedium
    from vhost_pvscsi.scsi.command import Command
    from vhost_pvscsi.scsi.request import Reply, Request

    from .description import TapeGeometry


#: What fault rules are told of a medium whose blocks have no addresses.
_NO_BLOCKS = DiskGeometry(blocks=0, block_size=1)


class EmulatedTape(PrimaryUnit[TapeState]):
    """A tape over an image."""

    def __init__(
        self,
        name: str,
        identity: DiskIdentity,
        geometry: TapeGeometry,
        executor: Executor,
        medium: TapeMedium,
        *,
        memory: UnitMemory | None = None,
        faults: Iterable[Rule] = (),
    ) -> None:
        known = commands(nonvolatile=memory is not None)
        state = TapeState(identity, geometry, known, medium, memory)
        rules = Faults(state.gates, lambda: _NO_BLOCKS, None, faults, known)
        super().__init__(name, state, HANDLERS, executor, medium, rules)

    @property
    def medium_opcodes(self) -> frozenset[int]:
        return opcodes.TAPE_OPCODES

    @property
    def block_size(self) -> int:
        """Blocks of a tape have no size that limits of transfers could be told in."""
        return 0

    @property
    def identity(self) -> DiskIdentity:
        """The names it goes by."""
        return self._state.identity

    @property
    def geometry(self) -> TapeGeometry:
        """Its medium."""
        return self._state.geometry

    async def nexus_lost(self, nexus: str) -> bool:
        """Give up what RESERVE took (SPC-2 5.5.1); True: something was given up."""
        self._state.removal.allow(nexus)
        return await reserving.nexus_lost(self._state, nexus)

    async def reset(self) -> None:
        """Do a logical unit reset (SAM-5 6.3.3); the tape stays where it is.

        Its commands have been ended by the caller.
        """
        await reserving.nexus_lost(self._state, None)
        await loading.reset(self._state)
        await modes.reset(self._state)
        await self._state.forget_settings()
        await self.attend(sense.BUS_DEVICE_RESET)

    async def _on_medium(self, command: Command, request: Request, execute: Executor) -> Reply:
        # One at a time and in order, as the engine has them on the short road.
        async with self._state.turn:
            refused = reserving.conflict(self._state, command, request)
            refused = refused or self._state.not_ready()
            return refused or await execute(request)
