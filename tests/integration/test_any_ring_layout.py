"""Any layout of a request in its ring: the right answer, or the end of that connection alone."""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.harness import commands as cdb
from tests.harness.daemon import Daemon, LogReader
from tests.harness.generated import examples, fill
from tests.harness.layouts import ANSWER, HEADER, Arena, Cuts, Descriptor, Layout

from .conftest import DENIED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.evidence import Collector
    from tests.harness.frontend import FrontEnd

BLOCK, BLOCKS = 512, 64
RAM, FILE, DIRECT = range(3)
INQUIRY = cdb.inquiry(96)
CONNECTED = "host 0: a front-end has connected"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request does, and how it is laid out."""

    target: int
    what: str  #: "read", "write", "verify", or "inquiry" which is Python's to answer
    lba: int
    blocks: int
    layout: Layout


@pytest.fixture(scope="module")
def two_hosts(request: pytest.FixtureRequest, evidence: Collector) -> Iterator[Daemon]:
    """A daemon with two virtual hosts: the first has three kinds of media."""
    launcher = DENIED if request.config.getoption("--deny-io-uring") else ()
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        home = Path(name)
        luns = [f"0:0:{RAM}:0=ram:32K", "1:0:0:0=ram:16M"]
        for target, option in ((FILE, ""), (DIRECT, ",cache=none")):
            (home / f"{target}.img").write_bytes(bytes(BLOCK * BLOCKS))
            luns.append(f"0:0:{target}:0={home / str(target)}.img{option}")
        sockets = [home / "0", home / "1"]
        options = ["--log-level", "info"]
        made = Daemon(home, sockets=sockets, luns=luns, options=options, launcher=launcher)
        with made, evidence.watch(made):
            yield made


@pytest.fixture(scope="module")
def log(two_hosts: Daemon) -> LogReader:
    """Reads what is logged from one example to the next."""
    return LogReader(two_hosts)


@pytest.fixture(scope="module")
def arena(two_hosts: Daemon, log: LogReader) -> Iterator[Arena]:
    """The front-end that lays out chains; it comes again when it was sent away."""
    made = Arena(two_hosts.sockets[0])
    get_ready(made)
    log.until(CONNECTED)
    yield made
    made.close()


def get_ready(arena: Arena) -> None:
    for target in (RAM, FILE, DIRECT):
        arena.guest.ready(target)


@st.composite
def cuts(draw: st.DrawFn) -> Cuts:
    """Any cuts; many of them are in the header, or at its end."""
    places = st.one_of(
        st.integers(1, ANSWER + 1), st.sampled_from([HEADER, ANSWER]), st.integers(1, 5000)
    )
    at = draw(st.lists(places, max_size=24))
    if draw(st.booleans()):
        at = list(range(1, 1 + draw(st.integers(1, 60))))  # byte by byte
    empty = draw(st.lists(st.integers(0, 8), max_size=3))
    return Cuts(tuple(at), tuple(empty), draw(st.sampled_from([0, 1, 7, 64])))


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    lba = draw(st.integers(0, BLOCKS))
    layout = Layout(
        readable=draw(cuts()),
        writable=draw(cuts()),
        indirect_from=draw(st.one_of(st.none(), st.just(0), st.integers(0, 40))),
        write_flag=draw(st.booleans()),
        backwards=draw(st.booleans()),
    )
    return Ask(
        draw(st.sampled_from([RAM, FILE, DIRECT])),
        draw(st.sampled_from(["read", "write", "verify", "inquiry"])),
        lba,
        draw(st.integers(0, min(BLOCKS - lba, 8))),
        layout,
    )


def call_of(ask: Ask) -> tuple[bytes, bytes, int]:
    """CDB, data-out, room for data-in."""
    data = fill(BLOCKS, BLOCK, 7)[ask.lba * BLOCK : (ask.lba + ask.blocks) * BLOCK]
    match ask.what:
        case "read":
            return cdb.read_10(ask.lba, ask.blocks), b"", len(data)
        case "write":
            return cdb.write_10(ask.lba, ask.blocks), data, 0
        case "verify":
            return cdb.verify_10(ask.lba, ask.blocks, bytchk=1), data, 0
        case _:
            return INQUIRY, b"", 96


def _check_right(arena: Arena, ask: Ask) -> None:
    """Lay one request out, and look at all that became of it."""
    arena.clear()
    before = fill(BLOCKS, BLOCK, 7 if ask.what == "verify" else 3)
    assert arena.guest.scsi(ask.target, 0, cdb.write_10(0, BLOCKS), data_out=before).good
    command, data_out, room = call_of(ask)
    asked = arena.lay_out(ask.target, command, data_out, room, ask.layout)
    arena.offer([asked.head])
    used = arena.wait()
    assert used is not None, "the connection was closed"
    assert used == {asked.head: ANSWER + room}
    answer = arena.answer(asked)
    sense_length, resid, _, status, response = struct.unpack_from("<IIHBB", answer)
    assert (sense_length, resid, status, response) == (0, 0, 0, 0)
    expected = bytearray(before)
    match ask.what:
        case "read":
            assert answer[ANSWER:] == before[ask.lba * BLOCK :][:room]
        case "write":
            expected[ask.lba * BLOCK : ask.lba * BLOCK + len(data_out)] = data_out
        case "inquiry":
            assert answer[ANSWER:] == arena.guest.scsi(ask.target, 0, INQUIRY, data_in=96).data
    after = arena.guest.scsi(ask.target, 0, cdb.read_10(0, BLOCKS), data_in=BLOCK * BLOCKS)
    assert after.data == expected


@given(ask=asks())
@examples(400)
def test_any_legal_layout_is_answered_right(arena: Arena, ask: Ask) -> None:
    _check_right(arena, ask)


@pytest.mark.long
@given(ask=asks())
@examples(5_000)
def test_any_legal_layout_is_answered_right_5000(arena: Arena, ask: Ask) -> None:
    _check_right(arena, ask)


# -- chains that are broken

#: Fields of a descriptor, and what is written there instead: most is illegal, some is not.
FLAGS = st.one_of(st.integers(0, 7), st.integers(0, 0xFFFF))
LENGTHS = st.sampled_from([0, 1, 15, 16, 17, 50, 51, 107, 108, 4096, 2**31, 2**32 - 1])
#: Nothing that is a ring's: who gives its ring away as a buffer has nothing to complain of.
ADDRESSES = st.sampled_from(["nothing", "border", "end", "wraps", "top", "zero"])


@st.composite
def breaks(draw: st.DrawFn) -> tuple[int, str, int | str]:
    """Which of the chain's descriptors, what of it, and the new value."""
    field = draw(st.sampled_from(["address", "length", "flags", "next", "head"]))
    value: int | str
    match field:
        case "address":
            value = draw(ADDRESSES)
        case "length":
            value = draw(LENGTHS)
        case "flags":
            value = draw(FLAGS)
        case _:
            value = draw(st.one_of(st.integers(0, 140), st.integers(0, 0xFFFF)))
    return draw(st.integers(0, 40)), field, value


