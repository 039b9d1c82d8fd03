"""VhostUserTransport: carries out what a session asks for, on the engine and on the socket."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vhost_pvscsi.engine import RingKind, RingSetup
from vhost_pvscsi.errors import ProtocolError, RingError
from vhost_pvscsi.scsi.request import ManagementOutcome, Service, TaskManagement
from vhost_pvscsi.transports.descriptors import close_all
from vhost_pvscsi.transports.front_end import ConnectedFrontEnd
from vhost_pvscsi.transports.memory import MapMemory, Release
from vhost_pvscsi.wire.vhost_user import Message, encode, parse
from vhost_pvscsi.wire.virtio_scsi import NotificationRequest

from .actions import (
    AbortCommands,
    Action,
    Answer,
    SetCall,
    SetEnabled,
    StartRing,
    StopRing,
)
from .control import encode_notifications, encode_outcome, judge
from .events import EventRing
from .session import Session

if TYPE_CHECKING:
    from vhost_pvscsi import engine
    from vhost_pvscsi.transports.base import Announcement, TaskManager
    from vhost_pvscsi.transports.connection import Connection, Frame

log = logging.getLogger(__name__)

#: The event ring's index (virtio 1.2, 5.6.2).
_EVENTS = 1

_ABLE = {True: "enabled", False: "disabled"}


class VhostUserTransport(ConnectedFrontEnd):
    """One vhost-user front-end."""

    def __init__(
        self,
        connection: Connection,
        host: engine.Host,
        manager: TaskManager,
        *,
        name: str,
        first: Frame | None = None,
    ) -> None:
        super().__init__(connection, host, name=name, first=first)
        self._manager = manager
        self._session = Session()
        self._events = EventRing(lambda data: self._rings.push_event(_EVENTS, data))

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
        self._begin(self._manage(token, asked), "TMF")

    def announce(self, announcement: Announcement) -> None:
        """Tell the guest what happened, where it wants to know; never waits."""
        self._events.announce(announcement, self._session.features)

    async def _answer(self, frame: Frame) -> None:
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

    def _quiet(self) -> None:
        self._events.forget()

    async def _give_back(self) -> None:
        await self._events.close()
        await self._carry_out(self._session.close())


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
