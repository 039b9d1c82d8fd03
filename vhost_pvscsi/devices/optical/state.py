"""What a drive knows while it runs; its commands are given this."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.devices.gates import Cause
from vhost_pvscsi.devices.primary.parameters import MOST_SENSE
from vhost_pvscsi.devices.primary.state import Handler as PrimaryHandler
from vhost_pvscsi.devices.primary.state import UnitState
from vhost_pvscsi.scsi import drives, mode, sense
from vhost_pvscsi.scsi.discs import Profile
from vhost_pvscsi.scsi.sense import invalid_parameter

from .events import Events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vhost_pvscsi.devices.identification import UnitIdentity
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.scsi.command import CommandSet
    from vhost_pvscsi.scsi.request import Reply
    from vhost_pvscsi.scsi.sense import SenseCode

    from .disc import Disc


def definitions() -> tuple[mode.PageDefinition, ...]:
    """The mode pages of a drive."""
    return (
        drives.error_recovery(),
        mode.control(),
        mode.control_extension(most_sense=MOST_SENSE),
        mode.informational_exceptions(),
        drives.capabilities(),
    )


class DriveState(UnitState):
    """What a drive has besides: its tray, what lies in it, events.

    `removal.ejected` says that the tray is open. As long as there is no disc that can be read the
    gates are shut. Whoever shuts them does not wait: commands that a disc is read by go on with it,
    wherever it is meanwhile, and a host that does not answer holds no operator up.
    """

    def __init__(
        self,
        identity: UnitIdentity,
        commands: CommandSet,
        disc: Disc | None,
        memory: UnitMemory | None = None,
    ) -> None:
        super().__init__(identity, commands, definitions(), memory)
        self.disc = disc  #: in the tray, open or closed
        self.events = Events()
        #: Nexuses with the persistent prevention (MMC-6 6.18): it holds operators off, not guests.
        self.persistent: set[str] = set()
        #: Told when a guest has moved the tray.
        self.moved: list[Callable[[str], None]] = []
        self.switch_medium()

    @property
    def readable(self) -> Disc | None:
        """The disc that can be read; None: there is none."""
        return None if self.removal.ejected else self.disc

    @property
    def profile(self) -> Profile:
        """What the drive is by its disc."""
        return self.readable.profile if self.readable else Profile.NONE

    async def show_disc(self) -> None:
        """Have the gates shut where there is no disc to be read, and open where there is."""
        await self.gates.turn_all(Cause.LOST, self.readable is None)

    @property
    def locked(self) -> bool:
        """Whether any guest keeps the disc in."""
        return bool(self.removal.preventing or self.persistent)

    @property
    def removable(self) -> bool:
        """A disc always can be taken out."""
        return True

    def unreadiness(self) -> SenseCode | None:
        """Why commands that need a disc are refused; None: they are not."""
        if self.removal.ejected:
            return sense.MEDIUM_NOT_PRESENT_TRAY_OPEN
        return sense.MEDIUM_NOT_PRESENT_TRAY_CLOSED if self.disc is None else None

    def switch_medium(self) -> None:
        """Have the engine act on the mode parameters that concern it."""
        if self.disc is not None:
            self.disc.medium.set_descriptor_sense(self.modes.descriptor_sense)

    def show_lock(self) -> None:
        """Have the capabilities page say whether the tray is locked."""
        page = drives.capabilities(locked=self.locked).default
        self.modes.current = {**self.modes.current, drives.CAPABILITIES: page}

    def mode_data(self, pages: bytes, *, described: bool, long_lba: bool) -> mode.ModeData:
        """What MODE SENSE returns with these pages: no block descriptor (MMC-6 7.2.2)."""
        del described, long_lba
        return mode.ModeData(0, b"", pages)

    def wrong_settings(self, listed: mode.ParameterList) -> Reply | None:
        """What is wrong with header and block descriptor of a MODE SELECT list: there is none."""
        if not listed.descriptor:
            return None
        return invalid_parameter(3 if listed.descriptor_offset == mode.HEADER_6 else 6)

    async def put_in_force(
        self, pages: Mapping[mode.PageKey, bytes], listed: mode.ParameterList | None = None
    ) -> bool:
        """Make pages current."""
        del listed
        self.modes.current = pages
        self.show_lock()
        self.switch_medium()
        return True

    def settings(self) -> object:
        """Header and block descriptor say nothing that MODE SELECT changes."""
        return None


#: One command: the drive, the request, its CDB's values.
Handler: TypeAlias = PrimaryHandler[DriveState]
