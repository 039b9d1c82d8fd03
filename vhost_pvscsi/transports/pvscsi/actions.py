"""What a session asks its transport to do, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.transports.memory import MapMemory, Release

if TYPE_CHECKING:
    from vhost_pvscsi.engine import PvscsiSetup
    from vhost_pvscsi.wire.pvscsi_socket import LunReport, Message


@dataclass(frozen=True, slots=True)
class Answer:
    """Send this to the front-end."""

    message: Message


@dataclass(frozen=True, slots=True)
class StartRing:
    """Take requests from the ring; where the guest's page will not do, tell the session."""

    ring: PvscsiSetup


@dataclass(frozen=True, slots=True)
class StopRing:
    """Take no more, let what was taken end, then tell `Session.ring_stopped` how many it was."""


@dataclass(frozen=True, slots=True)
class SetEnabled:
    """Take requests from the running ring, or pause."""

    enabled: bool


@dataclass(frozen=True, slots=True)
class SetCall:
    """Notify the guest of the running ring here from now on."""

    call: int


@dataclass(frozen=True, slots=True)
class AbortCommands:
    """The device is being reset: end every command of this front-end early."""


@dataclass(frozen=True, slots=True)
class SetBackChannel:
    """Tell of LUNs there from now on; the descriptor is the session's."""

    fd: int


@dataclass(frozen=True, slots=True)
class AnswerLuns:
    """Answer GET_LUNS with what is attached, from this identifier on."""

    first: int


@dataclass(frozen=True, slots=True)
class NoteLun:
    """The guest has made this of a LUN."""

    report: LunReport


Action = (
    Answer
    | MapMemory
    | StartRing
    | StopRing
    | SetEnabled
    | SetCall
    | AbortCommands
    | SetBackChannel
    | AnswerLuns
    | NoteLun
    | Release
)
