"""What an emulated disk knows while it runs; its commands are given this."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from vhost_pvscsi.devices.gates import Cause
from vhost_pvscsi.devices.primary.state import Handler as PrimaryHandler
from vhost_pvscsi.devices.primary.state import UnitState
from vhost_pvscsi.scsi import mode, sense

from . import settings
from .copies import Copies
from .exclusion import Exclusion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from concurrent.futures import Executor

    from vhost_pvscsi.devices.allocation import FindRuns
    from vhost_pvscsi.devices.identification import UnitIdentity
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.devices.presentation import Presentation
    from vhost_pvscsi.medium import Medium
    from vhost_pvscsi.scsi.command import CommandSet
    from vhost_pvscsi.scsi.request import Reply
    from vhost_pvscsi.scsi.sense import SenseCode

    from .description import DiskGeometry


class Reached(NamedTuple):
    """A disk as a nexus reaches it at one address."""

    disk: DiskState
    shown: Presentation


class DiskState(UnitState):
    """What a disk has besides: its blocks, copies, what runs alone."""

    def __init__(
        self,
        identity: UnitIdentity,
        geometry: DiskGeometry,
        commands: CommandSet,
        *,
        flush: Callable[[], Awaitable[None]] | None = None,
        medium: Medium | None = None,
        memory: UnitMemory | None = None,
        neighbours: Callable[[str], Iterable[Reached]] = lambda _: (),
        copy_threads: Executor | None = None,
        find_runs: FindRuns | None = None,
    ) -> None:
        super().__init__(identity, commands, settings.definitions(geometry), memory)
        self.geometry = geometry
        self.flush = flush  #: makes all writes stable; None: there is nothing to do
        self.neighbours = neighbours  #: the disks that a nexus reaches, this one too, for copies
        self.copies = Copies(copy_threads)
        self.find_runs = find_runs  #: finds the holes of the medium; None: it has none
        self.medium = medium  #: the engine's half of the disk
        self.switch_medium()
        self.exclusion = Exclusion(lambda shut: self.gates.turn_all(Cause.EXCLUSIVE, shut))

    def switch_medium(self) -> None:
        """Have the engine act on the mode parameters that concern it."""
        if self.medium is not None:
            self.medium.set_sync_writes(not self.write_cache)
            self.medium.set_descriptor_sense(self.modes.descriptor_sense)

    @property
    def write_cache(self) -> bool:
        """WCE as it is now."""
        return mode.WRITE_CACHE_ENABLE.read(self.modes.current[mode.CACHING])

    @property
    def removable(self) -> bool:
        """Whether the medium can be taken out."""
        return self.geometry.removable

    def unreadiness(self) -> SenseCode | None:
        """Why commands that need a medium are refused; None: they are not."""
        if self.removal.ejected:
            return sense.MEDIUM_NOT_PRESENT
        return sense.INITIALIZING_COMMAND_REQUIRED if self.stopped else None

    def mode_data(self, pages: bytes, *, described: bool, long_lba: bool) -> mode.ModeData:
        """What MODE SENSE returns with these pages (SBC-4 6.5.1)."""
        geometry = self.geometry
        describe = mode.long_block_descriptor if long_lba else mode.short_block_descriptor
        descriptor = describe(geometry.blocks, geometry.block_size) if described else b""
        protected = mode.WRITE_PROTECTED if geometry.read_only else 0
        return mode.ModeData(protected | mode.DPO_FUA, descriptor, pages)

    def wrong_settings(self, listed: mode.ParameterList) -> Reply | None:
        """What is wrong with header and block descriptor of a MODE SELECT list."""
        return settings.wrong_descriptor(self.geometry, listed)

    async def put_in_force(
        self, pages: Mapping[mode.PageKey, bytes], listed: mode.ParameterList | None = None
    ) -> bool:
        """Make pages current; a descriptor changes nothing."""
        del listed
        return await settings.put_in_force(self, pages)

    def settings(self) -> object:
        """Header and block descriptor say nothing that MODE SELECT changes."""
        return None


#: One command: the disk, the request, its CDB's values.
Handler: TypeAlias = PrimaryHandler[DiskState]
