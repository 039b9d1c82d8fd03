"""ConnectedFrontEnd: what serving a front-end is, of either kind: messages until it leaves."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, ClassVar, TypeVar

from vhost_pvscsi.errors import RingError
from vhost_pvscsi.scsi.request import Service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from vhost_pvscsi import engine

    from .base import AttachedLun, GuestState
    from .connection import Connection, Frame

log = logging.getLogger(__name__)

#: How long the engine may take before a log line says that somebody waits, in seconds.
PATIENCE = 5.0

_Result = TypeVar("_Result")


class ConnectedFrontEnd:
    """One front-end. It owns its connection and its part of the engine.

    `run` must be awaited, once: it gives all of it back. What its messages mean is for those
    that are made of it: they say `_answer`, `_quiet` and `_give_back`.

    Args:
        first: a message that was taken from the connection already.
    """

    def __init__(
        self, connection: Connection, host: engine.Host, *, name: str, first: Frame | None = None
    ) -> None:
        self._connection = connection
        self._host = host
        self._name = name
        self._first = first
        self._rings = host.add_session()
        self._tasks: set[asyncio.Task[None]] = set()
        # What ends `run` other than the front-end: a reason, or a RingError.
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._gone = asyncio.Event()

    #: Bytes in one command that drivers of such rings surely get through, 0: no limit.
    transfer_limit: ClassVar[int] = 0
    #: Bytes in one command that such rings can carry at all, 0: no limit.
    block_limit: ClassVar[int] = 0

    @property
    def session_id(self) -> int:
        """The engine's number for this front-end, as its events name it."""
        return self._rings.id

    @property
    def leaving(self) -> bool:
        """Whether `run` is about to return: the front-end has left, or was told to."""
        return self._end.done() or self._connection.hung_up

    async def run(self) -> str:
        """Serve the front-end until it leaves; the reason, in one line, for the log.

        Raises:
            ProtocolError: the front-end broke the rules.
            RingError: its guest did, or the engine cannot go on with its rings.
        """
        serving = asyncio.create_task(self._serve(), name=f"front-end of {self._name}")
        try:
            await asyncio.wait({serving, self._end}, return_when=asyncio.FIRST_COMPLETED)
            return (self._end if self._end.done() else serving).result()
        finally:
            await self._finish(serving)

    def guest_state(self, lun: int) -> GuestState | None:
        """What the guest has made of a LUN; None: front-ends of that kind do not say."""
        del lun
        return None

    async def part(self, lun: AttachedLun) -> None:
        """Let the guest let go of a LUN that is about to go, where it says when it has done so."""

    def fail(self, reason: str) -> None:
        """Make `run` raise RingError: the guest's ring is broken."""
        if not self._end.done():
            self._end.set_exception(RingError(reason))

    async def drain(self) -> None:
        """Take no more requests, end those taken; returns when `run` is about to return."""
        if not self._end.done():
            self._end.set_result("the back-end is stopping")
        await self._gone.wait()

    async def _answer(self, frame: Frame) -> None:
        """Carry out one message; its descriptors are the caller's to close."""
        raise NotImplementedError

    def _quiet(self) -> None:
        """Tell the guest nothing more: its rings are about to stop."""

    async def _give_back(self) -> None:
        """Give back what the front-end gave; its rings have stopped."""

    async def _serve(self) -> str:
        while True:
            try:
                frame, self._first = self._first, None
                frame = frame or await self._connection.receive()
                if frame is None:
                    return "the front-end left"
                with frame.fds:
                    await self._answer(frame)
            except ConnectionError:
                return "the front-end left without waiting for an answer"

    def _begin(self, work: Coroutine[None, None, None], what: str) -> None:
        """Let something go on beside the messages; the end waits for it."""
        task = asyncio.create_task(work, name=f"{what} {self._name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait_for(self, work: Awaitable[_Result], what: str) -> _Result:
        """Wait as long as it takes, and say so now and then."""
        task = asyncio.ensure_future(work)
        patience, waited = PATIENCE, 0.0
        try:
            while not (await asyncio.wait({task}, timeout=patience))[0]:
                waited += patience
                log.warning("%s: waiting for %.0f s until %s", self._name, waited, what)
                patience *= 2
            return task.result()
        finally:
            task.cancel()

    async def _finish(self, serving: asyncio.Task[str]) -> None:
        """Give everything back, however `run` ends."""
        draining = self._end.done() and not self._end.cancelled() and not self._end.exception()
        try:
            serving.cancel()
            await asyncio.wait({serving})
            if not serving.cancelled():
                serving.exception()  # seen, even where another reason is told
            if self._first is not None:
                self._first.fds.close()
            if not draining:
                # Nobody waits for these commands, but the next front-end waits for their end.
                await self._wait_for(self._host.abort(Service.RESET), "its commands have ended")
            self._quiet()
            await self._wait_for(self._rings.close(), "its rings have stopped")
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            await self._give_back()
            self._connection.close()
            self._gone.set()
            self._end.cancel()
