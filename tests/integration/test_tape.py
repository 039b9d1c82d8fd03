"""Tapes: what a front-end is answered, what is in the image, and what outlives the daemon."""

from __future__ import annotations

import re
import struct
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.harness import tape as ssc
from tests.harness.daemon import Daemon
from tests.harness.frontend import FrontEnd
from tests.harness.pvscsi_frontend import PvscsiFrontEnd
from tests.harness.tape import Tape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.evidence import Collector

    from .conftest import MakeDaemon

TEST_UNIT_READY = bytes(6)
NOT_THERE = (2, 0x3A, 0x00)
PROTECTED = (7, 0x27, 0x00)


@pytest.fixture
def image(folder: Path) -> Path:
    return folder / "t.tap"


class Attach(Protocol):
    """Attaches the tape with these options, for as long as the context lasts."""

    def __call__(self, *options: str) -> AbstractContextManager[Tape]: ...


@pytest.fixture
def attach(make_daemon: MakeDaemon, image: Path) -> Attach:
    @contextmanager
    def attached(*options: str) -> Iterator[Tape]:
        pdev = ",".join((f"tape:{image}", "create", *options))
        daemon = make_daemon([f"0:0:0:0={pdev}"])
        with FrontEnd(daemon.socket) as guest:
            guest.ready()
            yield Tape(guest)
        daemon.stop()

    return attached


def record(data: bytes) -> bytes:
    length = struct.pack("<I", len(data))
    return length + data + bytes(len(data) % 2) + length


def test_a_guest_is_told_that_it_is_a_tape(attach: Attach) -> None:
    with attach() as tape:
        inquiry = tape.check(bytes.fromhex("120000006000"), data_in=96).data
        assert inquiry[:2] == bytes((0x01, 0x80))
        assert inquiry[8:32] == b"VHPVSCSIVIRTUAL TAPE    "
        limits = tape.check(bytes((0x05, *bytes(5))), data_in=6).data
        assert limits == struct.pack(">IH", 8 << 20, 1)
        # As Linux's st asks for the block length and write protection: page 00h.
        assert tape.check(bytes((0x1A, 0, 0, 0, 12, 0)), data_in=12).data[2:4] == bytes((0x10, 8))


def test_the_list_of_commands_is_that_of_a_tape(attach: Attach) -> None:
    with attach() as tape:
        report = tape.check(bytes.fromhex("a30c0000000000000fff0000"), data_in=4095).data
        length = struct.unpack_from(">I", report)[0]
        codes = {report[at] for at in range(4, 4 + length, 8)}
        assert {0x01, 0x05, 0x10, 0x11, 0x19, 0x2B, 0x34, 0x44, 0x91, 0x92} <= codes
        assert not {0x25, 0x28, 0x2A, 0x35, 0x42, 0x83, 0x9E} & codes
        for code in (0x25, 0x28, 0x42):
            assert tape.do(bytes((code, *bytes(9))), data_in=8).sense_code == (5, 0x20, 0)


def test_blocks_and_filemarks_come_back_as_they_were_written(attach: Attach, image: Path) -> None:
    with attach() as tape:
        tape.write(b"first")
        tape.write(b"x" * 9000)
        tape.mark()
        tape.write(b"behind the mark")
        tape.mark(2)
        wanted = [b"first", b"x" * 9000, None, b"behind the mark", None, None]
        assert tape.everything() == wanted
        assert tape.position() == 6
    assert image.read_bytes() == b"".join(
        bytes(4) if one is None else record(one) for one in wanted
    )


def test_a_restarted_daemon_has_what_was_written_and_is_rewound(
    attach: Attach,
) -> None:
    with attach() as tape:
        tape.write(b"kept")
        tape.mark()
    with attach() as tape:
        assert tape.position() == 0
        assert tape.rest() == [b"kept", None]


def test_a_read_that_ends_at_a_mark_has_its_data_and_the_rest_told(attach: Attach) -> None:
    with attach() as tape:
        cdb, data = ssc.mode_select(512)
        tape.check(cdb, data_out=data)
        tape.check(ssc.write_6(3, fixed=True), data_out=b"abc" * 512)
        tape.mark()
        tape.rewind()
        response = tape.do(ssc.read_6(8, fixed=True), data_in=8 * 512)
        assert response.sense_code == ssc.FOUND_MARK
        assert ssc.flags(response) == ssc.FILEMARK
        assert (ssc.residual(response), response.resid) == (5, 5 * 512)
        assert response.data[: 3 * 512] == b"abc" * 512
        assert response.data[3 * 512 :] == b"\xa5" * 5 * 512, "more was touched"


