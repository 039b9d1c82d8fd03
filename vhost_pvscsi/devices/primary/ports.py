"""REPORT TARGET PORT GROUPS of an emulated unit: one port, always the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import target_ports
from vhost_pvscsi.scsi.sense import invalid_field
from vhost_pvscsi.scsi.target_ports import DataFormat

from .state import UnitState, truncated

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.request import Reply, Request


async def report_target_port_groups(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer REPORT TARGET PORT GROUPS (SPC-5, that command).

    Linux's scsi_dh_alua asks for the extended header, and by the other where that is refused.
    """
    del unit, request
    if cdb["parameter_data_format"] not in set(DataFormat):
        where = cdb.field("parameter_data_format")
        return invalid_field(where.byte, where.top_bit)
    form = DataFormat(cdb["parameter_data_format"])
    return truncated(target_ports.port_groups(form), cdb)
