"""LOG SENSE of the emulated disk.

Only what is true is told: there are no counters of errors, no temperature of its own, and no
threshold of provisioning that resources could be counted in. Nothing is kept that a LOG SELECT
could reset, so there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import log
from vhost_pvscsi.scsi.log import ALL_SUBPAGES, LogPage, LogParameter
from vhost_pvscsi.scsi.sense import invalid_field

from .state import DiskState, truncated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.request import Reply, Request

#: Page and subpage -> what makes its parameters.
_PAGES: Mapping[tuple[int, int], Callable[[], tuple[LogParameter, ...]]] = {
    (LogPage.INFORMATIONAL_EXCEPTIONS, 0): log.informational_exceptions,
}

#: Pages that list pages; they have no parameters.
_LISTS: Mapping[tuple[int, int], bytes] = {
    (LogPage.SUPPORTED_PAGES, 0): bytes(sorted({0, *(code for code, _ in _PAGES)})),
    **{
        (code, ALL_SUBPAGES): bytes([code, 0, code, ALL_SUBPAGES])
        for code in {c for c, _ in _PAGES}
    },
}


def _all_pages() -> bytes:
    """The pages and subpages that answer, page 00h first (SPC-5 7.3.17)."""
    keys = {*_PAGES, *_LISTS, (LogPage.SUPPORTED_PAGES, ALL_SUBPAGES)}
    return b"".join(bytes(key) for key in sorted(keys))


async def log_sense(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer LOG SENSE (SPC-5, "LOG SENSE command").

    The parameters are lists, which have no thresholds: any PAGE CONTROL gets their values.
    """
    del disk, request
    key = cdb["page_code"], cdb["subpage_code"]
    pointer = cdb["parameter_pointer"]
    if key in _PAGES:
        parameters = [known for known in _PAGES[key]() if known.code >= pointer]
        body = b"".join(known.pack() for known in parameters)
    elif key == (LogPage.SUPPORTED_PAGES, ALL_SUBPAGES):
        body = _all_pages() if not pointer else b""
    elif key in _LISTS:
        body = _LISTS[key] if not pointer else b""
    else:
        known_page = any(code == key[0] for code, _ in {*_PAGES, *_LISTS})
        where = cdb.field("subpage_code" if known_page else "page_code")
        return invalid_field(where.byte, where.top_bit)
    if not body:
        # No parameter has a code that high (SPC-5, "LOG SENSE command").
        return invalid_field(cdb.field("parameter_pointer").byte)
    return truncated(log.page(*key, body, parameters=key in _PAGES), cdb)
