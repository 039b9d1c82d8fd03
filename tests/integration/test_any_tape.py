"""Any commands for a tape: it does what a list of blocks and marks would do, on either road.

With a restart of the daemon in between, which changes nothing but where the tape stands; and with
one that is killed, which takes away nothing that was said to be stable.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.harness import tape as ssc
from tests.harness.daemon import Daemon
from tests.harness.frontend import CHECK_CONDITION, OK, OVERRUN, FrontEnd, Response
from tests.harness.generated import examples, some_cdb
from tests.harness.tape import Model, Tape
from vhost_pvscsi.medium import TapeImage
from vhost_pvscsi.scsi.opcodes import SEQUENTIAL

if TYPE_CHECKING:
    from collections.abc import Iterator


#: What is done, and with what number.
Step: TypeAlias = tuple[str, int]

FIXED = 24
HARDWARE_ERROR = 4
COUNTS = st.integers(-6, 12)
STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from([1, 2, FIXED, FIXED, 700, 5001])),
    st.tuples(st.just("write text"), st.sampled_from([1, FIXED, 700, 60_001])),
    st.tuples(st.just("write fixed"), st.integers(0, 5)),
    st.tuples(st.just("mark"), st.integers(0, 3)),
    st.tuples(st.just("read"), st.just(0)),
    st.tuples(st.just("read fixed"), st.integers(1, 6)),
    st.tuples(st.sampled_from(["blocks", "marks", "row", "blocks 16", "marks 16"]), COUNTS),
    st.tuples(st.sampled_from(["locate", "locate 16", "file"]), st.integers(0, 12)),
    st.tuples(st.sampled_from(["verify fixed", "verify marks"]), st.integers(1, 6)),
    st.tuples(st.sampled_from(["compare", "compress", "attribute"]), st.integers(0, 1)),
    st.tuples(
        st.sampled_from(["rewind", "rewind now", "end", "erase", "reload", "verify all"]),
        st.just(0),
    ),
)


class Drive:
    """A daemon with one tape, and its guest; both may go and come."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.image = folder / "t.tap"
        luns = [",".join((f"0:0:0:0=tape:{self.image}", "create", *options))]
        self.daemon = Daemon(folder, sockets=[folder / "s"], luns=luns, options=["--threads", "1"])
        self.guest: FrontEnd | None = None
        self.tape = self._start()

    def _start(self) -> Tape:
        self.daemon.start()
        self.guest = FrontEnd(self.daemon.socket).start()
        self.guest.ready()
        return Tape(self.guest)

    def leave(self) -> None:
        if self.guest is not None:
            self.guest.close()
            self.guest = None

    def restart(self) -> None:
        self.leave()
        self.daemon.stop()
        self.tape = self._start()

    def kill(self) -> None:
        self.daemon.kill()
        self.leave()
        self.tape = self._start()

    def end(self) -> None:
        self.leave()
        self.daemon.stop()

    def empty(self) -> None:
        """Begin anew: variable blocks, nothing on the tape."""
        select, data = ssc.mode_select(FIXED)
        self.tape.check(select, data_out=data)
        self.tape.rewind()
        self.tape.check(bytes((0x19, 0, 0, 0, 0, 0)))


#: While a rule is set all commands come to Python: one for what tapes do not have changes nothing.
ROADS = [pytest.param((), id="short"), pytest.param(("fault=opcode=unmap:status=busy",), id="long")]


@pytest.fixture(scope="module", params=ROADS)
def drive(request: pytest.FixtureRequest) -> Iterator[Drive]:
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        made = Drive(Path(name), *request.param)
        yield made
        made.end()


def said(response: Response, code: tuple[int, int, int] | None, left: int | None = None) -> None:
    """Check how a command ended; `left` is what its INFORMATION should say."""
    if code is None:
        assert response.good, response
        return
    assert response.sense_code == code, response
    if left is not None:
        assert ssc.residual(response) == left


