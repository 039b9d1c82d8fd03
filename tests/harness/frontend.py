"""FrontEnd: a guest without a guest. It negotiates, shares memory, drives rings, asks SCSI.

    with FrontEnd(socket_path) as guest:
        guest.ready(target=0, lun=0)
        response = guest.scsi(0, 0, bytes.fromhex("120000002400"), data_in=36)
        assert response.good, response

Everything is synchronous; every wait has a deadline and says what was awaited.
"""

from __future__ import annotations

import os
import select
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from . import peer as wire
from .errors import HarnessError
from .memory import GuestMemory
from .peer import DEADLINE, DeadlineError, Peer
from .ring import Buffer, SplitRing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

CONTROL, EVENT, FIRST_REQUEST = 0, 1, 2  # queues

HOTPLUG, CHANGE = 1 << 1, 1 << 2
INDIRECT_DESC, EVENT_IDX, PROTOCOL_FEATURES, VERSION_1 = 1 << 28, 1 << 29, 1 << 30, 1 << 32
MQ, REPLY_ACK, RESET, MEM_SLOTS, STATUS = 1 << 0, 1 << 3, 1 << 13, 1 << 15, 1 << 16

OK, OVERRUN, ABORTED, BAD_TARGET, RESET_RESPONSE, BUSY, FAILURE = 0, 1, 2, 3, 4, 5, 9  # responses
FUNCTION_COMPLETE, FUNCTION_SUCCEEDED, FUNCTION_REJECTED, INCORRECT_LUN = 0, 10, 11, 12
GOOD, CHECK_CONDITION = 0x00, 0x02  # statuses

_REQUEST = struct.Struct("<8sQBBB32s")
_RESPONSE = struct.Struct("<IIHBB96s")
_EVENT = struct.Struct("<I8sI")
_TMF = struct.Struct("<II8sQ")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a request is cut into descriptors."""

    indirect: bool = False
    piece: int | None = None  #: the most that one descriptor holds, of headers and data alike


PLAIN = Layout()


@dataclass(frozen=True, slots=True)
class Response:
    """What became of a command."""

    response: int  #: the device's: OK, BAD_TARGET, ...
    status: int  #: SCSI's, where `response` is OK
    sense: bytes
    resid: int
    data: bytes = field(repr=False)
    written: int  #: bytes that the used ring says were written

    @property
    def good(self) -> bool:
        """Whether the command did what it was asked."""
        return (self.response, self.status) == (OK, GOOD)

    @property
    def sense_code(self) -> tuple[int, int, int]:
        """Sense key, ASC, ASCQ of sense data in either format (SPC-5 4.4)."""
        response_code = self.sense[0] & 0x7F if len(self.sense) >= 8 else 0
        if response_code in (0x72, 0x73):
            return self.sense[1] & 0x0F, self.sense[2], self.sense[3]
        if response_code not in (0x70, 0x71) or len(self.sense) < 14:
            raise HarnessError(f"no sense: {self.sense.hex()}")
        return self.sense[2] & 0x0F, self.sense[12], self.sense[13]


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that is on its way."""

    queue: int
    number: int  #: of the requests of that queue
    out: Buffer
    into: Buffer
    name: str


class Queue:
    """One ring with its eventfds."""

    def __init__(self, index: int, ring: SplitRing) -> None:
        self.index = index
        self.ring = ring
        self.kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.call = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # By number, because a head is used again before its last request was asked for.
        self.done: dict[int, int] = {}  # request -> bytes written, not asked for yet
        self._numbers: dict[int, int] = {}  # head -> request
        self._offered = 0

    def offer(self, buffers: list[Buffer], *, indirect: bool) -> int:
        """Make a request available; its number."""
        self._offered += 1
        self._numbers[self.ring.offer(buffers, indirect=indirect)] = self._offered
        return self._offered

    def kick_if_wanted(self) -> None:
        """Tell the back-end of the chain just offered, where it wants to be told."""
        if self.ring.kick_wanted():
            os.eventfd_write(self.kick, 1)

    def collect(self) -> bool:
        """Take what has been used; whether there was anything."""
        used = self.ring.collect()
        for head, written in used:
            # Chains that a test has put into the ring by itself have no number.
            if (number := self._numbers.pop(head, None)) is not None:
                self.done[number] = written
        return bool(used)

    def close(self) -> None:
        """Close the eventfds."""
        os.close(self.kick)
        os.close(self.call)


