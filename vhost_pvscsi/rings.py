"""Rings as front-ends describe them, and as the engine is told of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class RingKind(enum.IntEnum):
    """What a queue carries; the numbers are `_engine`'s (QUEUE_CONTROL ...)."""

    CONTROL = 0
    EVENT = 1
    REQUEST = 2


@dataclass(frozen=True, slots=True)
class RingSetup:
    """A split virtqueue as the front-end described it; addresses are the front-end's own."""

    index: int
    kind: RingKind
    size: int
    descriptor: int
    available: int
    used: int
    base: int
    event_idx: bool
    indirect: bool
    kick_fd: int  #: -1: the ring is polled or kicked in-band
    call_fd: int  #: -1: the guest polls


@dataclass(frozen=True, slots=True)
class SharedArea:
    """A piece of a file that the front-end shares."""

    fd: int  #: kept by the caller
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class PvscsiSetup:
    """A pvSCSI ring as its front-end described it."""

    granted: bool  #: `place` is a grant reference, not a guest address
    place: int
    table: SharedArea | None  #: None: frame numbers stand in place of grant references
    domain: int  #: that entries of the table must grant to
    area: SharedArea | None  #: where to note what is in flight
    segments: int  #: most that a request with SG_GRANT has; 0: there are none such
    kick_fd: int  #: -1: the ring is polled
    call_fd: int  #: -1: the guest polls
