"""What a drive says of itself: INQUIRY, configuration, events, logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import inquiry as primary
from vhost_pvscsi.devices.primary import logs
from vhost_pvscsi.devices.primary.state import truncated
from vhost_pvscsi.scsi import features, log, media_events, pages
from vhost_pvscsi.scsi.features import Requested
from vhost_pvscsi.scsi.log import LogPage
from vhost_pvscsi.scsi.media_events import EventClass, MediaEvent
from vhost_pvscsi.scsi.pages import Vpd
from vhost_pvscsi.scsi.request import Reply, Request
from vhost_pvscsi.scsi.sense import invalid_field

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb

    from .state import DriveState

PRODUCT = "VIRTUAL CD/DVD"

_LOG_PAGES = {(int(LogPage.INFORMATIONAL_EXCEPTIONS), 0): log.informational_exceptions()}


def _standard(drive: DriveState) -> bytes:
    # No target port groups: the command that reports them is another one here (MMC-6).
    return primary.standard_data(
        drive, pages.DeviceType.CD, pages.MMC_6, removable=True, target_port_groups=0
    )


#: Page code -> what builds its body; the common ones are there besides.
_PAGES: primary.VpdPages[DriveState] = {
    Vpd.EXTENDED_INQUIRY: primary.extended_inquiry(volatile_cache=False),
}

inquiry = primary.inquiry(_standard, _PAGES)


async def get_configuration(drive: DriveState, request: Request, cdb: Cdb) -> Reply:
    """Answer GET CONFIGURATION (MMC-6 6.5)."""
    del request
    if cdb["rt"] not in set(Requested):
        where = cdb.field("rt")
        return invalid_field(where.byte, where.top_bit)
    current = drive.profile
    known = features.features(current, drive.identity.serial)
    data = features.configuration(known, current, Requested(cdb["rt"]), cdb["first_feature"])
    return truncated(data, cdb)


async def get_event_status_notification(drive: DriveState, request: Request, cdb: Cdb) -> Reply:
    """Answer GET EVENT STATUS NOTIFICATION (MMC-6 6.6), polled: asynchronous ones are not given.

    An event is taken by whoever has room for it.
    """
    if not cdb["polled"]:
        where = cdb.field("polled")
        return invalid_field(where.byte, where.top_bit)
    classes = cdb["classes"] & media_events.supported()
    if not classes:
        return truncated(media_events.nothing(), cdb)
    event = drive.events.next(request.nexus, classes)
    if event is None:
        # The most urgent class says that nothing has happened.
        return truncated(_report(drive, EventClass((classes & -classes).bit_length() - 1), 0), cdb)
    if cdb["allocation_length"] > media_events.HEADER:
        drive.events.take(request.nexus, event)
    return truncated(_report(drive, *event), cdb)


def _report(drive: DriveState, kind: EventClass, code: int) -> bytes:
    persistent = bool(drive.persistent)
    match kind:
        case EventClass.OPERATIONAL:
            return media_events.operational(code, persistent=persistent)
        case EventClass.EXTERNAL:
            return media_events.external(persistent=persistent)
        case EventClass.MEDIA:
            return media_events.media(
                MediaEvent(code), tray_open=drive.removal.ejected, present=bool(drive.readable)
            )
        case EventClass.BUSY:
            return media_events.busy()


async def set_cd_speed(drive: DriveState, request: Request, cdb: Cdb) -> Reply:
    """Accept SET CD SPEED (MMC-6 6.37): nothing turns."""
    del drive, request
    if cdb["rotational_control"] > 1:
        where = cdb.field("rotational_control")
        return invalid_field(where.byte, where.top_bit)
    return Reply()


async def log_sense(drive: DriveState, request: Request, cdb: Cdb) -> Reply:
    """Answer LOG SENSE (SPC-5, "LOG SENSE command")."""
    del drive, request
    return logs.answer(_LOG_PAGES, cdb)
