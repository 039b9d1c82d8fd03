"""Asking a unit for more than the guest did: a reply that is rewritten must be whole first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.request import Reply, Service, Status

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Field
    from vhost_pvscsi.scsi.request import Request


def whole(request: Request, allocation_length: Field, room: int) -> Request:
    """Make the request that asks for at least `room` bytes of parameter data."""
    asked = max(allocation_length.read(request.cdb), room)
    bits = int.from_bytes(request.cdb, "big")
    mask = allocation_length.place((1 << allocation_length.width) - 1, len(request.cdb))
    bits &= ~int.from_bytes(mask, "big")
    bits |= int.from_bytes(allocation_length.place(asked, len(request.cdb)), "big")
    return replace(
        request,
        cdb=bits.to_bytes(len(request.cdb), "big"),
        data_in_length=max(request.data_in_length, room),
    )


def as_asked(request: Request, reply: Reply) -> Reply:
    """Leave a reply as it is, but for data that the guest has no room for.

    A device may refuse what it was asked, and say no residual: all the room that `whole` made
    counts as data then.
    """
    room = request.data_in_length
    return replace(reply, data=reply.data[:room]) if len(reply.data) > room else reply


def is_good(reply: Reply) -> bool:
    """Whether a reply has parameter data; any other is left as it is."""
    return reply.service is Service.COMPLETE and reply.status is Status.GOOD
