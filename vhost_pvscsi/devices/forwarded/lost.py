"""What a unit answers whose device has gone. Pure.

It is there, and cannot be used until somebody does something: LOGICAL UNIT NOT READY, OFFLINE.
Linux fails such a command at once; of a unit that becomes ready by itself it would try again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices import unready
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.pages import Vpd
from vhost_pvscsi.scsi.request import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhost_pvscsi.scsi.cdb import Cdb


def answer(request: Request, told: Mapping[int | None, bytes]) -> Reply:
    """Answer a command (SPC-5 5.2: those that need no unit that is ready).

    `told` is what the device said of itself while it was there, whole VPD pages by their codes;
    None is the standard INQUIRY data.
    """
    return unready.answer(request, sense.OFFLINE, lambda cdb: _inquiry(cdb, told))


def _inquiry(cdb: Cdb, told: Mapping[int | None, bytes]) -> Reply:
    page = cdb["page_code"] if cdb["evpd"] else None
    if page is None and cdb["page_code"]:
        return sense.invalid_field(cdb.field("page_code").byte)
    data = told.get(page, b"")
    if page == Vpd.SUPPORTED_PAGES:
        # Those that are known here, and no others that the device has.
        pages = bytes(sorted({0, *(code for code in told if code is not None)}))
        kind = told.get(None, b"\0")[:1]
        data = kind + bytes([Vpd.SUPPORTED_PAGES]) + len(pages).to_bytes(2, "big") + pages
    if not data:
        return sense.invalid_field(cdb.field("page_code").byte)
    return Reply(data=data[: cdb["allocation_length"]])
