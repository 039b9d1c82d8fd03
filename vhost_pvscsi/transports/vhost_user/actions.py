"""What a session asks its transport to do, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.transports.memory import MapMemory, Release

if TYPE_CHECKING:
    from vhost_pvscsi.wire.vhost_user import Message


@dataclass(frozen=True, slots=True)
class Answer:
    """Send this to the front-end."""

    message: Message


@dataclass(frozen=True, slots=True)
class StartRing:
    """Take requests from a ring; addresses are the front-end's own."""

    index: int
    size: int
    descriptor: int
    available: int
    used: int
    base: int
    event_idx: bool
    indirect: bool
    kick: int
    call: int


@dataclass(frozen=True, slots=True)
class StopRing:
    """Take no more, let what was taken end, then tell `Session.ring_stopped` the next index."""

    index: int


@dataclass(frozen=True, slots=True)
class SetEnabled:
    """Take requests from a running ring, or pause."""

    index: int
    enabled: bool


@dataclass(frozen=True, slots=True)
class SetCall:
    """Notify the guest of a running ring here from now on."""

    index: int
    call: int


@dataclass(frozen=True, slots=True)
class AbortCommands:
    """The device is being reset: end every command of this front-end early."""


Action = Answer | MapMemory | StartRing | StopRing | SetEnabled | SetCall | AbortCommands | Release
