"""Any CDB, any buffers, in several states of a disk: both roads give the same answer.

What the answer should be, other tests say command by command. Here two executions of one call
are held against each other, and against what every answer has to keep to.
"""

from __future__ import annotations

import logging
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from tests.harness import commands as cdb
from tests.harness.answers import describe
from tests.harness.frontend import FAILURE, OK, OVERRUN, Response
from tests.harness.generated import (
    Call,
    Shape,
    buffers,
    carried_out,
    examples,
    extent,
    fill,
    known_cdbs,
    noise,
)
from tests.harness.house_thread import HouseThread
from tests.harness.persistent import CLEAR, REGISTER_AND_IGNORE
from vhost_pvscsi.medium import MEDIUM_OPCODES
from vhost_pvscsi.scsi.cdb import Cdb
from vhost_pvscsi.scsi.command import Command, CommandSet
from vhost_pvscsi.scsi.opcodes import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = CommandSet(TABLE)

#: Bytes of each medium: few, so that generated places are often inside.
SIZE = 128 << 10
FILE, DIRECT, RAM, NULL, FIXED, LARGE = range(6)
UNTOUCHED = 0xA5  # what `FrontEnd` fills room with

LUN_RESET = 5
GOOD, CHECK_CONDITION, CONDITION_MET, RESERVATION_CONFLICT = 0x00, 0x02, 0x04, 0x18
ILLEGAL_REQUEST, DATA_PROTECT, MISCOMPARE = 0x05, 0x07, 0x0E

#: COMPARE AND WRITE is on the long road alone: no write may come between.
SHORT = MEDIUM_OPCODES - {0x89}

READS = frozenset({0x08, 0x28, 0xA8, 0x88})

#: Commands after which a unit may answer others differently; the long road is their only one.
CHANGING = frozenset({0x15, 0x16, 0x17, 0x1B, 0x1D, 0x1E, 0x55, 0x56, 0x57, 0x5F, 0x83, 0xA4})

