"""EmulatedTape: a LogicalUnit whose image the engine reads and writes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.faults.injector import Faults
from vhost_pvscsi.devices.primary import modes, reserving
from vhost_pvscsi.devices.primary.unit import PrimaryUnit
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.scsi import opcodes, sense

from . import loading
from .cartridge import Cartridge
from .handlers import HANDLERS, commands
from .state import TapeState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from vhost_pvscsi.devices.faults.rule import Rule
    from vhost_pvscsi.devices.identification import UnitIdentity
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.devices.pdev import LunSpec
    from vhost_pvscsi.devices.primary.unit import Executor
    from vhost_pvscsi.medium import TapeMedium
    from vhost_pvscsi.scsi.command import Command
    from vhost_pvscsi.scsi.request import Reply, Request

    from .description import TapeGeometry


#: What fault rules are told of a medium whose blocks have no addresses.
_NO_BLOCKS = DiskGeometry(blocks=0, block_size=1)


class EmulatedTape(PrimaryUnit[TapeState]):
    """A drive, and the image in it."""

    def __init__(
        self,
        spec: LunSpec,
        identity: UnitIdentity,
        executor: Executor,
        medium: TapeMedium,
        *,
        memory: UnitMemory | None = None,
        faults: Iterable[Rule] = (),
    ) -> None:
        known = commands(nonvolatile=memory is not None)
        compressing = spec.options.compression
        state = TapeState(identity, known, medium, memory, compressing=compressing)
        rules = Faults(state.gates, lambda: _NO_BLOCKS, None, faults, known)
        super().__init__(spec.pdev, state, HANDLERS, executor, medium, rules)
        self._spec = spec
        #: What lies before the drive until `begin` puts it in.
        self.first: Cartridge | None = None
        #: What puts cartridges in and takes them out; None: people may.
        self.handled_by: str | None = None

    @property
    def medium_opcodes(self) -> frozenset[int]:
        return opcodes.TAPE_OPCODES

    @property
    def block_size(self) -> int:
        """Blocks of a tape have no size that limits of transfers could be told in."""
        return 0

    @property
    def geometry(self) -> TapeGeometry:
        """Its medium."""
        return self._state.geometry

    @property
    def medium_path(self) -> Path | None:
        """The image that is in the drive, as it was named; None: the drive is empty."""
        cartridge = self._state.cartridge
        return cartridge.spec.path if cartridge is not None else None

    @property
    def loaded(self) -> bool:
        """Whether guests can use what is in the drive."""
        return not self._state.removal.ejected

    def watch_media(self, tell: Callable[[str], None]) -> None:
        """Have `tell` told by whom (`guest`) the cartridge was loaded or unloaded."""
        self._state.watch_media(tell)

    @property
    def own_image(self) -> bool:
        """Whether the image is its PDEV's: no other one is put in by a changer."""
        return self._spec.path is not None

    def cartridge_spec(self, path: Path, *, read_only: bool = False) -> LunSpec:
        """How an image is opened for this drive: by the options of its LUN."""
        options = replace(self._spec.options, read_only=read_only, create=False)
        return replace(self._spec, pdev=f"tape:{path}", path=path, options=options)

    def begin(self) -> None:
        """Put in what is there from the beginning, before anybody can reach the unit.

        On a thread that may wait: an image without its index is read from end to end. A second time
        nothing is done.

        Raises as `Cartridge.put_into`.
        """
        state, cartridge = self._state, self.first
        if cartridge is None:
            return
        cartridge.put_into(state.medium)
        state.cartridge, self.first = cartridge, None
        state.set_medium()
        state.begin_load()
        state.stopped = state.removal.ejected = False

    async def insert_file(self, path: Path, *, read_only: bool, force: bool) -> None:
        """Put an image into the drive, in the place of what is in there, and tell guests.

        `force`: whoever prevents the removal of what is in there is not asked. What fails has
        changed nothing.

        Raises:
            ConfigurationError: it is no tape image, or damaged; or a changer has the drive.
            DeviceError: it cannot be opened, or what is in there not be made stable.
            DeviceBusyError: somebody holds it, or a guest prevents the removal.
        """
        self._check_reachable()
        spec = self.cartridge_spec(path, read_only=read_only)
        cartridge = await asyncio.to_thread(Cartridge.open, spec)
        state = self._state
        async with state.removal.changing:
            try:
                before = await loading.take_out(state, self.name, force=force)
                try:
                    await loading.put_in(state, cartridge)
                except BaseException:
                    if before is not None:
                        await loading.give_back(state, before)
                    raise
            except BaseException:
                cartridge.close()
                raise
            if before is not None:
                before.cartridge.close()
            await loading.make_ready(state)

    async def eject(self, *, force: bool) -> None:
        """Take out what is in the drive; with nothing in it nothing is done.

        Raises:
            ConfigurationError: a changer has the drive.
            DeviceError: it could not be made stable.
            DeviceBusyError: a guest prevents the removal, and `force` is not given.
        """
        self._check_reachable()
        async with self._state.removal.changing:
            taken = await loading.take_out(self._state, self.name, force=force)
            if taken is not None:
                taken.cartridge.close()

    def _check_reachable(self) -> None:
        if self.handled_by is not None:
            raise ConfigurationError(
                f"{self.name}: {self.handled_by} puts its cartridges in and takes them out",
                hint="vhost-pvscsi changer move does it by hand",
            )

    def end(self) -> None:
        """Make what was written stable, on a thread that may wait; `close` comes next.

        Raises:
            OSError: the host refused.
        """
        self._state.medium.rest()
        if self.loaded:
            self._state.end_load()

    def close(self) -> None:
        """Close what is in the drive; nobody reaches the unit any more, and it was made stable."""
        for cartridge in (self._state.cartridge, self.first):
            if cartridge is not None:
                cartridge.close()
        self._state.cartridge = self.first = None

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
