"""LOG SENSE of an emulated unit, for whatever pages it has.

Nothing is kept that a LOG SELECT could reset, so there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.scsi import log
from vhost_pvscsi.scsi.log import ALL_SUBPAGES, LogPage, LogParameter
from vhost_pvscsi.scsi.sense import invalid_field

from .state import truncated

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.request import Reply

#: Page and subpage -> its parameters.
Pages: TypeAlias = Mapping[tuple[int, int], tuple[LogParameter, ...]]


def _lists(pages: Pages) -> Mapping[tuple[int, int], bytes]:
    """The pages that list pages; they have no parameters."""
    codes = {code for code, _ in pages}
    return {
        (LogPage.SUPPORTED_PAGES, 0): bytes(sorted({0, *codes})),
        **{(code, ALL_SUBPAGES): bytes([code, 0, code, ALL_SUBPAGES]) for code in codes},
    }


def _all_pages(pages: Pages) -> bytes:
    """The pages and subpages that answer, page 00h first (SPC-5 7.3.17)."""
    keys = {*pages, *_lists(pages), (LogPage.SUPPORTED_PAGES, ALL_SUBPAGES)}
    return b"".join(bytes(key) for key in sorted(keys))


def answer(pages: Pages, cdb: Cdb) -> Reply:
    """Answer LOG SENSE (SPC-5, "LOG SENSE command").

    There are no thresholds: any PAGE CONTROL gets the values as they are.
    """
    key = cdb["page_code"], cdb["subpage_code"]
    pointer = cdb["parameter_pointer"]
    lists = _lists(pages)
    if key in pages:
        parameters = [known for known in pages[key] if known.code >= pointer]
        body = b"".join(known.pack() for known in parameters)
    elif key == (LogPage.SUPPORTED_PAGES, ALL_SUBPAGES):
        body = _all_pages(pages) if not pointer else b""
    elif key in lists:
        body = lists[key] if not pointer else b""
    else:
        known_page = any(code == key[0] for code, _ in {*pages, *lists})
        where = cdb.field("subpage_code" if known_page else "page_code")
        return invalid_field(where.byte, where.top_bit)
    if not body:
        # No parameter has a code that high (SPC-5, "LOG SENSE command").
        return invalid_field(cdb.field("parameter_pointer").byte)
    return truncated(log.page(*key, body, parameters=key in pages), cdb)
