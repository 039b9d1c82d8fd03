"""PvscsiFrontEnd: a Xen guest without Xen. Ring, grants and event channels are memfds and eventfds.

    with PvscsiFrontEnd(socket_path) as guest:
        guest.ready()
        assert guest.scsi(0, 0, bytes.fromhex("120000002400"), data_in=36).good

It packs everything by itself, from docs/pvscsi-socket.md. Every wait has a deadline.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from . import peer as wire
from . import xen_ring as xen
from .errors import HarnessError
from .memory import GuestMemory
from .peer import DEADLINE, DeadlineError, Peer
from .xen_ring import PAGE, Answer, GrantTable, Segment, XenRing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

HELLO, SET_GRANT_TABLE, SET_RING, SET_EVENT_CHANNEL = 0x5000, 0x5001, 0x5002, 0x5003
SET_INFLIGHT, GET_LUNS, LUN_STATE = 0x5004, 0x5005, 0x5006
LUN_ADD, LUN_REMOVE = 0x5100, 0x5101
GRANT_TABLE, TRANSLATED, GNTDEV, EVENT_CHANNEL, INFLIGHT = 1, 2, 4, 8, 16  # abilities
SG_GRANT = 1
REPLY_ACK, BACKEND_REQ, RESET, MEM_SLOTS = 1 << 3, 1 << 5, 1 << 13, 1 << 15
CONNECTED, FAILED, REMOVED = 1, 2, 3  # LUN states
DONE, REFUSED, GUEST_FAULT = 0, 1, 2  # acknowledgements
DID_NO_CONNECT, DID_BUS_BUSY, DID_ABORT, DID_ERROR, DID_RESET = 1, 2, 5, 7, 8
SUCCESS, FAILURE = 0x2002, 0x2003  # of ABORT and RESET

_HELLO = struct.Struct("<IIQ")
_LUN = struct.Struct("<IHHHHI112s")
AREA_PINS = 8192


@dataclass(frozen=True, slots=True)
class Lun:
    """A LUN as the back-end tells of it."""

    id: int
    place: tuple[int, int, int, int]
    name: str


@dataclass(frozen=True, slots=True)
class Response:
    """What became of a command."""

    result: int
    sense: bytes
    resid: int
    data: bytes = field(repr=False)
    clean: bool

    @property
    def status(self) -> int:
        """SCSI's."""
        return self.result & 0xFF

    @property
    def host(self) -> int:
        """How it got there: DID_*."""
        return self.result >> 16 & 0xFF

    @property
    def good(self) -> bool:
        """Whether the command did what it was asked."""
        return self.result == 0

    @property
    def sense_code(self) -> tuple[int, int, int]:
        """Sense key, ASC, ASCQ of fixed format."""
        return self.sense[2] & 0x0F, self.sense[12], self.sense[13]


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that is on its way."""

    rqid: int
    name: str
    pages: tuple[tuple[int, int], ...] = ()  #: address and grant of each page
    tables: tuple[tuple[int, int], ...] = ()  #: the same of pages of segments
    into: int = 0  #: bytes of data-in
    offset: int = 0  #: where they begin in the first page


class PvscsiFrontEnd:
    """One pvSCSI driver and the VMM beneath it."""

    def __init__(
        self,
        where: Path | str | Peer,
        *,
        segments: int = 128,
        abilities: int = GRANT_TABLE | INFLIGHT,
        deadline: float = DEADLINE,
    ) -> None:
        self.peer = where if isinstance(where, Peer) else Peer.connect(where, deadline=deadline)
        self.memory = GuestMemory()
        self.grants = GrantTable()
        self.area = GuestMemory(AREA_PINS + self.grants.entries, guest_base=0)
        self.ring = XenRing(self.memory)
        self.ring_reference = self.grants.grant(self.frame(self.ring.page))
        self.kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.call = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.segments = segments
        self.abilities = abilities
        self.deadline = deadline
        self.back_channel: Peer | None = None
        self.answers: dict[int, Answer] = {}
        self._rqid = 0

    # -- a VMM's part

    @property
    def translates(self) -> bool:
        """Whether frame numbers stand in place of grant references: it shares no grant table."""
        return not self.abilities & GRANT_TABLE

    def start(self) -> Self:
        """Do all of a session up to a ring that runs."""
        self.negotiate()
        self.describe()
        if acknowledged := self.enable():
            raise HarnessError(f"the ring was not started: {acknowledged}")
        return self

    def negotiate(self) -> None:
        """Say hello, agree on features, open the back channel."""
        version, _, _ = self.hello()
        if version != 1:
            raise HarnessError(f"the back-end speaks version {version}")
        self.peer.send(wire.SET_PROTOCOL_FEATURES, wire.number(self.offered_extensions()))
        features = SG_GRANT | self.segments << 32 if self.segments else 0
        self.peer.send(wire.SET_FEATURES, wire.number(features))
        self.open_back_channel()

    def hello(self, version: int = 1) -> tuple[int, int, int]:
        """Send HELLO; version, reserved, abilities of the answer."""
        answer = self.peer.ask(HELLO, _HELLO.pack(version, 0, self.abilities))
        told, reserved, abilities = _HELLO.unpack(answer)
        return told, reserved, abilities

    def offered_extensions(self) -> int:
        """Ask for the protocol features."""
        return self.peer.ask_number(wire.GET_PROTOCOL_FEATURES)

    def open_back_channel(self) -> None:
        """Give the back-end a socket for its own messages."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self.peer.send(wire.SET_BACKEND_REQ_FD, b"", [theirs.fileno()])
        if self.back_channel is not None:
            self.back_channel.close()
        self.back_channel = Peer(ours, deadline=self.deadline)

    def describe(self) -> None:
        """Share memory, grant table and in-flight area; say where the ring is."""
        memory, send = self.memory, self.peer.send
        table = wire.memory_table(wire.region(memory.guest_base, memory.size, memory.guest_base))
        send(wire.SET_MEM_TABLE, table, [memory.fd])
        if not self.translates:
            self.send_grant_table()
        if self.abilities & INFLIGHT:
            send(SET_INFLIGHT, struct.pack("<QQ", 0, self.area.size), [self.area.fd])
        self.describe_ring()

    def send_grant_table(self, *, version: int = 1, domid: int = 0, size: int = 0) -> None:
        """Share the grant table."""
        size = size or self.grants.memory.size
        payload = struct.pack("<QQIHH", 0, size, version, domid, 1)
        self.peer.send(SET_GRANT_TABLE, payload, [self.grants.memory.fd])

    def describe_ring(self) -> None:
        """Say where the ring and its event channel are."""
        place = (1, 0, self.ring.page) if self.translates else (0, 0, self.ring_reference)
        self.peer.send(SET_RING, struct.pack("<IIQ", *place))
        self.peer.send(wire.SET_VRING_KICK, wire.vring_file(0), [self.kick])
        self.peer.send(wire.SET_VRING_CALL, wire.vring_file(0), [self.call])

    def enable(self, value: int = 1) -> int:
        """Start, pause or go on; the acknowledgement."""
        return self.peer.acknowledge(wire.SET_VRING_ENABLE, wire.vring(0, value))

    def stop(self) -> int:
        """Stop the ring; how many requests were taken."""
        _, taken = struct.unpack("<II", self.peer.ask(wire.GET_VRING_BASE, wire.vring(0, 0)))
        self._collect()
        return int(taken)

    def luns(self) -> list[Lun]:
        """Ask which LUNs there are."""
        found: list[Lun] = []
        while True:
            first = found[-1].id + 1 if found else 0
            data = self.peer.ask(GET_LUNS, struct.pack("<II", first, 0))
            count, remaining = struct.unpack_from("<II", data)
            found += [_lun(data[8 + 128 * index :][:128]) for index in range(count)]
            if not remaining:
                return found

    def notice(self) -> tuple[int, Lun | int]:
        """Wait for a message of the back-end's own."""
        if self.back_channel is None:
            raise HarnessError("there is no back channel")
        kind, _, data = self.back_channel.receive("a message of the back-end's own")
        if kind == LUN_ADD:
            return kind, _lun(data)
        return kind, int(struct.unpack("<II", data)[0])

    def reconnect(self, where: Path | str) -> None:
        """Connect anew, with the same ring, table and area."""
        self.peer.close()
        self.peer = Peer.connect(where, deadline=self.deadline)
        self.start()

    # -- a driver's part

    def frame(self, address: int) -> int:
        """The frame number of a page."""
        return address // PAGE

    def scsi(
        self,
        target: int,
        lun: int,
        cdb: bytes,
        *,
        data_out: bytes = b"",
        data_in: int = 0,
        offset: int = 0,
    ) -> Response:
        """Send one command and wait for its end."""
        pending = self.submit(target, lun, cdb, data_out=data_out, data_in=data_in, offset=offset)
        return self.wait(pending)

    def submit(
        self,
        target: int,
        lun: int,
        cdb: bytes,
        *,
        data_out: bytes = b"",
        data_in: int = 0,
        offset: int = 0,
    ) -> Pending:
        """Send one command; its data begins at `offset` of its first page."""
        length = len(data_out) or data_in
        pages, segments = self._lend(length, offset, readonly=bool(data_out))
        for (address, _), segment in zip(pages, segments, strict=True):
            if data_out:
                self.memory.write(address + segment.offset, data_out[: segment.length])
                data_out = data_out[segment.length :]
        tables: list[tuple[int, int]] = []
        indirect = len(segments) > xen.DIRECT
        if indirect:
            tables, segments = self._tabulate(segments)
        direction = xen.NONE
        if length:
            direction = xen.FROM_DEVICE if data_in else xen.TO_DEVICE
        slot = xen.request(
            self._next_rqid(),
            cdb=cdb,
            place=(0, target, lun),
            direction=direction,
            segments=segments,
            indirect=indirect,
        )
        self.put(slot)
        name = f"CDB {cdb.hex()} to {target}:{lun}"
        return Pending(self._rqid, name, tuple(pages), tuple(tables), data_in, offset)

    def wait(self, pending: Pending) -> Response:
        """Wait for a command's end; its pages must be free then."""
        answer = self.wait_answer(pending.rqid, pending.name)
        data = b"".join(self.memory.read(address, PAGE) for address, _ in pending.pages)
        for address, reference in (*pending.pages, *pending.tables):
            if not self.translates:
                self.grants.end(reference)
            self.memory.free(address, PAGE)
        data = data[pending.offset : pending.offset + pending.into]
        return Response(answer.result, answer.sense, answer.residual, data, answer.clean)

    def put(self, slot: bytes) -> None:
        """Send any slot."""
        if self.ring.put(slot):
            os.eventfd_write(self.kick, 1)

    def wait_answer(self, rqid: int, name: str) -> Answer:
        """Wait for the response of a request."""
        self._until(lambda: rqid in self.answers, f"the end of {name}")
        return self.answers.pop(rqid)

    def management(self, act: int, target: int, lun: int, ref_rqid: int = 0) -> int:
        """Send ABORT or RESET and wait for its result."""
        rqid = self.submit_management(act, target, lun, ref_rqid)
        return self.wait_answer(rqid, f"act {act} to {target}:{lun}").result

    def submit_management(self, act: int, target: int, lun: int, ref_rqid: int = 0) -> int:
        """Send ABORT or RESET; its rqid."""
        rqid = self._next_rqid()
        self.put(xen.request(rqid, act=act, place=(0, target, lun), ref_rqid=ref_rqid))
        return rqid

    def ready(self, target: int = 0, lun: int = 0) -> None:
        """Ask TEST UNIT READY until the unit attentions of a new nexus are used up."""
        for _ in range(8):
            response = self.scsi(target, lun, bytes(6))
            if response.good:
                return
        raise HarnessError(f"{target}:{lun} is not ready: {response}")

    def pinned(self) -> list[int]:
        """Pages that the back-end has, without the ring's own."""
        return [one for one in self.grants.in_use() if one != self.ring_reference]

    def close(self) -> None:
        """Leave and give everything back."""
        self.peer.close()
        if self.back_channel is not None:
            self.back_channel.close()
        os.close(self.kick)
        os.close(self.call)
        for memory in (self.memory, self.grants.memory, self.area):
            memory.close()

    def _next_rqid(self) -> int:
        self._rqid = (self._rqid + 1) & 0xFFFF
        return self._rqid

    def grant(self, address: int, *, readonly: bool = False) -> int:
        """Lend a page; what a segment calls it."""
        frame = self.frame(address)
        return frame if self.translates else self.grants.grant(frame, readonly=readonly)

    def _lend(
        self, length: int, offset: int, *, readonly: bool
    ) -> tuple[list[tuple[int, int]], list[Segment]]:
        pages: list[tuple[int, int]] = []
        segments: list[Segment] = []
        while length:
            piece = min(length, PAGE - offset)
            address = self.memory.allocate(PAGE)
            reference = self.grant(address, readonly=readonly)
            pages.append((address, reference))
            segments.append(Segment(reference, offset, piece))
            length, offset = length - piece, 0
        return pages, segments

    def _tabulate(self, segments: list[Segment]) -> tuple[list[tuple[int, int]], list[Segment]]:
        data = b"".join(segment.pack() for segment in segments)
        tables: list[tuple[int, int]] = []
        outer: list[Segment] = []
        for start in range(0, len(data), PAGE):
            piece = data[start : start + PAGE]
            address = self.memory.allocate(PAGE)
            self.memory.write(address, piece)
            reference = self.grant(address, readonly=True)
            tables.append((address, reference))
            outer.append(Segment(reference, 0, len(piece)))
        return tables, outer

    def _collect(self) -> bool:
        answers = self.ring.collect()
        self.answers.update({answer.rqid: answer for answer in answers})
        return bool(answers)

    def _until(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + self.deadline
        while not done():
            if self._collect():
                continue
            self.ring.want_calls()
            if self._collect():
                continue
            left = end - time.monotonic()
            if left <= 0:
                raise DeadlineError(f"waited {self.deadline:g} s for {what}")
            ready, _, _ = select.select([self.call, self.peer.socket], [], [], left)
            if self.call in ready:
                os.eventfd_read(self.call)
            elif ready and not self.peer.socket.recv(1, socket.MSG_PEEK):
                raise HarnessError(f"the back-end closed the connection instead of {what}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _lun(data: bytes) -> Lun:
    id_, host, channel, target, lun, _, name = _LUN.unpack(data)
    return Lun(id_, (host, channel, target, lun), name.rstrip(b"\0").decode())
