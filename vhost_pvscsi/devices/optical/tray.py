"""The tray of a drive: loaded and ejected by guests and by operators, locked by guests.

MMC-6 6.18 and Mt. Fuji say of the two kinds of prevention: the plain one stops any eject; the
persistent one stops those of people alone, which become events, and a guest may still eject.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary.state import truncated
from vhost_pvscsi.errors import DeviceBusyError
from vhost_pvscsi.scsi import drives, sense
from vhost_pvscsi.scsi.discs import Profile
from vhost_pvscsi.scsi.media_events import OPERATIONAL_CHANGED, EventClass, MediaEvent
from vhost_pvscsi.scsi.request import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vhost_pvscsi.scsi.cdb import Cdb

    from .disc import Disc
    from .state import DriveState

#: POWER CONDITION values: START and LOEJ say what to do; active, which the drive is.
_START_VALID, _ACTIVE = 0x0, 0x1


async def start_stop_unit(drive: DriveState, request: Request, cdb: Cdb) -> Reply:
    """Load or eject the disc (MMC-6 6.42). A disc that is stopped spins up when it is read."""
    condition = cdb["power_condition"]
    if condition not in {_START_VALID, _ACTIVE}:
        where = cdb.field("power_condition")
        return sense.invalid_field(where.byte, where.top_bit)
    if condition == _ACTIVE:
        return Reply()
    async with drive.removal.changing:
        if cdb["loej"]:
            return await (_load(drive, request.nexus) if cdb["start"] else _eject(drive))
        return (drive.not_ready() or Reply()) if cdb["start"] else Reply()


async def _load(drive: DriveState, nexus: str) -> Reply:
    if drive.removal.ejected:
        # Everybody else is told that it may be another one (SPC-5, 28h/00h).
        await _close(drive, but=nexus)
        _tell(drive)
    return Reply()


async def _eject(drive: DriveState) -> Reply:
    if drive.removal.ejected:
        return Reply()
    if drive.removal.preventing:
        return sense.check_condition(sense.MEDIUM_REMOVAL_PREVENTED)
    await _open(drive)
    _tell(drive)
    return Reply()


def _tell(drive: DriveState) -> None:
    for tell in drive.moved:
        tell("guest")


async def _open(drive: DriveState) -> None:
    before = drive.profile
    drive.removal.ejected = True
    await drive.show_disc()
    _note(drive, MediaEvent.REMOVED if drive.disc else None, before)


async def _close(drive: DriveState, *, but: str | None = None) -> None:
    if drive.disc is not None:
        await drive.attentions.establish(sense.MEDIUM_MAY_HAVE_CHANGED, but=but)
    drive.removal.ejected = False
    _note(drive, MediaEvent.NEW if drive.disc else None, Profile.NONE)
    await drive.show_disc()


def _note(drive: DriveState, event: MediaEvent | None, before: Profile) -> None:
    nexuses = drive.gates.nexuses
    if event is not None:
        drive.events.add(nexuses, EventClass.MEDIA, event)
    if drive.profile is not before:
        drive.events.add(nexuses, EventClass.OPERATIONAL, OPERATIONAL_CHANGED)


async def take_out(drive: DriveState, name: str, *, force: bool) -> None:
    """Open the tray for an operator; called with `changing`.

    Raises:
        DeviceBusyError: a guest keeps the disc in; it has been asked to eject it.
    """
    if drive.removal.ejected or drive.disc is None:
        drive.removal.ejected = True
        return
    if drive.locked and not force:
        drive.events.add(drive.gates.nexuses, EventClass.MEDIA, MediaEvent.EJECT_REQUEST)
        raise DeviceBusyError(
            f"{name}: its guest keeps the medium in, and has been asked to eject it",
            hint="wait for the event MEDIUM_CHANGED, and try again; or take it out by force",
        )
    # The disc that it was about goes; the persistent one is about any disc.
    drive.removal.preventing.clear()
    drive.show_lock()
    await _open(drive)


async def exchange(
    drive: DriveState, disc: Disc | None, renew: Callable[[], Awaitable[None]]
) -> None:
    """Put another disc in the open tray, or none; with a disc it is closed. Called with `changing`.

    `renew` tells the engine's maps of it. Commands that read the old one go on with it.
    """
    before, drive.disc = drive.disc, disc
    drive.switch_medium()
    await renew()
    if before is not None:
        before.close()
    if disc is not None:
        await _close(drive)


async def prevent_allow(drive: DriveState, request: Request, cdb: Cdb) -> Reply:
    """Answer PREVENT ALLOW MEDIUM REMOVAL (MMC-6 6.18), for the nexus that sends it."""
    held = drive.persistent if cdb["persistent"] else drive.removal.preventing
    async with drive.removal.changing:
        (held.add if cdb["prevent"] else held.discard)(request.nexus)
        drive.show_lock()
    return Reply()


async def mechanism_status(drive: DriveState, request: Request, cdb: Cdb) -> Reply:
    """Answer MECHANISM STATUS (MMC-6 6.10)."""
    del request
    return truncated(drives.mechanism(door_open=drive.removal.ejected), cdb)


def allow(drive: DriveState, nexus: str | None = None) -> None:
    """End what a nexus prevents, or (None) all; the tray stays as it is.

    Without `changing`: who detaches the drive must not wait for an operator who changes its disc.
    """
    for held in (drive.removal.preventing, drive.persistent):
        if nexus is None:
            held.clear()
        else:
            held.discard(nexus)
    drive.show_lock()