@pytest.mark.parametrize(("room", "left"), [(60, -40), (300, 200)])
def test_another_length_is_told_unless_it_is_suppressed(
    attach: Attach, room: int, left: int
) -> None:
    with attach() as tape:
        tape.write(b"z" * 100)
        tape.rewind()
        response = tape.do(ssc.read_6(room), data_in=room)
        assert (response.sense_code, ssc.flags(response)) == (ssc.NOTHING_MORE, ssc.ILI)
        assert (ssc.residual(response), response.resid) == (left, max(left, 0))
        tape.rewind()
        response = tape.do(ssc.read_6(room, suppress=True), data_in=room)
        assert (response.good, response.resid) == (True, max(left, 0))


def test_sense_in_descriptors_says_the_same(attach: Attach) -> None:
    with attach() as tape:
        tape.mark()
        tape.rewind()
        page = bytes((0x0A, 10, 0x06, *bytes(5), 0xFF, 0xFF, 0, 0))
        data = bytes((0, 0, 0x10, 0)) + page
        tape.check(bytes((0x15, 0x10, 0, 0, len(data), 0)), data_out=data)
        response = tape.do(ssc.read_6(10), data_in=10)
        assert response.sense.hex() == ("7200000100000010000a8000000000000000000a04020080")


def test_a_fixed_read_without_a_length_is_a_mistake(attach: Attach) -> None:
    with attach() as tape:
        for cdb in (ssc.read_6(1, fixed=True), ssc.write_6(1, fixed=True)):
            out = bytes(512) if cdb[0] == 0x0A else b""
            response = tape.do(cdb, data_out=out, data_in=0 if out else 512)
            assert response.sense_code == (5, 0x24, 0)