def _address(arena: Arena, name: str, length: int) -> int:
    memory = arena.memory
    return {
        "nothing": 0xDEAD_0000_0000,
        "border": arena.base + arena.SIZE // 2 - 1,
        "end": memory.guest_base + memory.size - 1,
        "wraps": 2**64 - max(length // 2, 1),
        "top": 2**64 - 1,
        "zero": 0,
    }[name]


def _break(arena: Arena, head: int, change: tuple[int, str, int | str]) -> int:
    """Change one thing about a chain; its head then."""
    position, field, value = change
    slot = head
    for _ in range(position):
        entry = arena.descriptor(slot)
        if not entry.flags & 1:
            break
        slot = entry.next
    entry = arena.descriptor(slot)
    match field:
        case "head":
            return int(value)
        case "address":
            value = _address(arena, str(value), entry.length)
    arena.write_descriptor(slot, replace(entry, **{field: value}))
    return head


def _check_ended_well(
    arena: Arena, log: LogReader, bystander: FrontEnd, ask: Ask, change: tuple[int, str, int | str]
) -> None:
    """Whatever was broken: an answer, or one line and the end; a new connection works."""
    arena.clear()
    for slot in range(arena.queue.ring.size):
        # No entry leads into an older chain.
        arena.write_descriptor(slot, Descriptor(0, 0, 0))
    command, data_out, room = call_of(ask)
    asked = arena.lay_out(ask.target, command, data_out, room, ask.layout)
    arena.offer([_break(arena, asked.head, change)])
    used = arena.wait()
    event("refused" if used is None else "answered")
    arena.guest.leave()
    assert bystander.scsi(0, 0, INQUIRY, data_in=96).good
    arena.reconnect()
    get_ready(arena)
    errors = [line for line in log.until(CONNECTED) if not line.startswith(("INFO", "WARNING"))]
    assert len(errors) == (used is None), errors
    assert all("host 0" in line and "ring 3" in line for line in errors), errors


@given(ask=asks(), change=breaks())
@examples(200)
def test_any_broken_layout_ends_that_connection_alone(
    arena: Arena, log: LogReader, bystander: FrontEnd, ask: Ask, change: tuple[int, str, int | str]
) -> None:
    _check_ended_well(arena, log, bystander, ask, change)


@pytest.mark.long
@given(ask=asks(), change=breaks())
@examples(3_000)
def test_any_broken_layout_ends_that_connection_alone_3000(
    arena: Arena, log: LogReader, bystander: FrontEnd, ask: Ask, change: tuple[int, str, int | str]
) -> None:
    _check_ended_well(arena, log, bystander, ask, change)
