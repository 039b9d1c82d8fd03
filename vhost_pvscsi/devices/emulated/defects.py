"""READ DEFECT DATA of the emulated disk: it has none."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import removal
from vhost_pvscsi.devices.primary.state import truncated

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.request import Reply, Request

    from .state import DiskState


async def read_defect_data_10(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ DEFECT DATA(10) (SBC-4, that command): the lists asked for are empty."""
    del request
    return removal.no_medium(disk) or truncated(struct.pack(">xBH", _flags(cdb), 0), cdb)


async def read_defect_data_12(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ DEFECT DATA(12) (SBC-4, that command): the lists asked for are empty."""
    del request
    return removal.no_medium(disk) or truncated(struct.pack(">xBHI", _flags(cdb), 0, 0), cdb)


def _flags(cdb: Cdb) -> int:
    # PLISTV, GLISTV, DEFECT LIST FORMAT: an empty list is one in any format.
    return cdb["req_plist"] << 4 | cdb["req_glist"] << 3 | cdb["defect_list_format"]
