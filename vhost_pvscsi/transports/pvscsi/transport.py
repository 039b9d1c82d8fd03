"""PvscsiTransport: carries out what a session asks for, on the engine and on the sockets."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar

from vhost_pvscsi.errors import ProtocolError, RingError
from vhost_pvscsi.scsi.request import (
    ManagementOutcome,
    Reply,
    Service,
    TaskFunction,
    TaskManagement,
)
from vhost_pvscsi.transports.base import Happening
from vhost_pvscsi.transports.descriptors import close_all
from vhost_pvscsi.transports.front_end import ConnectedFrontEnd
from vhost_pvscsi.transports.memory import MapMemory, Release
from vhost_pvscsi.wire.pvscsi_socket import (
    MAX_LUNS,
    Kind,
    Lun,
    LunReport,
    Luns,
    LunState,
    Message,
    cut_name,
    encode,
    parse,
)
from vhost_pvscsi.wire.vscsiif import Action as RingAction
from vhost_pvscsi.wire.vscsiif import RequestHead, parse_head

from .actions import (
    AbortCommands,
    Action,
    Answer,
    AnswerLuns,
    NoteLun,
    SetBackChannel,
    SetCall,
    SetEnabled,
    StartRing,
    StopRing,
)
from .back_channel import BackChannel
from .lun_states import LunStates
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from vhost_pvscsi import engine
    from vhost_pvscsi.transports.base import (
        Announcement,
        AttachedLun,
        GuestState,
        TaskManager,
    )
    from vhost_pvscsi.transports.connection import Connection, Frame

log = logging.getLogger(__name__)

#: The one ring.
_RING = 0

#: Linux's xen-scsifront has 128 grants for a request at most, one for each page that each of its
#: buffers touches, and fails one that needs more ("Unable to map request_buffer"), though its
#: max_sectors let it through: buffers of file systems with blocks below a page touch as many
#: pages as there are blocks. Nobody's are smaller than a sector: so many of those need no more.
TRANSFER_LIMIT = 128 * 512
#: What those 128 grants hold at any address: Linux's st gives pages of its own, or one buffer.
BLOCK_LIMIT = 127 * 4096

_ABLE = {True: "enabled", False: "disabled"}

_DONE = frozenset({ManagementOutcome.COMPLETE, ManagementOutcome.SUCCEEDED})


class PvscsiTransport(ConnectedFrontEnd):
    """One pvSCSI front-end."""

    transfer_limit: ClassVar[int] = TRANSFER_LIMIT
    block_limit: ClassVar[int] = BLOCK_LIMIT

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
        self._channel: BackChannel | None = None
        self._states = LunStates()
        #: LUNs that are about to go, and those of them whose end was told on this channel.
        self._parting: dict[int, AttachedLun] = {}
        self._told: set[int] = set()

    def control(self, token: int, data: bytes, writable: int) -> None:
        """Carry out ABORT or RESET of the ring; it is answered when that has ended."""
        del writable  # a slot has room for every answer
        self._begin(self._manage(token, parse_head(data)), "task management of")

    def announce(self, announcement: Announcement) -> None:
        """Tell the front-end of LUNs that come and go; all else is the units' to say."""
        lun = announcement.lun_attached
        if lun is None:
            return
        if announcement.happening is Happening.LUN_ADDED:
            self._tell(lambda channel: channel.added(_lun(lun)))
        elif announcement.happening is Happening.LUN_REMOVED:
            self._states.forget(lun.id)
            self._parting.pop(lun.id, None)
            if lun.id not in self._told:
                self._tell(lambda channel: channel.removed(lun.id))
            self._told.discard(lun.id)

    def guest_state(self, lun: int) -> GuestState:
        """What the guest has made of a LUN."""
        return self._states.of(lun)

    async def part(self, lun: AttachedLun) -> None:
        """Tell of a LUN that it is about to go; returns when the guest has let go of it.

        It is served until then: what a guest has not written yet it writes now.
        """
        if self._tell(lambda channel: channel.removed(lun.id)):
            self._parting[lun.id] = lun
            self._told.add(lun.id)
            await self._states.released(lun.id)

    def _tell(self, notice: Callable[[BackChannel], None]) -> bool:
        if self._channel is None:
            return False
        try:
            notice(self._channel)
        except OSError as error:
            log.warning("%s: its front-end is told of no more LUNs: %s", self._name, error)
            self._lose_channel()
            return False
        return True

    async def _answer(self, frame: Frame) -> None:
        message = parse(frame.header, frame.payload)
        log.debug("%s: %s, %d descriptors", self._name, message, len(frame.fds))
        try:
            await self._carry_out(self._session.receive(message, frame.fds), message)
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

    async def _carry_out(self, actions: list[Action], message: Message | None = None) -> None:
        try:
            for action in actions:
                if isinstance(action, StartRing) and message is not None:
                    if not await self._start(action, message):
                        return
                else:
                    await self._do(action)
        finally:
            for action in actions:
                if isinstance(action, Release):
                    close_all(action.descriptors)

    async def _start(self, order: StartRing, message: Message) -> bool:
        try:
            await self._rings.start_pvscsi(order.ring)
            self._states.ring_started()
        except RingError as error:
            # The guest's doing, which its front-end cannot help: it may hear of it and go on.
            log.warning("%s: %s", self._name, error)
            await self._carry_out(self._session.ring_refused(message))
            return False
        return True

    async def _do(self, action: Action) -> None:
        match action:
            case Answer(message):
                await self._connection.send(encode(message))
            case AnswerLuns(first):
                await self._connection.send(encode(self._luns(first)))
            case MapMemory(regions):
                await self._wait_for(self._rings.set_memory(regions), "its old memory is free")
            case StopRing():
                stopping = self._rings.stop_ring(_RING)
                taken = await self._wait_for(stopping, "the commands of its ring have ended")
                self._states.ring_stopped()
                await self._carry_out(self._session.ring_stopped(taken))
            case SetEnabled(enabled):
                paused = self._rings.set_enabled(_RING, enabled)
                await self._wait_for(paused, f"its ring is {_ABLE[enabled]}")
            case SetCall(call):
                self._rings.set_call(_RING, call)
            case AbortCommands():
                await self._wait_for(self._host.abort(Service.RESET), "its commands have ended")
                await self._manager.device_reset()
            case SetBackChannel(fd):
                self._open_channel(fd)
            case NoteLun(report):
                self._note(report)
            case StartRing() | Release():
                pass  # `_carry_out` does them

    def _open_channel(self, fd: int) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        # What it was told there it may have missed: it is told again.
        self._told.clear()
        try:
            self._channel = BackChannel(fd)
        except OSError as error:
            raise ProtocolError(
                "SET_BACKEND_REQ_FD: its descriptor is no UNIX stream socket",
                hint="one end of a socketpair",
            ) from error

    def _lose_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        for action in self._session.back_channel_lost():
            if isinstance(action, Release):
                close_all(action.descriptors)

    def _luns(self, first: int) -> Message:
        found = sorted((lun for lun in self._manager.luns() if lun.id >= first), key=_by_id)
        told = tuple(_lun(lun) for lun in found[:MAX_LUNS])
        return Message(Kind.GET_LUNS, Luns(told, len(found) - len(told)), reply=True)

    def _note(self, report: LunReport) -> None:
        there = (*self._manager.luns(), *self._parting.values())
        place = next((str(lun) for lun in there if lun.id == report.id), None)
        if place is None:
            return  # it has gone meanwhile
        self._states.note(report)
        if report.state is LunState.FAILED:
            log.warning("%s: the guest did not find the LUN at %s", self._name, place)
        else:
            log.info("%s: LUN at %s: %s", self._name, place, report.state.name.lower())

    async def _manage(self, token: int, head: RequestHead) -> None:
        done = False
        try:
            done = head.channel == 0 and await self._manager.manage(_function(head)) in _DONE
        except Exception:
            # A bug of ours. The request must end all the same: stopping the ring waits for it.
            log.exception("%s: %s was not carried out", self._name, head)
        finally:
            service = Service.COMPLETE if done else Service.FAILURE
            self._host.complete(token, Reply(service=service))

    def _quiet(self) -> None:
        # Nobody is left to let go of anything.
        self._states.ring_stopped()

    async def _give_back(self) -> None:
        self._lose_channel()
        await self._carry_out(self._session.close())


def _function(head: RequestHead) -> TaskManagement:
    if head.action == RingAction.ABORT:
        return TaskManagement(TaskFunction.ABORT_TASK, head.target, head.lun, head.ref_rqid)
    return TaskManagement(TaskFunction.LOGICAL_UNIT_RESET, head.target, head.lun, 0)


def _by_id(lun: AttachedLun) -> int:
    return lun.id


def _lun(lun: AttachedLun) -> Lun:
    place = lun.address
    return Lun(lun.id, place.host, place.channel, place.target, place.lun, cut_name(lun.name))
