"""VhostUserTransport: carries out what a session asks for, on the engine and on the socket."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from vhost_pvscsi.engine import RingKind, RingSetup
from vhost_pvscsi.errors import ProtocolError, RingError
from vhost_pvscsi.identity import MAX_REQUEST_QUEUES
from vhost_pvscsi.scsi.request import ManagementOutcome, Service, TaskManagement
from vhost_pvscsi.transports.descriptors import close_all
from vhost_pvscsi.wire.vhost_user import Message, encode, parse
from vhost_pvscsi.wire.virtio_scsi import NotificationRequest

from .actions import (
    AbortCommands,
    Action,
    Answer,
    MapMemory,
    Release,
    SetCall,
    SetEnabled,
    StartRing,
    StopRing,
)
from .control import encode_notifications, encode_outcome, judge
from .events import EventRing
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from vhost_pvscsi import engine
    from vhost_pvscsi.transports.base import Announcement, TaskManager
    from vhost_pvscsi.transports.connection import Connection, Frame

log = logging.getLogger(__name__)

#: How long the engine may take before a log line says that somebody waits, in seconds.
PATIENCE = 5.0

#: The event ring's index (virtio 1.2, 5.6.2).
_EVENTS = 1
#: Rings that are no request queues: control and events.
_OTHER_QUEUES = 2

_ABLE = {True: "enabled", False: "disabled"}

_Result = TypeVar("_Result")


class VhostUserTransport:
    """One vhost-user front-end. It owns its connection and its part of the engine.

    `run` must be awaited, once: it gives all of it back.
    """

    def __init__(
        self,
        connection: Connection,
        host: engine.Host,
        manager: TaskManager,
        *,
        name: str,
        request_queues: int = MAX_REQUEST_QUEUES,
    ) -> None:
        self._connection = connection
        self._host = host
        self._manager = manager
        self._name = name
        self._session = Session(request_queues + _OTHER_QUEUES)
        self._rings = host.add_session()
        self._events = EventRing(lambda data: self._rings.push_event(_EVENTS, data))
        self._tasks: set[asyncio.Task[None]] = set()
        # What ends `run` other than the front-end: a reason, or a RingError.
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._gone = asyncio.Event()

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
        serving = asyncio.create_task(self._serve(), name=f"vhost-user {self._name}")
        try:
            await asyncio.wait({serving, self._end}, return_when=asyncio.FIRST_COMPLETED)
            return (self._end if self._end.done() else serving).result()
        finally:
            await self._finish(serving)

    def control(self, token: int, data: bytes, writable: int) -> None:
        """Answer a request of the control ring, at once or when its task function has ended."""
        try:
            asked = judge(data, writable)
        except RingError as error:
            # The request ends all the same: stopping the ring waits for it.
            self._rings.complete_control(token, b"")
            self.fail(str(error))
            return
        if isinstance(asked, bytes):
            self._rings.complete_control(token, asked)
            return
        if isinstance(asked, NotificationRequest):
            self._rings.complete_control(token, self._notify(asked))
            return
        task = asyncio.create_task(self._manage(token, asked), name=f"TMF {self._name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def announce(self, announcement: Announcement) -> None:
        """Tell the guest what happened, where it wants to know; never waits."""
        self._events.announce(announcement, self._session.features)

    def fail(self, reason: str) -> None:
        """Make `run` raise RingError: the guest's ring is broken."""
        if not self._end.done():
            self._end.set_exception(RingError(reason))

    async def drain(self) -> None:
        """Take no more requests, end those taken; returns when `run` is about to return."""
        if not self._end.done():
            self._end.set_result("the back-end is stopping")
        await self._gone.wait()

    async def _serve(self) -> str:
        while True:
            try:
                frame = await self._connection.receive()
                if frame is None:
                    return "the front-end left"
                await self._answer(frame)
            except ConnectionError:
                return "the front-end left without waiting for an answer"

    async def _answer(self, frame: Frame) -> None:
        with frame.fds:
            message = parse(frame.header, frame.payload)
            log.debug("%s: %s, %d descriptors", self._name, message, len(frame.fds))
            try:
                await self._carry_out(self._session.receive(message, frame.fds))
            except ProtocolError:
                await self._refuse(message)
                raise

    async def _refuse(self, message: Message) -> None:
        refusal = self._session.refusal(message)
        if refusal is not None:
            try:
                await self._connection.send(encode(refusal.message))
            except ConnectionError:
                return  # why the message was refused is worth more in the log

    async def _carry_out(self, actions: list[Action]) -> None:
        try:
            for action in actions:
                await self._do(action)
        finally:
            for action in actions:
                if isinstance(action, Release):
                    close_all(action.descriptors)

    async def _do(self, action: Action) -> None:
        match action:
            case Answer(message):
                await self._connection.send(encode(message))
            case MapMemory(regions):
                await self._wait_for(self._rings.set_memory(regions), "its old memory is free")
            case StartRing():
                await self._rings.start_ring(_ring_setup(action))
                if action.index == _EVENTS:
                    self._events.start()
            case StopRing(index):
                await self._stop_ring(index)
            case SetEnabled(index, enabled):
                paused = self._rings.set_enabled(index, enabled)
                await self._wait_for(paused, f"ring {index} is {_ABLE[enabled]}")
            case SetCall(index, call):
                self._rings.set_call(index, call)
            case AbortCommands():
                self._events.forget()
                await self._wait_for(self._host.abort(Service.RESET), "its commands have ended")
                await self._manager.device_reset()
            case Release():
                pass  # `_carry_out` does it when all others are done

    async def _stop_ring(self, index: int) -> None:
        if index == _EVENTS:
            self._events.stop()
        base = await self._wait_for(
            self._rings.stop_ring(index), f"the commands of ring {index} have ended"
        )
        await self._carry_out(self._session.ring_stopped(index, base))

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

    def _notify(self, asked: NotificationRequest) -> bytes:
        address = asked.address
        if address is None:
            return encode_notifications(ManagementOutcome.BAD_TARGET, 0)[1]
        possible = self._manager.notifications(address.target, address.lun)
        actual, answer = encode_notifications(possible, asked.events)
        if asked.subscribe:
            self._events.subscribe(address, actual)
        return answer

    async def _manage(self, token: int, asked: TaskManagement) -> None:
        outcome = ManagementOutcome.FAILED
        try:
            outcome = await self._manager.manage(asked)
        except Exception:
            # A bug of ours. The request must end all the same: stopping the ring waits for it.
            log.exception("%s: %s was not carried out", self._name, asked)
        finally:
            self._rings.complete_control(token, encode_outcome(outcome))

    async def _finish(self, serving: asyncio.Task[str]) -> None:
        """Give everything back, however `run` ends."""
        draining = self._end.done() and not self._end.cancelled() and not self._end.exception()
        try:
            serving.cancel()
            await asyncio.wait({serving})
            if not serving.cancelled():
                serving.exception()  # seen, even where another reason is told
            if not draining:
                # Nobody waits for these commands, but the next front-end waits for their end.
                await self._wait_for(self._host.abort(Service.RESET), "its commands have ended")
            self._events.forget()
            await self._wait_for(self._rings.close(), "its rings have stopped")
            await self._events.close()
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            await self._carry_out(self._session.close())
            self._connection.close()
            self._gone.set()
            self._end.cancel()


def _ring_setup(order: StartRing) -> RingSetup:
    kinds = {0: RingKind.CONTROL, 1: RingKind.EVENT}  # virtio 1.2, 5.6.2
    return RingSetup(
        index=order.index,
        kind=kinds.get(order.index, RingKind.REQUEST),
        size=order.size,
        descriptor=order.descriptor,
        available=order.available,
        used=order.used,
        base=order.base,
        event_idx=order.event_idx,
        indirect=order.indirect,
        kick_fd=order.kick,
        call_fd=order.call,
    )
