"""The medium of a removable disk as it comes and goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import sense

if TYPE_CHECKING:
    from .state import DiskState


async def reset(disk: DiskState) -> None:
    """Start the unit and end all preventions; an ejected medium is not loaded by a reset."""
    async with disk.removal.changing:
        disk.removal.preventing.clear()
        if not disk.removal.ejected:
            await disk.set_stopped(False)


async def load(disk: DiskState, nexus: str) -> None:
    """Put the medium back, and start the disk. Called with `changing`.

    Everybody else is told that it may be another one (SPC-5, 28h/00h).
    """
    if disk.removal.ejected:
        await disk.attentions.establish(sense.MEDIUM_MAY_HAVE_CHANGED, but=nexus)
        disk.removal.ejected = False
    await disk.set_stopped(False)