class FrontEnd:
    """One connected virtio-scsi driver and the VMM beneath it.

    Args:
        where: the socket's path, or a connected `Peer`.
        request_queues: beside the control and the event queue.
        features: bits to acknowledge; those that the back-end lacks are refused here.
    """

    def __init__(
        self,
        where: Path | str | Peer,
        *,
        request_queues: int = 1,
        queue_size: int = 128,
        memory: GuestMemory | None = None,
        features: int = VERSION_1 | INDIRECT_DESC | EVENT_IDX | PROTOCOL_FEATURES,
        deadline: float = DEADLINE,
    ) -> None:
        self.peer = where if isinstance(where, Peer) else Peer.connect(where, deadline=deadline)
        self.memory = memory or GuestMemory()
        self.features = features
        self.deadline = deadline
        event_idx = bool(features & EVENT_IDX)
        self.queues = [
            Queue(index, SplitRing(self.memory, queue_size, event_idx=event_idx))
            for index in range(FIRST_REQUEST + request_queues)
        ]
        self._tag = 0
        self._started: set[int] = set()

    # -- a VMM's part

    def start(self) -> Self:
        """Negotiate, share memory, start and enable every ring."""
        self.negotiate()
        self.share_memory()
        for queue in self.queues:
            self.start_ring(queue.index)
        return self

    def negotiate(self) -> None:
        """Agree on features, in QEMU's order."""
        offered = self.peer.ask_number(wire.GET_FEATURES)
        if missing := self.features & ~offered:
            raise HarnessError(f"the back-end does not offer feature bits {missing:#x}")
        if self.features & PROTOCOL_FEATURES:
            extensions = self.peer.ask_number(wire.GET_PROTOCOL_FEATURES)
            extensions &= MQ | REPLY_ACK | RESET | MEM_SLOTS | STATUS
            self.peer.send(wire.SET_PROTOCOL_FEATURES, wire.number(extensions))
        self.peer.send(wire.SET_OWNER)
        self.peer.send(wire.SET_FEATURES, wire.number(self.features))

    def share_memory(self) -> None:
        """Give the back-end all of guest memory."""
        memory = self.memory
        table = wire.memory_table(wire.region(memory.guest_base, memory.size, memory.user_base))
        self.peer.send(wire.SET_MEM_TABLE, table, [memory.fd])

    def start_ring(self, index: int, base: int = 0, *, resume: bool = False) -> None:
        """Describe a ring, start it where it was stopped, enable it.

        With `resume` it goes on after what was answered, with all that lies in it.
        """
        queue, send, user = self.queues[index], self.peer.send, self.memory.user_address
        ring = queue.ring
        if resume:
            base = ring.used_position
        else:
            ring.start_at(base)
        send(wire.SET_VRING_NUM, wire.vring(index, ring.size))
        send(wire.SET_VRING_BASE, wire.vring(index, base))
        send(
            wire.SET_VRING_ADDR,
            wire.vring_address(
                index, user(ring.descriptors), user(ring.available), user(ring.used)
            ),
        )
        send(wire.SET_VRING_KICK, wire.vring_file(index), [queue.kick])
        send(wire.SET_VRING_CALL, wire.vring_file(index), [queue.call])
        if self.features & PROTOCOL_FEATURES:
            send(wire.SET_VRING_ENABLE, wire.vring(index, 1))
        self._started.add(index)
        # Until the call has arrived nobody would tell us of an answer.
        self.synchronize()

    def stop_ring(self, index: int) -> int:
        """Stop a ring; the back-end's next available index. What it answered is still there."""
        answer = self.peer.ask(wire.GET_VRING_BASE, wire.vring(index, 0))
        self._started.discard(index)
        self.queues[index].collect()
        stopped, base = struct.unpack("<II", answer)
        if stopped != index:
            raise HarnessError(f"asked for ring {index}, the back-end stopped ring {stopped}")
        return int(base)

    def stop(self) -> list[int]:
        """Stop every ring, as at a shutdown of the guest; their indices."""
        return [self.stop_ring(index) for index in sorted(self._started)]

    def synchronize(self) -> None:
        """Wait until the back-end has carried out every message so far."""
        self.peer.ask_number(wire.GET_FEATURES)

    def reconnect(self, where: Path | str) -> None:
        """Connect anew, with the same memory; what was in flight is forgotten."""
        self.peer.close()
        self.peer = Peer.connect(where, deadline=self.deadline)
        self._started.clear()
        self.start()

    def resume(self, where: Path | str) -> None:
        """Connect anew after a back-end has died, as QEMU does: what it left is the next one's."""
        self.peer.close()
        self.peer = Peer.connect(where, deadline=self.deadline)
        self._started.clear()
        self.negotiate()
        self.share_memory()
        for queue in self.queues:
            self.start_ring(queue.index, resume=True)

    def leave(self) -> None:
        """Close the connection without stopping anything first."""
        self.peer.close()

    def close(self) -> None:
        """Leave and give everything back."""
        self.peer.close()
        for queue in self.queues:
            queue.close()
        self.memory.close()

    # -- a driver's part

    def scsi(
        self,
        target: int,
        lun: int,
        cdb: bytes,
        *,
        data_out: bytes = b"",
        data_in: int = 0,
        queue: int = FIRST_REQUEST,
        tag: int | None = None,
        layout: Layout = PLAIN,
    ) -> Response:
        """Send one command and wait for its end."""
        return self.wait(
            self.submit(
                target,
                lun,
                cdb,
                data_out=data_out,
                data_in=data_in,
                queue=queue,
                tag=tag,
                layout=layout,
            )
        )

    def submit(
        self,
        target: int,
        lun: int,
        cdb: bytes,
        *,
        data_out: bytes = b"",
        data_in: int = 0,
        queue: int = FIRST_REQUEST,
        tag: int | None = None,
        layout: Layout = PLAIN,
    ) -> Pending:
        """Send one command; `wait` for it later."""
        if tag is None:
            self._tag += 1
            tag = self._tag
        header = _REQUEST.pack(lun_field(target, lun), tag, 0, 0, 0, cdb)
        return self.submit_bytes(
            queue,
            header + data_out,
            _RESPONSE.size + data_in,
            name=f"CDB {cdb.hex()} to {target}:{lun}",
            split=(len(header), _RESPONSE.size),
            layout=layout,
        )

    def wait(self, pending: Pending, *, deadline: float | None = None) -> Response:
        """Wait for a command's end."""
        written, answer = self.wait_bytes(pending, deadline=deadline)
        sense_length, resid, _, status, response, sense = _RESPONSE.unpack_from(answer)
        return Response(
            response=response,
            status=status,
            sense=sense[: min(sense_length, len(sense))],
            resid=resid,
            data=answer[_RESPONSE.size :],
            written=written,
        )

    def ready(self, target: int = 0, lun: int = 0) -> None:
        """Ask TEST UNIT READY until the unit attentions of a new nexus are used up."""
        for _ in range(8):
            response = self.scsi(target, lun, bytes(6))
            if response.good:
                return
        raise HarnessError(f"{target}:{lun} is not ready: {response}")

    def tmf(self, subtype: int, target: int, lun: int, tag: int = 0) -> int:
        """Send a task management function and wait for its response."""
        return self.wait_tmf(self.submit_tmf(subtype, target, lun, tag))

    def submit_tmf(self, subtype: int, target: int, lun: int, tag: int = 0) -> Pending:
        """Send a task management function; `wait_tmf` for it later."""
        data = _TMF.pack(0, subtype, lun_field(target, lun), tag)
        return self.submit_bytes(CONTROL, data, 1, name=f"TMF {subtype} to {target}:{lun}")

    def wait_tmf(self, pending: Pending) -> int:
        """Wait for the response of a task management function."""
        written, answer = self.wait_bytes(pending)
        if written != 1:
            raise HarnessError(f"{pending.name}: {written} bytes were written, not 1")
        return answer[0]

    def offer_events(self, count: int) -> list[Pending]:
        """Put empty buffers on the event ring."""
        return [self.submit_bytes(EVENT, b"", _EVENT.size, name="event") for _ in range(count)]

    def wait_event(self, pending: Pending) -> tuple[int, bytes, int]:
        """Wait for an event in that buffer: event, LUN field, reason."""
        _, answer = self.wait_bytes(pending)
        event, lun, reason = _EVENT.unpack(answer)
        return event, lun, reason

    # -- beneath both

    def submit_bytes(
        self,
        queue: int,
        out: bytes,
        room: int,
        *,
        name: str,
        split: tuple[int, int] = (0, 0),
        layout: Layout = PLAIN,
    ) -> Pending:
        """Put any request on any ring: `out` to be read, `room` bytes to be written.

        `split` says after how many bytes of each a new descriptor begins.
        """
        readable = Buffer(self.memory.allocate(max(len(out), 1)), len(out))
        writable = Buffer(self.memory.allocate(max(room, 1)), room, writable=True)
        self.memory.write(readable.address, out)
        self.memory.write(writable.address, b"\xa5" * room)  # so that what nobody wrote is seen
        buffers = _cut(readable, split[0], layout.piece) + _cut(writable, split[1], layout.piece)
        chosen = self.queues[queue]
        number = chosen.offer(buffers, indirect=layout.indirect)
        chosen.kick_if_wanted()
        return Pending(queue, number, readable, writable, name)

    def wait_bytes(self, pending: Pending, *, deadline: float | None = None) -> tuple[int, bytes]:
        """Wait for any request: bytes written as the ring says, and its whole room."""
        queue = self.queues[pending.queue]
        self._wait_until(lambda: pending.number in queue.done, queue, pending.name, deadline)
        written = queue.done.pop(pending.number)
        data = self.memory.read(pending.into.address, pending.into.length)
        self.memory.free(pending.out.address, max(pending.out.length, 1))
        self.memory.free(pending.into.address, max(pending.into.length, 1))
        return written, data

    def is_done(self, pending: Pending) -> bool:
        """Whether a request has ended, without waiting."""
        queue = self.queues[pending.queue]
        queue.collect()
        return pending.number in queue.done

    def _wait_until(
        self, done: Callable[[], bool], queue: Queue, what: str, deadline: float | None
    ) -> None:
        seconds = self.deadline if deadline is None else deadline
        end = time.monotonic() + seconds
        while True:
            queue.collect()
            if done():
                return
            queue.ring.want_calls()
            if queue.collect():
                continue  # asked too early: for one that had come, not for the next
            # The socket is watched too: a back-end that closes it will not answer any more.
            connection = self.peer.socket.fileno()
            watched = [queue.call, connection] if connection >= 0 else [queue.call]
            left = end - time.monotonic()
            heard = select.select(watched, [], [], max(left, 0))[0]
            if queue.call in heard:
                os.eventfd_read(queue.call)
            elif heard:
                queue.collect()
                if done():
                    return
                raise HarnessError(f"the back-end closed the connection before the end of {what}")
            elif left <= 0:
                raise DeadlineError(f"waited {seconds:g} s for the end of {what}")

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def lun_field(target: int, lun: int) -> bytes:
    """Write a LUN as Linux does in commands: the flat-space bit always set."""
    return bytes((1, target, 0x40 | lun >> 8, lun & 0xFF, 0, 0, 0, 0))


def _cut(whole: Buffer, first: int, piece: int | None) -> list[Buffer]:
    """Cut a buffer after `first` bytes, and both parts into pieces."""
    parts: list[Buffer] = []
    for start, end in ((0, first), (first, whole.length)):
        step = piece or max(end - start, 1)
        parts.extend(
            Buffer(whole.address + at, min(step, end - at), whole.writable)
            for at in range(start, end, step)
        )
    return parts
