"""The units at addresses nobody attached: a LUN that is not there, a target without any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import pages, sense
from vhost_pvscsi.scsi.request import Reply, Request, Service

from . import unready

if TYPE_CHECKING:
    from vhost_pvscsi.medium import Medium
    from vhost_pvscsi.scsi.cdb import Cdb


class AbsentUnit:
    """A LUN of a target that has others (SPC-5 6.6.1; SAM-5 5.11, "Incorrect logical unit").

    INQUIRY says that nothing can be there. REPORT LUNS is answered too, because LUN 0 has to
    answer it whether it exists or not; the munger fills in the target's LUNs.
    """

    name = "no unit"
    forwarded_as: pages.DeviceType | None = None
    medium: Medium | None = None
    block_size = 0
    medium_opcodes: frozenset[int] = frozenset()

    async def execute(self, request: Request) -> Reply:
        """Answer the three commands that need no unit, refuse the others."""
        return unready.answer(request, sense.LOGICAL_UNIT_NOT_SUPPORTED, _inquiry)


class AbsentTarget:
    """Any LUN of a target at which nothing is attached."""

    name = "no target"
    forwarded_as: pages.DeviceType | None = None
    medium: Medium | None = None
    block_size = 0
    medium_opcodes: frozenset[int] = frozenset()

    async def execute(self, request: Request) -> Reply:
        """Say that there is no such target."""
        del request
        return Reply(service=Service.ABSENT_TARGET)


#: One of each is enough: they have no state.
ABSENT_UNIT = AbsentUnit()
ABSENT_TARGET = AbsentTarget()


def _inquiry(cdb: Cdb) -> Reply:
    if cdb["page_code"]:
        return sense.invalid_field(cdb.field("page_code").byte)
    if cdb["evpd"]:
        only = pages.vpd_page(pages.NO_UNIT, pages.Vpd.SUPPORTED_PAGES, b"\0")
        return Reply(data=only[: cdb["allocation_length"]])
    data = pages.standard_inquiry(peripheral=pages.NO_UNIT, vendor="", product="", revision="")
    return Reply(data=data[: cdb["allocation_length"]])
