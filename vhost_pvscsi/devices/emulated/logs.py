"""LOG SENSE of the emulated disk.

Only what is true is told: there are no counters of errors, no temperature of its own, and no
threshold of provisioning that resources could be counted in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import logs
from vhost_pvscsi.scsi import log
from vhost_pvscsi.scsi.log import LogPage

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.request import Reply, Request

    from .state import DiskState

_PAGES = {(int(LogPage.INFORMATIONAL_EXCEPTIONS), 0): log.informational_exceptions()}


async def log_sense(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer LOG SENSE (SPC-5, "LOG SENSE command")."""
    del disk, request
    return logs.answer(_PAGES, cdb)
