"""Target ports and target port groups (SPC-5 5.16, "REPORT TARGET PORT GROUPS")."""

from __future__ import annotations

import enum
import struct

from .pages import Association, Designator, DesignatorType

#: A unit is reached by one port of one group, whichever virtual host it is attached at.
RELATIVE_PORT, GROUP = 1, 1

#: INQUIRY's TPGS: access states may change by themselves, none can be set.
TPGS_IMPLICIT = 0b01

_ACTIVE_OPTIMIZED = 0x0
#: The states that there are: AO_SUP, active/optimized.
_SUPPORTED_STATES = 0x01
#: STATUS CODE: no status is given.
_NO_STATUS = 0x00


class DataFormat(enum.IntEnum):
    """PARAMETER DATA FORMAT values."""

    LENGTH_ONLY = 0b000
    EXTENDED = 0b001


def port_groups(form: DataFormat) -> bytes:
    """Build REPORT TARGET PORT GROUPS parameter data: one group with one port, the best."""
    group = struct.pack(
        ">BBHxBxBxxH",
        _ACTIVE_OPTIMIZED,
        _SUPPORTED_STATES,
        GROUP,
        _NO_STATUS,
        1,  # target port count
        RELATIVE_PORT,
    )
    # FORMAT TYPE, and IMPLICIT TRANSITION TIME 0: how long a transition takes is not stated.
    body = group if form is DataFormat.LENGTH_ONLY else struct.pack(">BBxx", form << 4, 0) + group
    return struct.pack(">I", len(body)) + body


def designators() -> tuple[Designator, ...]:
    """Name the port and its group in VPD page 83h (SPC-5 7.7.6.7, 7.7.6.8)."""
    return tuple(
        Designator(kind, struct.pack(">xxH", number), Association.TARGET_PORT)
        for kind, number in (
            (DesignatorType.RELATIVE_TARGET_PORT, RELATIVE_PORT),
            (DesignatorType.TARGET_PORT_GROUP, GROUP),
        )
    )
