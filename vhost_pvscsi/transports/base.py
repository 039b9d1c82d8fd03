"""What adapter.py needs of either kind of front-end."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vhost_pvscsi.identity import Address
    from vhost_pvscsi.scsi.request import ManagementOutcome, TaskManagement


class Happening(enum.Enum):
    """What a guest is told unasked."""

    LUN_ADDED = enum.auto()
    LUN_REMOVED = enum.auto()
    LUN_RESET = enum.auto()
    PARAMETERS_CHANGED = enum.auto()
    NOTIFICATION = enum.auto()  #: to those who subscribed


class GuestState(enum.Enum):
    """What a guest has made of a LUN, as far as its front-end says; the values are for people."""

    OFFERED = "offered"  #: nothing yet
    CONNECTED = "connected"  #: it has a device
    FAILED = "failed"  #: it did not find it
    REMOVED = "removed"  #: it has let go of it


@dataclass(frozen=True, slots=True)
class AttachedLun:
    """A LUN, as front-ends are told that ask which there are."""

    id: int  #: of the mapping: unique in the process, and never used again
    address: Address
    name: str

    def __str__(self) -> str:
        return f"{self.address} ({self.name})"


@dataclass(frozen=True, slots=True)
class Announcement:
    """Something that happened to a LUN."""

    happening: Happening
    target: int
    lun: int
    #: PARAMETERS_CHANGED: ASC in the low byte, ASCQ above it; NOTIFICATION: the set of events.
    detail: int = 0
    lun_attached: AttachedLun | None = None  #: LUN_ADDED, LUN_REMOVED: which it is, or was


class TaskManager(Protocol):
    """Carries out task management for a transport; adapter.py is one."""

    def notifications(self, target: int, lun: int) -> int | ManagementOutcome:
        """Say which asynchronous notifications a LUN can give; an outcome where there is no LUN."""

    async def device_reset(self) -> None:
        """The guest has reset its adapter; its commands have been ended by the caller."""

    def luns(self) -> Iterable[AttachedLun]:
        """All that is attached, in no certain order."""

    async def manage(self, task: TaskManagement) -> ManagementOutcome:
        """Carry out one function; returns when the commands it affects have ended."""


class Transport(Protocol):
    """One connected front-end."""

    @property
    def transfer_limit(self) -> int:
        """Bytes in one command that its guests' drivers surely get through, 0: no limit."""

    @property
    def block_limit(self) -> int:
        """Bytes in one command that its ring can carry at all, 0: no limit."""

    async def run(self) -> str:
        """Serve the front-end until it leaves; the reason, in one line, for the log.

        Raises:
            ProtocolError: the front-end broke the rules.

        However it ends, rings are drained and everything the front-end gave is given back.
        """

    def control(self, token: int, data: bytes, writable: int) -> None:
        """A request came on the control ring, or task management on a ring of Xen's."""

    def announce(self, announcement: Announcement) -> None:
        """Tell the guest what happened, where it wants to know; never waits."""

    def guest_state(self, lun: int) -> GuestState | None:
        """What the guest has made of a LUN; None: front-ends of that kind do not say."""

    async def part(self, lun: AttachedLun) -> None:
        """Tell the guest that a LUN is about to go; returns when it has let go of it.

        At once, where a front-end does not hear of it, or does not say when that is.
        """

    def fail(self, reason: str) -> None:
        """The guest's ring is broken: make `run` raise RingError."""

    async def drain(self) -> None:
        """Stop taking requests, end those taken, then make `run` return (SIGTERM)."""
