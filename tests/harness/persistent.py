"""PERSISTENT RESERVE IN and OUT as a front-end sends them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from .answers import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .frontend import FrontEnd

(REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE) = range(7)
(READ_KEYS, READ_RESERVATION, REPORT_CAPABILITIES, READ_FULL_STATUS) = range(4)
#: Flags of the parameter list.
SPEC_I_PT, ALL_TG_PT, APTPL = 0x08, 0x04, 0x01


def out(
    guest: FrontEnd,
    action: int,
    key: int = 0,
    other: int = 0,
    *,
    type_: int = 0,
    flags: int = 0,
    ports: Sequence[bytes] | None = None,
) -> str:
    """PERSISTENT RESERVE OUT, and what became of it."""
    data = struct.pack(">QQ4xB3x", key, other, flags)
    if ports is not None:
        names = b"".join(ports)
        data += len(names).to_bytes(4, "big") + names
    command = struct.pack(">BBBxxIB", 0x5F, action, type_, len(data), 0)
    return describe(guest.scsi(0, 0, command, data_out=data))


def told(guest: FrontEnd, action: int, length: int = 512) -> bytes:
    """PERSISTENT RESERVE IN, and what it said."""
    command = struct.pack(">BB5xHB", 0x5E, action, length, 0)
    response = guest.scsi(0, 0, command, data_in=length)
    assert response.good, describe(response)
    return response.data[: length - response.resid]