def step(tape: Tape, model: Model, what: str, number: int, salt: int) -> None:
    """Do one thing to both."""
    match what:
        case "write":
            block = random.Random(salt).randbytes(number)
            tape.write(block)
            model.write(block)
        case "write text":
            block = (b"%d %d, " % (salt, number)) * number
            tape.write(block[:number])
            model.write(block[:number])
        case "write fixed":
            data = random.Random(salt).randbytes(number * FIXED)
            tape.check(ssc.write_6(number, fixed=True), data_out=data)
            for at in range(0, len(data), FIXED):
                model.write(data[at : at + FIXED])
        case "mark":
            tape.mark(number)
            model.mark(number)
        case "read":
            response = tape.read()
            expected = model.read()
            if isinstance(expected, bytes):
                said(response, None)
                assert response.data[: ssc.ROOM - response.resid] == expected
            else:
                assert isinstance(expected, tuple)
                said(response, expected, ssc.ROOM)
        case "read fixed":
            response = tape.do(ssc.read_6(number, fixed=True), data_in=number * FIXED)
            data, code, left = model.read_fixed(number, FIXED)
            said(response, code, left)
            assert response.data[: len(data)] == data
            assert response.resid == number * FIXED - len(data)
        case "blocks" | "marks" | "blocks 16" | "marks 16":
            over = ssc.BLOCKS if what.startswith("blocks") else ssc.MARKS
            build = ssc.space_16 if what.endswith("16") else ssc.space
            pass_over = model.space_blocks if over == ssc.BLOCKS else model.space_marks
            said(tape.do(build(over, number)), *pass_over(number))
        case "row" if number:
            said(tape.do(ssc.space(ssc.ROW, number)), model.space_row(number))
        case "locate":
            said(tape.do(ssc.locate_10(number)), model.locate(number))
        case "locate 16":
            said(tape.do(ssc.locate_16(number)), model.locate(number))
        case "file":
            model.at = 0
            code, _ = model.space_marks(number)
            said(tape.do(ssc.locate_16(number, kind=1)), code)
        case "rewind":
            tape.rewind()
            model.at = 0
        case "rewind now":
            tape.check(bytes((0x01, 1, 0, 0, 0, 0)))
            model.at = 0
        case "verify fixed":
            _, code, left = model.read_fixed(number, FIXED)
            said(tape.do(ssc.verify(number, fixed=True)), code, left)
        case "verify marks":
            said(tape.do(ssc.verify(number, marks=True)), *model.verify_marks(number))
        case "verify all":
            tape.check(ssc.verify(0, everything=True))
            model.space_end()
        case "compare":
            there = model.objects[model.at] if model.at < len(model.objects) else None
            block = there or b"something"
            # The last byte is another one, or all are the same.
            block = block[:-1] + bytes((block[-1] ^ number,))
            code = model.compare(block)
            said(tape.do(ssc.verify(len(block), compare=True), data_out=block), code)
        case "compress":
            tape.compress(on=bool(number))
        case "attribute":
            tape.write_attribute(0x1400 + number, b"%d" % salt)
            model.attributes[0x1400 + number] = b"%d" % salt
        case "end":
            tape.check(ssc.space(ssc.END, 0))
            model.space_end()
        case "erase":
            tape.check(bytes((0x19, 1, 0, 0, 0, 0)))
            model.erase()
        case "reload":
            tape.check(ssc.UNLOAD)
            tape.check(ssc.LOAD)
            model.at = 0


@examples(60)
@given(steps=st.lists(STEPS, min_size=1, max_size=40), restart=st.integers(0, 300))
def test_a_tape_does_what_a_list_does(drive: Drive, steps: list[Step], restart: int) -> None:
    drive.empty()
    model = Model()
    for salt, (what, number) in enumerate(steps):
        event(what)
        step(drive.tape, model, what, number, salt)
        assert drive.tape.position() == model.at
        if salt == restart:
            drive.restart()
            select, data = ssc.mode_select(FIXED)
            drive.tape.check(select, data_out=data)
            model.at = 0
    assert drive.tape.everything() == model.objects
    if model.attributes:
        found = drive.tape.attributes(min(model.attributes))
        assert {code: found[code] for code in model.attributes} == model.attributes


