"""What a changer knows while it runs; its commands are given this."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.devices.primary.parameters import MOST_SENSE
from vhost_pvscsi.devices.primary.state import Handler as PrimaryHandler
from vhost_pvscsi.devices.primary.state import UnitState
from vhost_pvscsi.scsi import medium_changer, mode
from vhost_pvscsi.scsi.sense import invalid_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhost_pvscsi.devices.identification import UnitIdentity
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.devices.presentation import Presentation
    from vhost_pvscsi.devices.tape.tape import EmulatedTape
    from vhost_pvscsi.identity import Address
    from vhost_pvscsi.scsi.command import CommandSet
    from vhost_pvscsi.scsi.request import Reply
    from vhost_pvscsi.scsi.sense import SenseCode

    from .contents import Contents
    from .folder import Folder
    from .layout import Layout


@dataclass(frozen=True, slots=True)
class FoundDrive:
    """A tape drive at the address that a changer names, and how it is shown there."""

    tape: EmulatedTape
    shown: Presentation


@dataclass(frozen=True, slots=True)
class Moved:
    """A cartridge that has been moved."""

    cartridge: str  #: its file
    barcode: str
    source: str | None  #: the element by its name; None: the shelf
    destination: str | None
    by_guest: bool


#: Finds the drive at an address; None: there is none.
FindDrive: TypeAlias = Callable[["Address"], FoundDrive | None]


def definitions(layout: Layout) -> tuple[mode.PageDefinition, ...]:
    """The mode pages of a changer."""
    return (
        mode.control(reorders=False),
        mode.control_extension(most_sense=MOST_SENSE),
        mode.informational_exceptions(),
        medium_changer.element_address_assignment(layout.ranges),
        medium_changer.transport_geometry(layout.picks),
        medium_changer.device_capabilities(),
    )


class ChangerState(UnitState):
    """What a changer has besides: its folder, what lies where, and how it finds its drives."""

    def __init__(
        self,
        identity: UnitIdentity,
        commands: CommandSet,
        folder: Folder,
        contents: Contents,
        find_drive: FindDrive,
        memory: UnitMemory | None = None,
    ) -> None:
        super().__init__(identity, commands, definitions(folder.settings.layout), memory)
        self.folder = folder
        self.contents = contents
        self.find_drive = find_drive
        #: Elements for import and export whose door a guest has opened.
        self.opened: set[int] = set()
        #: Orders whatever moves a cartridge.
        self.moving = asyncio.Lock()
        self.on_moved: Callable[[Moved], None] = lambda _: None

    @property
    def layout(self) -> Layout:
        """Its elements."""
        return self.folder.settings.layout

    def drive_of(self, element: int) -> FoundDrive | None:
        """The drive of an element; None: it is not attached, or the element is no drive."""
        address = self.layout.drive(element)
        return self.find_drive(address) if address is not None else None

    @property
    def removable(self) -> bool:
        """What lies in import/export elements can be taken out by hand."""
        return True

    def unreadiness(self) -> SenseCode | None:
        """None: it always is ready."""
        return None

    def mode_data(self, pages: bytes, *, described: bool, long_lba: bool) -> mode.ModeData:
        """What MODE SENSE returns with these pages: there are no blocks to be described."""
        del described, long_lba
        return mode.ModeData(0, b"", pages)

    def wrong_settings(self, listed: mode.ParameterList) -> Reply | None:
        """What is wrong with header and block descriptor of a MODE SELECT list."""
        if listed.descriptor:
            return invalid_parameter(3 if listed.descriptor_offset == mode.HEADER_6 else 6)
        return None

    async def put_in_force(
        self,
        pages: Mapping[mode.PageKey, bytes],
        listed: mode.ParameterList | None = None,
    ) -> bool:
        """Make pages current."""
        del listed
        self.modes.current = pages
        return True

    def settings(self) -> object:
        """None: header and block descriptor say nothing."""
        return None


#: One command: the changer, the request, its CDB's values.
Handler: TypeAlias = PrimaryHandler[ChangerState]
