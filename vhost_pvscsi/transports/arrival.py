"""Arrival: a front-end of either kind. Its first message tells which."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from vhost_pvscsi.wire.pvscsi_socket import Kind

from .pvscsi.transport import PvscsiTransport
from .vhost_user.transport import VhostUserTransport

if TYPE_CHECKING:
    from vhost_pvscsi import engine

    from .base import Announcement, AttachedLun, GuestState, TaskManager
    from .connection import Connection, Frame

STOPPING = "the back-end is stopping"


class Arrival:
    """A connection whose first message has not come yet, and what it turns out to be.

    `run` must be awaited, once: it closes the connection.
    """

    def __init__(
        self,
        connection: Connection,
        host: engine.Host,
        manager: TaskManager,
        *,
        name: str,
        request_queues: int,
    ) -> None:
        self._connection = connection
        self._host = host
        self._manager = manager
        self._name = name
        self._request_queues = request_queues
        self._known: PvscsiTransport | VhostUserTransport | None = None
        self._drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone = asyncio.Event()

    @property
    def session_id(self) -> int | None:
        """The engine's number for this front-end; None while its kind is not known."""
        return self._known.session_id if self._known else None

    @property
    def transfer_limit(self) -> int:
        """Bytes in one command that its driver surely gets through, 0: no limit."""
        return self._known.transfer_limit if self._known else 0

    @property
    def block_limit(self) -> int:
        """Bytes in one command that its ring can carry at all, 0: no limit."""
        return self._known.block_limit if self._known else 0

    @property
    def leaving(self) -> bool:
        """Whether `run` is about to return: the front-end has left, or was told to."""
        if self._known is not None:
            return self._known.leaving
        return self._drained.done() or self._connection.hung_up

    async def run(self) -> str:
        """Serve the front-end until it leaves; as `base.Transport.run`."""
        try:
            first = await self._first()
            if isinstance(first, str):
                return first
            self._known = self._recognize(first)
            return await self._known.run()
        finally:
            self._connection.close()
            self._gone.set()
            self._drained.cancel()

    def _recognize(self, first: Frame) -> PvscsiTransport | VhostUserTransport:
        to = (self._connection, self._host, self._manager)
        if first.header.request == Kind.HELLO:
            return PvscsiTransport(*to, name=self._name, first=first)
        queues = self._request_queues
        return VhostUserTransport(*to, name=self._name, first=first, request_queues=queues)

    async def _first(self) -> Frame | str:
        """The first message, or why there is none."""
        receiving = asyncio.create_task(self._connection.receive(), name=f"first {self._name}")
        either: set[asyncio.Future[Any]] = {receiving, self._drained}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            receiving.cancel()
            await asyncio.wait({receiving})
        frame = None if receiving.cancelled() else receiving.result()
        if not self._drained.done():
            return frame or "the front-end left"
        if frame is not None:
            frame.fds.close()
        return STOPPING

    def control(self, token: int, data: bytes, writable: int) -> None:
        """Pass on a request of task management."""
        if self._known is not None:
            self._known.control(token, data, writable)

    def announce(self, announcement: Announcement) -> None:
        """Tell the guest what happened; before its first message it knows nothing yet."""
        if self._known is not None:
            self._known.announce(announcement)

    def guest_state(self, lun: int) -> GuestState | None:
        """What the guest has made of a LUN; None: nobody says."""
        return self._known.guest_state(lun) if self._known else None

    async def part(self, lun: AttachedLun) -> None:
        """Let the guest let go of a LUN that is about to go."""
        if self._known is not None:
            await self._known.part(lun)

    def fail(self, reason: str) -> None:
        """Make `run` raise RingError: the guest's ring is broken."""
        if self._known is not None:
            self._known.fail(reason)

    async def drain(self) -> None:
        """Stop taking requests, end those taken, then make `run` return (SIGTERM)."""
        if self._known is not None:
            await self._known.drain()
            return
        if not self._drained.done():
            self._drained.set_result(None)
        await self._gone.wait()
