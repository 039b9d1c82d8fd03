"""The medium of a removable disk: whether it is there, and who prevents its removal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import sense

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.request import Reply

    from .state import DiskState


class Removal:
    """Whether the medium is ejected; the nexuses that have prevented it (SPC-5 and SBC-4 4.14).

    An ejected unit is a stopped one too, so that its gates are shut as long.
    """

    def __init__(self) -> None:
        self.ejected = False
        self.preventing: set[str] = set()
        #: Orders START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL and resets among themselves.
        self.changing = asyncio.Lock()

    def allow(self, nexus: str) -> None:
        """End a nexus' prevention, if there is one."""
        self.preventing.discard(nexus)


def no_medium(disk: DiskState) -> Reply | None:
    """The refusal of a command that needs a medium, if there is none."""
    return sense.check_condition(sense.MEDIUM_NOT_PRESENT) if disk.removal.ejected else None


async def reset(disk: DiskState) -> None:
    """Start the unit and end all preventions; an ejected medium is not loaded by a reset."""
    async with disk.removal.changing:
        disk.removal.preventing.clear()
        if not disk.removal.ejected:
            await disk.set_stopped(False)


async def load(disk: DiskState, nexus: str) -> None:
    """Put the medium back, and start the unit. Called with `changing`.

    Everybody else is told that it may be another one (SPC-5, 28h/00h).
    """
    if disk.removal.ejected:
        await disk.attentions.establish(sense.MEDIUM_MAY_HAVE_CHANGED, but=nexus)
        disk.removal.ejected = False
    await disk.set_stopped(False)
