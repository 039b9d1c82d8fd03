"""What an emulated tape knows while it runs; its commands are given this."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.devices.primary.parameters import MOST_SENSE
from vhost_pvscsi.devices.primary.state import Handler as PrimaryHandler
from vhost_pvscsi.devices.primary.state import Progress, UnitState
from vhost_pvscsi.medium import MAX_TAPE_BLOCK
from vhost_pvscsi.scsi import mode, sense, sequential, tape_logs
from vhost_pvscsi.scsi.sense import invalid_parameter
from vhost_pvscsi.scsi.sequential import BlockDescriptor

from .alerts import Alerts, Causes
from .description import TapeGeometry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vhost_pvscsi.devices.identification import UnitIdentity
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.medium import TapeMedium, TapeStanding
    from vhost_pvscsi.scsi.command import CommandSet
    from vhost_pvscsi.scsi.request import Reply
    from vhost_pvscsi.scsi.sense import SenseCode

    from .cartridge import Cartridge


@dataclass(frozen=True, slots=True)
class Settings:
    """What header and block descriptor of MODE SELECT set; a reset sets them back."""

    block_length: int = 0  #: of fixed blocks; 0: none is set
    buffered: bool = True  #: a write is answered before it is stable


def definitions(*, compressing: bool = False) -> tuple[mode.PageDefinition, ...]:
    """The mode pages of a tape; `compressing`: blocks are compressed until a guest has it else."""
    return (
        sequential.error_recovery(),
        mode.control(reorders=False),
        mode.control_extension(most_sense=MOST_SENSE),
        sequential.data_compression(enabled=compressing),
        sequential.device_configuration(compressing=compressing),
        sequential.device_configuration_extension(),
        sequential.medium_partition(),
        mode.informational_exceptions(),
    )


class TapeState(UnitState):
    """What a tape has besides: its medium, and how blocks are written. Its drive is empty first."""

    def __init__(
        self,
        identity: UnitIdentity,
        commands: CommandSet,
        medium: TapeMedium,
        memory: UnitMemory | None = None,
        *,
        compressing: bool = False,
    ) -> None:
        super().__init__(identity, commands, definitions(compressing=compressing), memory)
        self.medium = medium
        self.cartridge: Cartridge | None = None
        self.stopped = self.removal.ejected = True
        self._settings = Settings()
        self._media_watchers: list[Callable[[str], None]] = []
        medium.set_descriptor_sense(self.modes.descriptor_sense)
        #: How the drive stood when the cartridge was loaded.
        self.at_load = medium.standing()
        self.alerts = Alerts()
        self.prevented = 0  #: unloads that a prevention stopped
        self.damaged_memories = 0  #: cartridges whose auxiliary memory could not be read
        #: Orders commands of the medium that come by the long road.
        self.turn = asyncio.Lock()

    @property
    def geometry(self) -> TapeGeometry:
        """The cartridge's; without one nothing is known of it."""
        return self.cartridge.geometry if self.cartridge is not None else TapeGeometry()

    def watch_media(self, tell: Callable[[str], None]) -> None:
        """Have `tell` told by whom (`guest`) the cartridge was loaded or unloaded."""
        self._media_watchers.append(tell)

    def tell_media(self, by: str) -> None:
        """Say by whom the cartridge was loaded or unloaded."""
        for tell in self._media_watchers:
            tell(by)

    def begin_load(self) -> None:
        """Count a load of the cartridge that is in the drive, on a thread that may wait."""
        assert self.cartridge is not None  # whoever loads it has put it in
        memory = self.cartridge.memory
        self.at_load = self.medium.standing()
        self.alerts.load(self.causes(self.at_load))
        self.damaged_memories += memory.damaged
        memory.history = memory.history.with_load(self.identity.serial)
        memory.keep_if_possible()

    def end_load(self) -> None:
        """Add what the cartridge went through since its load, on a thread that may wait."""
        assert self.cartridge is not None
        memory, now = self.cartridge.memory, self.medium.standing()
        alerts = tape_logs.alert_mask(self.alerts.raised(self.causes(now)))
        memory.history = replace(memory.history.with_work(self.at_load, now), alerts=alerts)
        self.at_load = now
        memory.keep_if_possible()

    def causes(self, now: TapeStanding) -> Causes:
        """What TapeAlert flags go by."""
        return Causes(
            now.read_errors, now.write_errors, now.refused, self.prevented, self.damaged_memories
        )

    @property
    def removable(self) -> bool:
        """A tape always can be taken out."""
        return True

    @property
    def answers_page_zero(self) -> bool:
        """Drives of all vendors do, and Linux's st asks them so for the block length."""
        return True

    def unreadiness(self) -> SenseCode | None:
        """Why commands that need a medium are refused; None: they are not."""
        return sense.MEDIUM_NOT_PRESENT if self.removal.ejected else None

    def progress(self) -> Progress | None:
        """What goes on behind an answer that was given before it: VERIFY with IMMED."""
        part = self.medium.progress()
        return None if part is None else Progress(sense.VERIFY_IN_PROGRESS, part)

    def mode_data(self, pages: bytes, *, described: bool, long_lba: bool) -> mode.ModeData:
        """What MODE SENSE returns with these pages (SSC-5 8.3)."""
        del long_lba  # blocks of a tape have no addresses: there is one descriptor
        now = self._settings
        descriptor = sequential.block_descriptor(now.block_length) if described else b""
        head = sequential.device_specific(protected=self.geometry.read_only, buffered=now.buffered)
        return mode.ModeData(head, descriptor, pages)

    def wrong_settings(self, listed: mode.ParameterList) -> Reply | None:
        """What is wrong with header and block descriptor of a MODE SELECT list."""
        byte = listed.device_specific
        at = 2 if listed.descriptor_offset == mode.HEADER_6 else 3
        if sequential.buffered_mode(byte) > 1:
            return invalid_parameter(at, 6)
        if sequential.speed(byte):
            return invalid_parameter(at, 3)
        for given in listed.pages:
            if sequential.wrong_algorithm(given.data):
                return invalid_parameter(given.offset + 4)
        return _wrong_descriptor(listed) if listed.descriptor else None

    async def put_in_force(
        self, pages: Mapping[mode.PageKey, bytes], listed: mode.ParameterList | None = None
    ) -> bool:
        """Make pages current, and what a list's header and descriptor say."""
        after = self._settings
        if listed is not None:
            length = after.block_length
            if listed.descriptor:
                length = BlockDescriptor.parse(listed.descriptor).block_length
            after = Settings(length, bool(sequential.buffered_mode(listed.device_specific)))
        pages = sequential.agreeing(self.modes.current, pages)
        changed = (after, pages) != (self._settings, self.modes.current)
        self._settings = after
        self.modes.current = pages
        self.medium.set_descriptor_sense(self.modes.descriptor_sense)
        if changed:
            await self.settle()
        return True

    def settings(self) -> object:
        """What header and block descriptor say now, to be compared."""
        return self._settings

    async def recall(self, settings: object) -> None:
        """Go back to what header and block descriptor said."""
        assert isinstance(settings, Settings)
        self._settings = settings
        await self.settle()

    async def forget_settings(self) -> None:
        """Go back to what holds after a reset."""
        await self.recall(Settings())

    async def settle(self) -> None:
        """Have what is in the drive read and written as it was set."""
        await asyncio.to_thread(self.set_medium)

    def set_medium(self) -> None:
        """Do what `settle` does, on a thread that may wait for the command in progress."""
        now = self._settings
        self.medium.set(
            block_length=now.block_length,
            unbuffered=not now.buffered,
            compress=sequential.compresses(self.modes.current),
        )


def _wrong_descriptor(listed: mode.ParameterList) -> Reply | None:
    head = listed.descriptor_offset
    if len(listed.descriptor) != mode.SHORT_DESCRIPTOR:
        # LONGLBA: blocks of a tape have no addresses.
        return invalid_parameter(4, 0)
    given = BlockDescriptor.parse(listed.descriptor)
    if given.density not in sequential.SAME_DENSITIES:
        return invalid_parameter(head)
    if given.blocks:
        # All blocks that are left are meant (SPC-5 7.5.6).
        return invalid_parameter(head + 1)
    return invalid_parameter(head + 5) if given.block_length > MAX_TAPE_BLOCK else None


#: One command: the tape, the request, its CDB's values.
Handler: TypeAlias = PrimaryHandler[TapeState]
