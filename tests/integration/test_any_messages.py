"""Any sequence of messages: right answers or one log line, nothing kept, nobody else disturbed."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from tests.harness import commands as cdb
from tests.harness import peer as wire
from tests.harness.daemon import Daemon, LogReader
from tests.harness.errors import HarnessError
from tests.harness.frontend import FIRST_REQUEST, FrontEnd
from tests.harness.generated import examples
from tests.harness.memory import MIB
from tests.harness.peer import NEED_REPLY, VERSION, Peer

from .conftest import DENIED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.evidence import Collector

INQUIRY = cdb.inquiry(36)
FEATURES, EXTENSIONS = 0x1_7000_0000, 0x1A029
RAM, SLOW = 0, 1

#: Where the good region of memory is: in guest addresses, in user addresses.
GUEST, USER, SIZE = 0x1_0000_0000, 0x7000_0000, 4 * MIB

GOOD_TABLE = wire.memory_table(wire.region(GUEST, SIZE, USER))
KNOWN = sorted(
    number
    for name, number in vars(wire).items()
    if name.isupper() and name.startswith(("GET_", "SET_", "RESET_", "ADD_", "REM_"))
)
#: Requests that are answered by a number, and by which; GET_STATUS tells what was set.
NUMBERS = {
    wire.GET_FEATURES: 0x1_7000_0006,
    wire.GET_PROTOCOL_FEATURES: EXTENSIONS,
    wire.GET_QUEUE_NUM: 256,
    wire.GET_MAX_MEM_SLOTS: 509,
    wire.GET_STATUS: 0,
}
_HEADER = struct.Struct("<III")


@dataclass(frozen=True, slots=True)
class Step:
    """One message, or what a guest does beside messages."""

    request: int
    payload: bytes = b""
    files: tuple[str, ...] = ()  #: kinds of descriptors, as `Files` has them
    flags: int = VERSION


@dataclass(frozen=True, slots=True)
class Course:
    """A whole session."""

    begin: str  #: "nothing", "negotiated", "shared" memory, or "started" with commands in flight
    steps: tuple[Step, ...]
    end: str  #: "leave", "half" a message, or "vanish" without reading what was answered


class Files:
    """Descriptors of many kinds, right and wrong; they live as long as the module's tests."""

    def __init__(self, folder: Path) -> None:
        self._stack = contextlib.ExitStack()
        self.by_name = {
            "memory": self._memory(SIZE),
            "short": self._memory(4096),
            "empty": self._memory(0),
            "event": os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC),
            "null": os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC),
            "folder": os.open(folder, os.O_RDONLY | os.O_CLOEXEC),
            "readable": os.open(__file__, os.O_RDONLY | os.O_CLOEXEC),
        }
        reading, writing = os.pipe()
        ours, theirs = socket.socketpair()
        self._stack.callback(ours.close)
        self.by_name |= {"reading": reading, "writing": writing, "socket": theirs.detach()}
        for fd in self.by_name.values():
            self._stack.callback(os.close, fd)

    @staticmethod
    def _memory(size: int) -> int:
        fd = os.memfd_create("any-messages", os.MFD_CLOEXEC)
        os.ftruncate(fd, size)
        return fd

    def close(self) -> None:
        self._stack.close()


KINDS = ("memory", "short", "empty", "event", "null", "folder", "readable", "reading", "writing",
         "socket")  # fmt: skip


# -- what may be sent