SHAPES = {target: Shape(SIZE // 512, 512) for target in range(LARGE)}
SHAPES[LARGE] = Shape(SIZE // 4096, 4096)

#: Mode pages that MODE SELECT writes: control with and without D_SENSE, caching with and
#: without WCE (SPC-5 7.5.10, SBC-4 6.5.6).
CONTROL, CACHING = "0a0a {:02x}1000000000ffff0000", "0812 {:02x}" + "00" * 17
STATES = {"plain": (0x02, 0x04), "descriptor sense": (0x06, 0x04), "no cache": (0x02, 0x00)}


class Roads(HouseThread):
    """A house, its guest, and the states its units are in."""

    def __init__(self, folder: Path, *, io_uring: bool) -> None:
        image, fixed = folder / "disk.img", folder / "fixed.img"
        direct = folder / "direct.img"
        image.write_bytes(bytes(SIZE))
        direct.write_bytes(bytes(SIZE))
        fixed.write_bytes(fill(SIZE // 512, 512))
        luns = [
            f"0:0:{FILE}:0={image}",
            f"0:0:{DIRECT}:0={direct},cache=none",
            f"0:0:{RAM}:0=ram:{SIZE}",
            f"0:0:{NULL}:0=null:{SIZE}",
            f"0:0:{FIXED}:0={fixed},ro",
            f"0:0:{LARGE}:0=ram:{SIZE},block-size=4096",
        ]
        super().__init__(luns, io_uring=io_uring)
        self._states = dict.fromkeys(SHAPES, "plain")

    def enter(self, target: int, state: str) -> None:
        """Bring a unit into that state."""
        if self._states[target] == state:
            return
        control, caching = STATES[state]
        pages = [CONTROL.format(control)]
        if target in (FILE, DIRECT):  # the others have no cache to switch
            pages.append(CACHING.format(caching))
        for page in pages:
            data = bytes(4) + bytes.fromhex(page)
            select = bytes((0x15, 0x10, 0, 0, len(data), 0))
            assert self.guest.scsi(target, 0, select, data_out=data).good
        self._states[target] = state

    def forget(self, target: int) -> None:
        """Undo whatever a command may have changed of a unit but for its blocks."""
        ask = self.guest.scsi
        for action, keys in ((REGISTER_AND_IGNORE, (0, 1)), (CLEAR, (1, 0))):
            command = bytes((0x5F, action, 0, 0, 0, 0, 0, 0, 24, 0))
            ask(target, 0, command, data_out=struct.pack(">QQ8x", *keys))
        assert self.guest.tmf(LUN_RESET, target, 0) == OK
        self._states[target] = "plain"
        for _ in range(8):
            ask(target, 0, bytes.fromhex("1b0000000100"))  # START STOP UNIT: start
            ask(target, 0, bytes.fromhex("1e0000000000"))
            if ask(target, 0, bytes(6)).good:
                return
        pytest.fail(f"{target} did not get ready again")

    def ask(self, target: int, call: Call) -> tuple[Response, bytes, bool]:
        """Send a call to a medium in a known state; the answer, the medium after it, its road."""
        shape = SHAPES[target]
        if target != FIXED:
            data = fill(shape.blocks, shape.block_size)
            assert self.guest.scsi(target, 0, cdb.write_10(0, shape.blocks), data_out=data).good
        before = self.short()
        response = self.guest.scsi(target, 0, call.cdb, data_out=call.data_out, data_in=call.room)
        short = self.short() > before
        after = self.guest.scsi(target, 0, cdb.read_10(0, shape.blocks), data_in=SIZE)
        assert after.good
        return response, after.data, short

    def ask_on_both(self, target: int, call: Call) -> tuple[Response, bytes]:
        """Ask by the short road where one is, then by the long one; both answers are alike."""
        first, medium, short = self.ask(target, call)
        assert short == (call.cdb[0] in SHORT and not _both_ways(call))
        self.shut(target)
        try:
            second, medium_again, short = self.ask(target, call)
        finally:
            self.open(target)
        assert not short, "a gate let a command pass"
        assert first == second
        assert medium == medium_again, "the medium differs"
        return first, medium


@pytest.fixture(scope="module")
def roads(request: pytest.FixtureRequest) -> Iterator[Roads]:
    """One house for all tests of this module; no command may cost it a traceback."""
    denied = request.config.getoption("--deny-io-uring")
    with (
        tempfile.TemporaryDirectory(prefix="vp-") as name,
        Roads(Path(name), io_uring=not denied) as made,
    ):
        yield made


@pytest.fixture(autouse=True)
def _no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not errors, [record.getMessage() for record in errors]


def _both_ways(call: Call) -> bool:
    """Whether it has data in both directions, which the engine refuses before any road."""
    return bool(call.room and call.data_out)


def _check_legal(state: str, call: Call, answer: Response) -> None:
    """Hold an answer against what all of them have to keep to."""
    event(describe(answer).split(" at ")[0])
    if _both_ways(call):
        # virtio 1.2, 5.6.6.1.1: without VIRTIO_SCSI_F_INOUT.
        assert (answer.response, answer.resid) == (FAILURE, max(call.room, len(call.data_out)))
        assert answer.written == 108
        return
    assert answer.response in (OK, OVERRUN)
    offered = max(call.room, len(call.data_out))
    assert answer.resid <= offered
    moved_in = answer.written - 108
    assert 0 <= moved_in <= call.room
    assert answer.data[moved_in:] == bytes((UNTOUCHED,)) * (call.room - moved_in)
    if call.room:
        assert answer.resid == call.room - moved_in
    elif answer.good and call.cdb[0] not in MEDIUM_OPCODES:
        command = COMMANDS.find(call.cdb)
        assert isinstance(command, Command)
        wanted = Cdb(command.fields, call.cdb).get("parameter_list_length", 0)
        assert answer.resid == max(len(call.data_out) - wanted, 0)
    if answer.response != OK or answer.status != CHECK_CONDITION:
        assert answer.sense == b""
        assert answer.status in (GOOD, CONDITION_MET, RESERVATION_CONFLICT)
        return
    # SPC-5 4.4: fixed format, or descriptor format where D_SENSE is set.
    assert answer.sense[0] & 0x7F == (0x72 if state == "descriptor sense" else 0x70)
    assert len(answer.sense) == 8 + answer.sense[7]


def _refused(answer: Response) -> bool:
    """Whether nothing of the command may have been done."""
    if answer.response != OK:
        return True
    if answer.status != CHECK_CONDITION:
        return answer.status == RESERVATION_CONFLICT
    key = answer.sense[1] & 0xF if answer.sense[0] & 0x7F == 0x72 else answer.sense[2] & 0xF
    return key in (ILLEGAL_REQUEST, DATA_PROTECT)


def _before(target: int) -> bytes:
    if target == NULL:
        return bytes(SIZE)
    shape = SHAPES[target]
    return fill(shape.blocks, shape.block_size)


@st.composite
def cases(draw: st.DrawFn, cdbs: str) -> tuple[int, str, Call]:
    """A unit, the state it is in, and a call."""
    target = draw(st.sampled_from(list(SHAPES)))
    shape = SHAPES[target]
    chosen = {
        "medium": known_cdbs(shape, MEDIUM_OPCODES),
        "known": known_cdbs(shape),
        "noise": noise(),
    }[cdbs]
    state = draw(st.sampled_from(list(STATES)))
    return target, state, draw(chosen.flatmap(lambda bytes_: buffers(bytes_, shape)))


def _on_both_roads(roads: Roads, case: tuple[int, str, Call]) -> None:
    target, state, call = case
    roads.enter(target, state)
    answer, medium = roads.ask_on_both(target, call)
    _check_legal(state, call, answer)
    before = _before(target)
    if _refused(answer) or target in (FIXED, NULL):
        assert medium == before, "what was refused has changed the medium"
    elif answer.good:
        assert medium == carried_out(call, before, SHAPES[target])
    if answer.good and call.cdb[0] in READS:
        lba, blocks = extent(call.cdb)
        size = SHAPES[target].block_size
        assert answer.data[: answer.written - 108] == before[lba * size :][: blocks * size]


def _on_the_one_road(roads: Roads, case: tuple[int, str, Call]) -> None:
    target, state, call = case
    roads.enter(target, state)
    if call.cdb[0] in CHANGING:
        answer = roads.guest.scsi(target, 0, call.cdb, data_out=call.data_out, data_in=call.room)
        _check_legal(state, call, answer)
        roads.forget(target)
        return
    answer, medium = roads.ask_on_both(target, call)
    _check_legal(state, call, answer)
    if call.cdb[0] not in MEDIUM_OPCODES:
        assert medium == _before(target), "a command that is not the medium's has changed it"


@example(case=(FILE, "plain", Call(cdb.read_10(8, 8), room=8192)))
@example(case=(FILE, "no cache", Call(cdb.write_10(8, 1), bytes(1024))))
@example(case=(RAM, "plain", Call(cdb.write_10(8, 1), bytes(512), room=1)))
@given(case=cases("medium"))
@examples(700)
def test_a_medium_command_is_answered_alike_on_both_roads(
    roads: Roads, case: tuple[int, str, Call]
) -> None:
    _on_both_roads(roads, case)


@example(case=(RAM, "plain", Call(bytes(6), bytes(512))))  # TEST UNIT READY
@given(case=cases("known"))
@examples(400)
def test_any_known_command_is_answered_legally(roads: Roads, case: tuple[int, str, Call]) -> None:
    _on_the_one_road(roads, case)


@given(case=cases("noise"))
@examples(200)
def test_any_bytes_are_answered_legally(roads: Roads, case: tuple[int, str, Call]) -> None:
    _on_the_one_road(roads, case)


@pytest.mark.long
@given(case=cases("medium"))
@examples(10_000)
def test_a_medium_command_is_answered_alike_10000(
    roads: Roads, case: tuple[int, str, Call]
) -> None:
    _on_both_roads(roads, case)


@pytest.mark.long
@given(case=cases("known"))
@examples(5_000)
def test_any_known_command_is_answered_legally_5000(
    roads: Roads, case: tuple[int, str, Call]
) -> None:
    _on_the_one_road(roads, case)


@pytest.mark.long
@given(case=cases("noise"))
@examples(5_000)
def test_any_bytes_are_answered_legally_5000(roads: Roads, case: tuple[int, str, Call]) -> None:
    _on_the_one_road(roads, case)
