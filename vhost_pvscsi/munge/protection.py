"""MODE SENSE: a LUN that is attached read-only says so, whatever its unit says of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.codes import Opcode

from .asking import is_good
from .registry import outbound

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.request import Reply, Request
    from vhost_pvscsi.translation import Mapping

#: WP in the DEVICE-SPECIFIC PARAMETER of the header (SBC-4 6.5.1, SSC-5 8.3).
_WP = 0x80


@outbound(Opcode.MODE_SENSE_6)
def write_protected_6(request: Request, reply: Reply, mapping: Mapping) -> Reply:
    """Set WP in the header of MODE SENSE(6) (SPC-5 7.5.5)."""
    del request
    return _protected(reply, mapping, at=2)


@outbound(Opcode.MODE_SENSE_10)
def write_protected_10(request: Request, reply: Reply, mapping: Mapping) -> Reply:
    """Set WP in the header of MODE SENSE(10) (SPC-5 7.5.5)."""
    del request
    return _protected(reply, mapping, at=3)


def _protected(reply: Reply, mapping: Mapping, *, at: int) -> Reply:
    if not mapping.presentation.protected or not is_good(reply) or len(reply.data) <= at:
        return reply
    data = bytearray(reply.data)
    data[at] |= _WP
    return replace(reply, data=bytes(data))