RINGS = st.one_of(st.integers(0, 3), st.sampled_from([255, 256, 2**31, 2**32 - 1]))
ADDRESSES = st.one_of(
    st.integers(0, SIZE // 4096).map(lambda page: USER + 4096 * page),
    st.sampled_from([0, 1, USER + 1, USER + SIZE - 16, GUEST, 2**64 - 1, 2**63]),
)
PLACES = st.sampled_from(
    [0, 1, 4096, USER, USER + 4096, GUEST, GUEST + SIZE, 2**63, 2**64 - 4096, 2**64 - 1]
)
SIZES = st.sampled_from([0, 1, 4095, 4096, MIB, SIZE, SIZE + 1, 2**32, 2**63, 2**64 - 1])
OFFSETS = st.sampled_from([0, 0, 0, 1, 4096, SIZE, 2**63, 2**64 - 4096])
REGIONS = st.one_of(
    st.just(wire.region(GUEST, SIZE, USER)),
    st.integers(0, 3).map(lambda n: wire.region(GUEST + n * MIB, MIB, USER + n * MIB, n * MIB)),
    st.builds(wire.region, PLACES, SIZES, PLACES, OFFSETS),
)
FILES = st.sampled_from(KINDS)


@st.composite
def tables(draw: st.DrawFn) -> Step:
    """SET_MEM_TABLE with regions and files that may go together."""
    regions = draw(st.lists(REGIONS, max_size=8, unique=True))
    files = draw(st.lists(st.one_of(st.just("memory"), FILES), max_size=8))
    if draw(st.booleans()):
        files = (files + ["memory"] * 8)[: len(regions)]
    payload = wire.memory_table(*regions)
    if draw(st.integers(0, 7)) == 0:
        payload = struct.pack("<I", draw(st.integers(0, 2**32 - 1))) + payload[4:]
    return Step(wire.SET_MEM_TABLE, payload, tuple(files))


def ring_files() -> st.SearchStrategy[Step]:
    """SET_VRING_KICK, CALL and ERR, mostly with one descriptor."""
    requests = st.sampled_from([wire.SET_VRING_KICK, wire.SET_VRING_CALL, wire.SET_VRING_ERR])
    right = st.builds(
        lambda request, ring, file: Step(request, wire.vring_file(ring), (file,)),
        requests,
        st.integers(0, 3),
        st.one_of(st.just("event"), FILES),
    )
    odd = st.builds(
        lambda request, word, files: Step(request, wire.number(word), tuple(files)),
        requests,
        st.one_of(st.integers(0, 0x1FF), st.integers(0, 2**64 - 1)),
        st.lists(FILES, max_size=2),
    )
    return st.one_of(right, right, odd)


def ring_states() -> st.SearchStrategy[Step]:
    """Messages with a ring and a number."""
    requests = (wire.SET_VRING_NUM, wire.SET_VRING_BASE, wire.GET_VRING_BASE)
    numbers = st.sampled_from([0, 1, 2, 4, 128, 1024, 2048, 100, 0xFFFF, 0x10000, 2**32 - 1])
    return st.builds(
        lambda request, ring, value: Step(request, wire.vring(ring, value)),
        st.sampled_from([*requests, wire.SET_VRING_ENABLE, wire.SET_VRING_ENABLE]),
        RINGS,
        numbers,
    )


def addresses() -> st.SearchStrategy[Step]:
    """SET_VRING_ADDR."""
    return st.builds(
        lambda *places: Step(wire.SET_VRING_ADDR, wire.vring_address(*places)),
        RINGS,
        ADDRESSES,
        ADDRESSES,
        ADDRESSES,
    )


def slots() -> st.SearchStrategy[Step]:
    """ADD_MEM_REG and REM_MEM_REG."""
    add = st.builds(
        lambda region, file: Step(wire.ADD_MEM_REG, wire.memory_slot(region), (file,)),
        REGIONS,
        st.one_of(st.just("memory"), FILES),
    )
    remove = REGIONS.map(lambda region: Step(wire.REM_MEM_REG, wire.memory_slot(region)))
    return st.one_of(add, remove)


def numbers() -> st.SearchStrategy[Step]:
    """Messages with a u64."""
    values = st.one_of(
        st.sampled_from([0, FEATURES, EXTENSIONS, 1, 8, 255, 256, 1 << 34]),
        st.integers(0, 2**64 - 1),
    )
    requests = [wire.SET_FEATURES, wire.SET_PROTOCOL_FEATURES, wire.SET_STATUS]
    return st.builds(lambda r, v: Step(r, wire.number(v)), st.sampled_from(requests), values)


PLAIN = st.sampled_from(
    [
        wire.GET_FEATURES,
        wire.GET_PROTOCOL_FEATURES,
        wire.SET_OWNER,
        wire.RESET_OWNER,
        wire.GET_QUEUE_NUM,
        wire.GET_MAX_MEM_SLOTS,
        wire.GET_STATUS,
        wire.RESET_DEVICE,
    ]
).map(Step)
NOISE = st.builds(
    Step,
    st.one_of(st.sampled_from(KNOWN), st.integers(0, 60), st.integers(0, 2**32 - 1)),
    st.binary(max_size=300),
    st.lists(FILES, max_size=9).map(tuple),
    st.one_of(st.just(VERSION), st.integers(0, 2**32 - 1)),
)
STEPS = st.one_of(
    PLAIN,
    PLAIN,
    numbers(),
    tables(),
    slots(),
    ring_files(),
    ring_states(),
    addresses(),
    st.just(Step(wire.SET_BACKEND_REQ_FD, b"", ("socket",))),
    st.sampled_from(KINDS).map(lambda kind: Step(wire.SET_BACKEND_REQ_FD, b"", (kind,))),
    NOISE,
)
WISHING = st.tuples(STEPS, st.booleans()).map(
    lambda pair: (
        Step(pair[0].request, pair[0].payload, pair[0].files, pair[0].flags | NEED_REPLY)
        if pair[1]
        else pair[0]
    )
)
COURSES = st.builds(
    Course,
    st.sampled_from(["nothing", "negotiated", "shared", "shared", "started"]),
    st.lists(WISHING, max_size=14).map(tuple),
    st.sampled_from(["leave", "leave", "half", "vanish"]),
)


# -- how it is done


@pytest.fixture(scope="module")
def two_hosts(request: pytest.FixtureRequest, evidence: Collector) -> Iterator[Daemon]:
    """A daemon with two virtual hosts; the first has a slow disk beside the other."""
    launcher = DENIED if request.config.getoption("--deny-io-uring") else ()
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        home = Path(name)
        luns = ["0:0:0:0=ram:1M", "1:0:0:0=ram:1M", "0:0:1:0=null:1M,latency=20ms"]
        sockets = [home / "0", home / "1"]
        options = ["--log-level", "info"]
        made = Daemon(home, sockets=sockets, luns=luns, options=options, launcher=launcher)
        with made, evidence.watch(made):
            yield made


@pytest.fixture(scope="module")
def files() -> Iterator[Files]:
    with tempfile.TemporaryDirectory() as folder:
        made = Files(Path(folder))
        yield made
        made.close()


@dataclass(frozen=True, slots=True)
class Held:
    """What a daemon holds while one plain front-end is connected to each host."""

    descriptors: int
    mappings: int  #: of memory that front-ends have shared


class Watch:
    """What the daemon logs and holds, from one example to the next."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._log = LogReader(daemon)
        self.look(connections=1)
        self.held, _ = self.look(connections=1)

    def look(self, connections: int) -> tuple[Held, list[str]]:
        """Let a plain front-end do its work.

        Returns what the daemon holds meanwhile, and what it has logged since the last look; there
        were so many connections since then, with this one.
        """
        with FrontEnd(self.daemon.sockets[0]) as guest:
            guest.ready(RAM)
            assert guest.scsi(RAM, 0, INQUIRY, data_in=36).good
            process = Path(f"/proc/{self.daemon.pid}")
            descriptors = sum(1 for _ in (process / "fd").iterdir())
            held = Held(descriptors, (process / "maps").read_text().count("memfd:"))
        # What is logged of a connection stands before the beginning of the next.
        return held, self._log.until("host 0: a front-end has connected", count=connections)


@pytest.fixture(scope="module")
def watch(two_hosts: Daemon, bystander: FrontEnd) -> Watch:
    """What it holds before any test."""
    assert bystander.scsi(0, 0, INQUIRY, data_in=36).good
    return Watch(two_hosts)


def _begin(path: Path, how: str, files: Files) -> tuple[Peer, Callable[[], None]]:
    """Connect and get as far as that; the connection, and what gives everything back."""
    if how == "started":
        guest = FrontEnd(path)
        guest.start()
        guest.ready(SLOW)
        for _ in range(4):
            guest.submit(SLOW, 0, cdb.read_10(0, 1), data_in=512)
        return guest.peer, guest.close
    peer = Peer.connect(path)
    if how != "nothing":
        peer.ask_number(wire.GET_FEATURES)
        peer.send(wire.SET_PROTOCOL_FEATURES, wire.number(EXTENSIONS))
        peer.send(wire.SET_OWNER)
        peer.send(wire.SET_FEATURES, wire.number(FEATURES))
    if how == "shared":
        peer.send(wire.SET_MEM_TABLE, GOOD_TABLE, [files.by_name["memory"]])
        for ring in range(FIRST_REQUEST + 1):
            at = USER + ring * 65536
            peer.send(wire.SET_VRING_NUM, wire.vring(ring, 128))
            peer.send(wire.SET_VRING_ADDR, wire.vring_address(ring, at, at + 16384, at + 32768))
            peer.send(wire.SET_VRING_ENABLE, wire.vring(ring, 1))
    return peer, peer.close


def _go(peer: Peer, course: Course, files: Files) -> tuple[list[Step], bytes]:
    """Send all of it, or as much as is taken; what was sent, what was answered."""
    sent = []
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for step in course.steps:
            fds = [files.by_name[name] for name in step.files]
            peer.send(step.request, step.payload, fds, flags=step.flags)
            sent.append(step)
        if course.end == "half":
            peer.send_bytes(_HEADER.pack(wire.SET_FEATURES, VERSION, 8) + b"half")
    if course.end == "vanish":
        return sent, b""
    with contextlib.suppress(OSError):
        peer.socket.shutdown(socket.SHUT_WR)
    return sent, _read_to_the_end(peer)


def _read_to_the_end(peer: Peer) -> bytes:
    data = b""
    try:
        while piece := peer.socket.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    except TimeoutError:
        raise HarnessError(f"waited {peer.deadline:g} s for the end of the connection") from None
    return data


def _replies(data: bytes) -> list[tuple[int, bytes]]:
    replies = []
    while data:
        request, flags, size = _HEADER.unpack_from(data)
        assert flags == VERSION | wire.REPLY
        assert len(data) >= 12 + size
        replies.append((request, data[12 : 12 + size]))
        data = data[12 + size :]
    return replies


def _has_reply(step: Step) -> bool:
    return step.request in NUMBERS or step.request == wire.GET_VRING_BASE


def _check_replies(sent: list[Step], data: bytes, *, refused: bool) -> None:
    """Each reply belongs to a message, in their order; none is missing unless it was refused."""
    steps = iter(sent)
    status = 0
    for request, payload in _replies(data):
        for step in steps:
            if step.request == wire.SET_STATUS:
                status = int.from_bytes(step.payload, "little")
            elif step.request == wire.RESET_DEVICE:
                status = 0
            if step.request == request and (_has_reply(step) or step.flags & NEED_REPLY):
                break
            assert not _has_reply(step), f"request {step.request} got no reply"
        else:
            pytest.fail(f"a reply to request {request}, which was not sent")
        assert len(payload) == 8
        number = int.from_bytes(payload, "little")
        if request == wire.GET_VRING_BASE:
            assert payload[:4] == step.payload[:4]
        elif request == wire.GET_STATUS:
            assert number == status
        elif request in NUMBERS:
            assert number == NUMBERS[request]
        else:
            assert number in ((0, 1) if refused else (0,))
    if not refused:
        left = [step.request for step in steps if _has_reply(step)]
        assert not left, f"no replies to {left}"


def _check(watch: Watch, bystander: FrontEnd, files: Files, course: Course) -> None:
    peer, close = _begin(watch.daemon.sockets[0], course.begin, files)
    try:
        sent, data = _go(peer, course, files)
    finally:
        close()
    assert bystander.scsi(0, 0, INQUIRY, data_in=36).good
    held, lines = watch.look(connections=2)
    assert held == watch.held
    errors = [line for line in lines if not line.startswith(("INFO", "WARNING"))]
    event(f"{course.begin}: " + ("refused" if errors else "served"))
    assert len(errors) <= 1, errors
    assert all("host 0: front-end disconnected: " in line for line in errors), errors
    if course.end == "half":
        assert errors
    if course.end != "vanish":
        _check_replies(sent, data, refused=bool(errors))


#: A call of a running ring that cannot be signalled.
NO_CALL = Course("started", (Step(wire.SET_VRING_CALL, wire.vring_file(0), ("memory",)),), "leave")


@example(course=NO_CALL)
@given(course=COURSES)
@examples(400)
def test_any_messages_in_any_order(
    watch: Watch, bystander: FrontEnd, files: Files, course: Course
) -> None:
    _check(watch, bystander, files, course)


@pytest.mark.long
@given(course=COURSES)
@examples(5_000)
def test_any_messages_in_any_order_5000(
    watch: Watch, bystander: FrontEnd, files: Files, course: Course
) -> None:
    _check(watch, bystander, files, course)