def test_blocks_have_8_mib_at_most(attach: Attach, image: Path) -> None:
    most = 8 << 20
    with attach() as tape:
        block = bytes(range(256)) * (most // 256)
        tape.check(bytes((0x0A, 0)) + most.to_bytes(3, "big") + b"\0", data_out=block)
        over = bytes((0x0A, 0)) + (most + 1).to_bytes(3, "big") + b"\0"
        assert tape.do(over, data_out=block + b"x").sense_code == (5, 0x24, 0)
        tape.rewind()
        read = bytes((0x08, 0)) + most.to_bytes(3, "big") + b"\0"
        assert tape.check(read, data_in=most).data == block
    assert image.stat().st_size == most + 8


def test_a_protected_tape_is_read_and_not_written(attach: Attach, image: Path) -> None:
    with attach() as tape:
        tape.write(b"there")
    with attach("ro") as tape:
        for cdb, out in (
            (ssc.write_6(3), b"abc"),
            (ssc.write_filemarks(1), b""),
            (bytes((0x19, *bytes(5))), b""),
        ):
            assert tape.do(cdb, data_out=out).sense_code == PROTECTED
        assert tape.check(bytes((0x1A, 0, 0, 0, 12, 0)), data_in=12).data[2] & 0x80
        assert tape.everything() == [b"there"]
    assert image.read_bytes() == record(b"there")


def test_the_end_is_warned_of_and_then_met(attach: Attach, image: Path) -> None:
    block, capacity = b"e" * 20_000, 256 << 10
    with attach("capacity=256K") as tape:
        answers = []
        while not answers or answers[-1].sense_code != ssc.OVERFLOW:
            response = tape.do(ssc.write_6(len(block)), data_out=block)
            if response.good:
                assert not answers, "GOOD behind a warning"
                continue
            answers.append(response)
            assert ssc.flags(response) == ssc.EOM
        *warned, full = answers
        assert len(warned) >= 2
        assert {one.sense_code for one in warned} == {ssc.EARLY_WARNING}
        assert {ssc.residual(one) for one in warned} == {0}
        assert (ssc.residual(full), full.resid) == (len(block), len(block))
        # There is room for a filemark still, and its place is told as one near the end.
        assert tape.do(ssc.write_filemarks(1)).sense_code == ssc.EARLY_WARNING
        assert tape.check(ssc.READ_POSITION, data_in=20).data[0] & 0x40
        written = tape.everything()
        assert written[-1] is None
        assert set(written[:-1]) == {block}
    assert image.stat().st_size <= capacity


def test_an_unloaded_tape_is_not_there_until_it_is_loaded(attach: Attach) -> None:
    with attach() as tape:
        tape.write(b"inside")
        tape.check(bytes((0x1E, 0, 0, 0, 1, 0)))
        assert tape.do(ssc.UNLOAD).sense_code == (5, 0x53, 0x02)
        tape.check(bytes((0x1E, 0, 0, 0, 0, 0)))
        tape.check(ssc.UNLOAD)
        for cdb in (TEST_UNIT_READY, ssc.REWIND, ssc.write_filemarks(1), ssc.space(3, 0)):
            assert tape.do(cdb).sense_code == NOT_THERE
        assert tape.read().sense_code == NOT_THERE
        tape.check(ssc.LOAD)
        tape.check(TEST_UNIT_READY)
        assert tape.position() == 0
        assert tape.rest() == [b"inside"]


def test_a_write_in_the_middle_ends_the_tape_there(attach: Attach, image: Path) -> None:
    with attach() as tape:
        for number in range(10):
            tape.write(b"%d" % number)
        tape.check(ssc.locate_10(4))
        tape.write(b"new")
        assert tape.read().sense_code == ssc.END_OF_DATA
        assert tape.everything() == [b"0", b"1", b"2", b"3", b"new"]
    assert image.read_bytes().endswith(record(b"3") + record(b"new"))


def test_an_erased_tape_ends_where_it_was_erased(attach: Attach) -> None:
    with attach() as tape:
        for number in range(4):
            tape.write(b"%d" % number)
        tape.check(ssc.locate_16(2))
        tape.check(bytes((0x19, 0x01, 0, 0, 0, 0)))
        assert tape.everything() == [b"0", b"1"]


def test_a_torn_tail_is_cut_with_a_line_in_the_log(make_daemon: MakeDaemon, image: Path) -> None:
    whole = record(b"whole") + bytes(4)
    image.write_bytes(whole + record(b"torn in the middle")[:12])
    daemon = make_daemon([f"0:0:0:0=tape:{image}"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        assert Tape(guest).rest() == [b"whole", None]
    assert f"a tail of 12 bytes at byte {len(whole)} was cut" in daemon.log()
    assert image.read_bytes() == whole


def test_one_tape_is_no_second_one(make_daemon: MakeDaemon, image: Path) -> None:
    image.touch()
    daemon = make_daemon([f"0:0:0:0=tape:{image},share", f"0:0:1:0=tape:{image},share,ro"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        guest.ready(target=1)
        first, second = Tape(guest), Tape(guest, target=1)
        first.write(b"shared")
        assert second.position() == 1
        assert second.do(ssc.write_6(1), data_out=b"x").sense_code == PROTECTED
        second.rewind()
        assert first.rest() == [b"shared"]


def test_a_reservation_of_another_guest_keeps_the_tape(
    make_daemon: MakeDaemon, image: Path
) -> None:
    image.touch()
    luns = [f"{host}:0:0:0=tape:{image},share" for host in (0, 1)]
    daemon = make_daemon(luns, sockets=2)
    with FrontEnd(daemon.sockets[0]) as one, FrontEnd(daemon.sockets[1]) as other:
        one.ready()
        other.ready()
        tape, locked_out = Tape(one), Tape(other)
        tape.check(bytes((0x16, *bytes(5))))
        for cdb in (ssc.REWIND, ssc.space(3, 0), ssc.write_filemarks(1)):
            assert locked_out.do(cdb).status == 0x18
        tape.write(b"mine")
        tape.check(bytes((0x17, *bytes(5))))
        locked_out.rewind()
        assert locked_out.rest() == [b"mine"]


def test_commands_that_are_sent_together_are_done_in_order(attach: Attach) -> None:
    with attach() as tape:
        guest = tape.guest
        pending = []
        for number in range(20):
            data = b"%02d" % number * (number * 500 + 1)
            pending.append(guest.submit(0, 0, ssc.write_6(len(data)), data_out=data))
            pending.append(guest.submit(0, 0, ssc.write_filemarks(1)))
        for one in pending:
            assert guest.wait(one).good
        wanted = []
        for number in range(20):
            wanted += [b"%02d" % number * (number * 500 + 1), None]
        assert tape.everything() == wanted


def test_a_tape_fails_on_demand(attach: Attach) -> None:
    with attach("fault=opcode=read:nth=2:sense=3/11/00") as tape:
        for number in range(3):
            tape.write(b"%d" % number)
        tape.rewind()
        answers = [tape.read() for _ in range(3)]
        assert [one.good for one in answers] == [True, False, True]
        assert answers[1].sense_code == (3, 0x11, 0x00)


def test_a_filemark_is_on_stable_storage_when_it_is_answered(
    folder: Path, image: Path, evidence: Collector
) -> None:
    trace = folder / "trace"
    daemon = Daemon(
        folder,
        sockets=[folder / "s"],
        luns=[f"0:0:0:0=tape:{image},create"],
        options=["--threads", "1"],
        launcher=["strace", "-D", "-f", "-qq", "-o", str(trace), "-e", "trace=fdatasync,ftruncate"],
    )

    def calls(tape: Tape, cdb: bytes, data_out: bytes = b"") -> list[str]:
        seen = len(trace.read_text())
        tape.check(cdb, data_out=data_out)
        return re.findall(r"(fdatasync|ftruncate)\(", trace.read_text()[seen:])

    with daemon, evidence.watch(daemon), FrontEnd(folder / "s") as guest:
        guest.ready()
        tape = Tape(guest)
        tape.write(b"first")
        assert calls(tape, ssc.write_6(5), b"block") == []
        assert calls(tape, ssc.write_filemarks(1)) == ["fdatasync"]
        assert calls(tape, ssc.write_filemarks(1, immediate=True)) == []
        assert calls(tape, ssc.write_filemarks(0)) == ["fdatasync"]
        assert calls(tape, ssc.write_filemarks(0)) == [], "there was nothing left to do"
        tape.write(b"again")
        assert calls(tape, ssc.locate_10(1)) == ["fdatasync"]
        # In the middle: cut, and the cut stable, before anything is written.
        assert calls(tape, ssc.write_6(3), b"new") == ["ftruncate", "fdatasync"]
        select, data = ssc.mode_select(0, buffered=False)
        tape.check(select, data_out=data)
        assert calls(tape, ssc.write_6(3), b"now") == ["fdatasync"]


def test_a_host_without_room_is_the_end_of_the_tape(
    folder: Path, image: Path, evidence: Collector
) -> None:
    # As a full file system would: no file of the daemon's may be longer.
    limit = 300_000
    daemon = Daemon(
        folder,
        sockets=[folder / "s"],
        luns=[f"0:0:0:0=tape:{image},create"],
        launcher=["prlimit", f"--fsize={limit}"],
    )
    block = b"f" * 60_000
    with daemon, evidence.watch(daemon), FrontEnd(folder / "s") as guest:
        guest.ready()
        tape = Tape(guest)
        for _ in range(4):
            tape.write(block)
        full = tape.do(ssc.write_6(len(block)), data_out=block)
        assert (full.sense_code, ssc.flags(full)) == (ssc.OVERFLOW, ssc.EOM)
        assert (ssc.residual(full), full.resid) == (len(block), len(block))
        tape.mark()
        assert tape.everything() == [block] * 4 + [None]
    assert "WRITE(6)" in daemon.log()
    assert image.read_bytes() == record(block) * 4 + bytes(4)


def test_a_guest_of_xen_has_the_same_tape(make_daemon: MakeDaemon, image: Path) -> None:
    image.touch()
    daemon = make_daemon([f"0:0:0:0=tape:{image}"])
    with PvscsiFrontEnd(daemon.socket) as guest:
        guest.ready()
        block = bytes(range(256)) * 100
        assert guest.scsi(0, 0, ssc.write_6(len(block)), data_out=block).good
        assert guest.scsi(0, 0, ssc.write_filemarks(1)).good
        assert guest.scsi(0, 0, ssc.REWIND).good
        response = guest.scsi(0, 0, ssc.read_6(30_000), data_in=30_000)
        assert response.sense[2] == ssc.ILI
        assert response.data[: len(block)] == block
        assert response.resid == 30_000 - len(block)
        response = guest.scsi(0, 0, ssc.read_6(512), data_in=512)
        assert response.sense[2] == ssc.FILEMARK
    assert image.read_bytes() == record(block) + bytes(4)
