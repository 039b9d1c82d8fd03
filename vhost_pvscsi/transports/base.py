"""What adapter.py needs of either kind of front-end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.request import ManagementOutcome, TaskManagement


class TaskManager(Protocol):
    """Carries out task management for a transport; adapter.py is one."""

    async def manage(self, task: TaskManagement) -> ManagementOutcome:
        """Carry out one function; returns when the commands it affects have ended."""


class Transport(Protocol):
    """One connected front-end."""

    async def run(self) -> str:
        """Serve the front-end until it leaves; the reason, in one line, for the log.

        Raises:
            ProtocolError: the front-end broke the rules.

        However it ends, rings are drained and everything the front-end gave is given back.
        """

    def control(self, token: int, data: bytes, writable: int) -> None:
        """A request came on the control ring."""

    def fail(self, reason: str) -> None:
        """The guest's ring is broken: make `run` raise RingError."""

    async def drain(self) -> None:
        """Stop taking requests, end those taken, then make `run` return (SIGTERM)."""
