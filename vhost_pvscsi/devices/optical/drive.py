"""EmulatedDrive: a LogicalUnit that reads discs, which come and go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.faults.injector import Faults
from vhost_pvscsi.devices.gates import Cause
from vhost_pvscsi.devices.primary import modes, reserving
from vhost_pvscsi.devices.primary.unit import PrimaryUnit
from vhost_pvscsi.scsi import discs, opcodes, sense

from . import tray
from .disc import open_disc
from .handlers import HANDLERS, commands
from .state import DriveState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from vhost_pvscsi.devices.faults.rule import Rule
    from vhost_pvscsi.devices.identification import UnitIdentity
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.devices.primary.unit import Executor
    from vhost_pvscsi.medium import Medium
    from vhost_pvscsi.scsi.command import Command
    from vhost_pvscsi.scsi.request import Reply, Request

    from .disc import Disc

#: Runs a command that a ring holds on a medium.
RunOn: TypeAlias = Callable[["Medium", "Request"], Awaitable["Reply"]]
#: Tells the engine's maps that another medium is behind a unit.
Renew: TypeAlias = Callable[["EmulatedDrive"], Awaitable[None]]


class EmulatedDrive(PrimaryUnit[DriveState]):
    """A CD or DVD drive."""

    def __init__(
        self,
        identity: UnitIdentity,
        disc: Disc | None,
        run_on: RunOn,
        renew: Renew,
        *,
        lock: bool = True,
        memory: UnitMemory | None = None,
        faults: Iterable[Rule] = (),
    ) -> None:
        """Make a drive with its tray closed; discs that are put in later are locked, if `lock`."""
        known = commands(nonvolatile=memory is not None)
        state = DriveState(identity, known, disc, memory)
        # Its medium is read and never written, and another one tomorrow: no rule makes it corrupt.
        rules = Faults(state.gates, self._geometry, None, faults, known)

        async def execute(request: Request) -> Reply:
            # Now, and not when the command came: a fault rule may have held it meanwhile.
            disc = state.readable
            if disc is None:
                return state.not_ready() or sense.check_condition(sense.MEDIUM_NOT_PRESENT)
            return await run_on(disc.medium, request)

        super().__init__("cd:", state, HANDLERS, execute, None, rules)
        self._renew = renew
        self._lock = lock

    def _geometry(self) -> DiskGeometry:
        disc = self._state.disc
        return DiskGeometry(disc.blocks if disc else 0, discs.SECTOR, read_only=True)

    @property
    def name(self) -> str:
        return f"cd:{self.medium_path or ''}"

    @property
    def medium(self) -> Medium | None:
        return self._state.disc.medium if self._state.disc else None

    @property
    def medium_opcodes(self) -> frozenset[int]:
        return opcodes.DISC_OPCODES

    @property
    def block_size(self) -> int:
        return discs.SECTOR

    @property
    def geometry(self) -> DiskGeometry:
        """The sectors of the disc that is in it."""
        return self._geometry()

    @property
    def medium_path(self) -> Path | None:
        """The file that is in it; None: it is empty."""
        return self._state.disc.path if self._state.disc else None

    @property
    def loaded(self) -> bool:
        """Whether a guest can use what is in it."""
        return self._state.readable is not None

    def watch_media(self, tell: Callable[[str], None]) -> None:
        """Call `tell` with "guest" when a guest's command has moved the tray."""
        self._state.moved.append(tell)

    async def insert_file(self, path: Path, *, read_only: bool = True, force: bool = False) -> None:
        """Put a disc in; see `TakesMedia`. It is never written to."""
        del read_only
        disc = open_disc(path, lock=self._lock)
        try:
            async with self._state.removal.changing:
                await tray.take_out(self._state, self.name, force=force)
                await tray.exchange(self._state, disc, lambda: self._renew(self))
        except BaseException:
            if self._state.disc is not disc:
                disc.close()
            raise

    async def eject(self, *, force: bool = False) -> None:
        """Take the disc out; see `TakesMedia`. The tray stays open."""
        async with self._state.removal.changing:
            await tray.take_out(self._state, self.name, force=force)
            await tray.exchange(self._state, None, lambda: self._renew(self))

    def close(self) -> None:
        """Let go of the disc; the drive is attached nowhere."""
        if self._state.disc is not None:
            self._state.disc.close()

    def _shutting(self, nexus: str) -> tuple[Cause, ...]:
        lost = () if self.loaded else (Cause.LOST,)
        return (*super()._shutting(nexus), *lost)

    def _left(self, nexus: str) -> None:
        tray.allow(self._state, nexus)
        self._state.events.forget(nexus)
        super()._left(nexus)

    async def nexus_lost(self, nexus: str) -> bool:
        """Give up what RESERVE took (SPC-2 5.5.1); True: something was given up."""
        tray.allow(self._state, nexus)
        self._state.events.forget(nexus)
        return await super().nexus_lost(nexus)

    async def reset(self) -> None:
        """Do a logical unit reset (SAM-5 6.3.3); tray and disc stay where they are.

        Its commands have been ended by the caller.
        """
        await reserving.nexus_lost(self._state, None)
        tray.allow(self._state)
        await modes.reset(self._state)
        await self.attend(sense.BUS_DEVICE_RESET)

    async def _on_medium(self, command: Command, request: Request, execute: Executor) -> Reply:
        refused = reserving.conflict(self._state, command, request)
        return refused or self._state.not_ready() or await execute(request)