#: Rounds of writing and killing.
ROUNDS = [pytest.param(10, id="some"), pytest.param(50, id="all", marks=pytest.mark.long)]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_nothing_before_an_answered_filemark_is_lost_by_a_kill(rounds: int) -> None:
    chosen = random.Random(rounds)
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        drive = Drive(Path(name))
        kept: list[ssc.Object] = []

        for number in range(rounds):
            assert drive.tape.guest is not None
            if kept and chosen.random() < 0.3:
                # Over what is there, from some filemark on.
                kept = kept[: chosen.randrange(len(kept))]
            drive.tape.check(ssc.locate_10(len(kept)))
            drive.tape.compress(on=chosen.random() < 0.5)
            written = list(kept)
            for _ in range(chosen.randrange(1, 5)):
                block = chosen.randbytes(chosen.randrange(1, 6000)) * chosen.randrange(1, 11)
                drive.tape.write(block)
                written.append(block)
            drive.tape.mark()
            kept = [*written, None]
            # Killed with writes under way, whose answers nobody hears.
            for size in (200_000, 300_001, 4_000_000, 2_000_000):
                cdb = bytes((0x0A, 0)) + size.to_bytes(3, "big") + b"\0"
                drive.tape.guest.submit(0, 0, cdb, data_out=bytes([number]) * size)
            drive.kill()

            found = drive.tape.everything()
            assert found[: len(kept)] == kept, f"round {number}"
            # Behind it are whole blocks of those that were under way, or none.
            for block in found[len(kept) :]:
                assert block is not None
                assert block == bytes([number]) * len(block)
        drive.end()


CDBS = st.builds(
    some_cdb,
    st.sampled_from(SEQUENTIAL),
    # Mostly zeros, so that many of them ask for what is there.
    st.lists(st.sampled_from([0, 0, 0, 0, 1, 2, 3, 8, 0x7F, 0xFF]), min_size=15, max_size=15),
    st.sampled_from([True, True, True, False]),
)
CALLS = st.lists(
    st.tuples(CDBS, st.booleans(), st.sampled_from([0, 1, 20, 512, 70_000])), max_size=15
)


@pytest.fixture(scope="module")
def small() -> Iterator[Drive]:
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        made = Drive(Path(name), "capacity=1M")
        yield made
        made.end()


@examples(150)
@given(calls=CALLS)
def test_any_cdb_gets_an_answer_and_leaves_a_tape(
    small: Drive, calls: list[tuple[bytes, bool, int]]
) -> None:
    tape = small.tape
    for cdb, outgoing, size in calls:
        out, into = (bytes(size), 0) if outgoing else (b"", size)
        response = tape.do(cdb, data_out=out, data_in=into)
        event(f"response {response.response}, status {response.status}")
        assert response.response in {OK, OVERRUN}, (cdb.hex(), response)
        assert response.status in {0x00, 0x02, 0x18}
        assert response.status != CHECK_CONDITION or response.sense_code[0] != HARDWARE_ERROR
        assert 0 <= response.resid <= size
    # What a guest may have set up, reservations among it, is its own: it can undo it.
    clear = bytes((0x5F, 0x06, *bytes(6), 24, 0)), bytes(24)
    tape.do(clear[0], data_out=clear[1])
    tape.check(bytes((0x1E, 0, 0, 0, 0, 0)))
    tape.check(ssc.LOAD)
    tape.guest.ready()
    assert tape.do(ssc.space(ssc.END, 0)).good
    assert small.image.stat().st_size <= 1 << 20
    # With what lies beside it: a tape of nothing but filemarks is taken for one only so.
    beside = small.image.with_name("t.tap.idx")
    with small.image.open("rb") as file, beside.open("rb") as index:
        assert TapeImage(file.fileno(), index.fileno()).torn == 0
