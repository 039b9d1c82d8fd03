"""Any CDB, any buffers, at a drive with its tray closed and open: always a legal answer.

With a disc both roads answer alike, and what is read is what is on it.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from tests.harness import commands as cdb
from tests.harness.answers import describe
from tests.harness.frontend import FAILURE, OK, OVERRUN, Response
from tests.harness.generated import Call, Shape, cdb_of, examples, fill, noise
from tests.harness.house_thread import HouseThread
from tests.harness.persistent import CLEAR, REGISTER_AND_IGNORE
from vhost_pvscsi.scsi.command import Access
from vhost_pvscsi.scsi.opcodes import DISC_OPCODES, MULTIMEDIA

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPE = Shape(64, 2048)
DISC = fill(SHAPE.blocks, SHAPE.block_size)
UNTOUCHED = 0xA5  # what `FrontEnd` fills room with

GOOD, CHECK_CONDITION, RESERVATION_CONFLICT = 0x00, 0x02, 0x18
NOT_READY, HARDWARE_ERROR = 0x02, 0x04
LUN_RESET = 5
EJECT, LOAD = bytes((0x1B, 0, 0, 0, 2, 0)), bytes((0x1B, 0, 0, 0, 3, 0))
MEDIUM = [command for command in MULTIMEDIA if command.access is not Access.OTHER]
READS = frozenset({0x28, 0xA8, 0xBE, 0xB9})


class Drive(HouseThread):
    """A drive, and its guest."""

    def ask(self, call: Call) -> Response:
        return self.guest.scsi(0, 0, call.cdb, data_out=call.data_out, data_in=call.room)

    def ready(self, *, tray_open: bool) -> None:
        """Undo whatever a command may have changed, and have the tray open or closed."""
        for action, keys in ((REGISTER_AND_IGNORE, b"\0" * 15 + b"\1"), (CLEAR, b"\0" * 7 + b"\1")):
            clear = bytes((0x5F, action, 0, 0, 0, 0, 0, 0, 24, 0))
            self.guest.scsi(0, 0, clear, data_out=keys.ljust(24, b"\0"))
        assert self.guest.tmf(LUN_RESET, 0, 0) == OK
        for _ in range(8):
            self.guest.scsi(0, 0, EJECT if tray_open else LOAD)
            answer = self.guest.scsi(0, 0, bytes(6))
            if answer.good != tray_open and (answer.good or answer.sense_code[0] == NOT_READY):
                return
        pytest.fail("the drive did not get ready again")


@pytest.fixture(scope="module")
def drive(request: pytest.FixtureRequest) -> Iterator[Drive]:
    """One drive for all tests of this module."""
    denied = request.config.getoption("--deny-io-uring")
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        disc = Path(name, "disc.iso")
        disc.write_bytes(DISC)
        with Drive([f"0:0:0:0=cd:{disc}"], io_uring=not denied) as made:
            yield made
        assert disc.read_bytes() == DISC, "the disc was written"


@pytest.fixture(autouse=True)
def _no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not errors, [record.getMessage() for record in errors]


def check_legal(call: Call, answer: Response) -> None:
    """Hold an answer against what all of them have to keep to."""
    event(describe(answer).split(" at ")[0])
    if call.room and call.data_out:
        assert answer.response == FAILURE
        return
    assert answer.response in (OK, OVERRUN)
    assert answer.status in (GOOD, CHECK_CONDITION, RESERVATION_CONFLICT)
    moved = answer.written - 108
    assert 0 <= moved <= call.room
    assert answer.data[moved:] == bytes((UNTOUCHED,)) * (call.room - moved)
    if answer.response == OK and answer.status == CHECK_CONDITION:
        assert answer.sense_code[0] != HARDWARE_ERROR


def calls(cdbs: st.SearchStrategy[bytes]) -> st.SearchStrategy[Call]:
    rooms = st.sampled_from([0, 1, 8, 255, 2048, 4096, 16 * 2048])
    inwards = st.builds(lambda cdb, room: Call(cdb, b"", room), cdbs, rooms)
    outwards = st.builds(lambda cdb, size: Call(cdb, bytes(size)), cdbs, rooms)
    return st.one_of(inwards, inwards, outwards, st.builds(Call, cdbs, st.just(b"1"), st.just(8)))


def known(commands: object) -> st.SearchStrategy[bytes]:
    return st.sampled_from(commands).flatmap(lambda command: cdb_of(command, SHAPE))


@example(call=Call(cdb.read_10(3, 2), room=4096))
@example(call=Call(bytes.fromhex("be0800000003000002100000"), room=4096))
@given(call=calls(known(MEDIUM)))
@examples(300)
def test_a_disc_is_read_alike_on_both_roads(drive: Drive, call: Call) -> None:
    drive.ready(tray_open=False)
    before = drive.short()
    first = drive.ask(call)
    both_ways = bool(call.room and call.data_out)
    assert (drive.short() > before) == (call.cdb[0] in DISC_OPCODES and not both_ways)
    drive.shut(0)
    try:
        second = drive.ask(call)
    finally:
        drive.open(0)
    assert first == second
    check_legal(call, first)
    if first.good and call.cdb[0] in READS:
        assert first.data[: first.written - 108] in DISC


@example(tray_open=True, call=Call(cdb.read_10(3, 2), room=4096))
@example(tray_open=False, call=Call(bytes.fromhex("43020000000000000c00"), room=255))
@given(tray_open=st.booleans(), call=calls(known(MULTIMEDIA)))
@examples(300)
def test_any_known_command_is_answered_legally(drive: Drive, tray_open: bool, call: Call) -> None:
    drive.ready(tray_open=tray_open)
    check_legal(call, drive.ask(call))


@given(tray_open=st.booleans(), call=calls(noise()))
@examples(150)
def test_any_bytes_are_answered_legally(drive: Drive, tray_open: bool, call: Call) -> None:
    drive.ready(tray_open=tray_open)
    check_legal(call, drive.ask(call))
