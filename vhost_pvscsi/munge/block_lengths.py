"""READ BLOCK LIMITS: how long a tape's block may be, as far as others than the tape have a say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.codes import SequentialOpcode
from vhost_pvscsi.scsi.sequential import limit_blocks

from .asking import is_good
from .registry import outbound

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.request import Reply, Request
    from vhost_pvscsi.translation import Mapping


@outbound(SequentialOpcode.READ_BLOCK_LIMITS)
def as_carried(request: Request, reply: Reply, mapping: Mapping) -> Reply:
    """Tell of no longer blocks than the guest's ring carries, or `max-transfer` says (SSC-5)."""
    said = mapping.presentation.max_transfer
    limit = request.block_limit if said is None else said
    # MLOI asks for something else (SSC-5): the largest object identifier.
    if not limit or not is_good(reply) or request.cdb[1] & 0x01:
        return reply
    return replace(reply, data=limit_blocks(reply.data, limit))
