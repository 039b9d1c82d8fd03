"""Tapes: compressed blocks, VERIFY, commands that go on behind their answer, limits of rings."""

from __future__ import annotations

import os
import random
import re
import signal
import struct
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness import tape as ssc
from tests.harness.daemon import Daemon, program
from tests.harness.frontend import ABORTED, FUNCTION_COMPLETE, RESET_RESPONSE, FrontEnd
from tests.harness.pvscsi_frontend import PvscsiFrontEnd
from tests.harness.tape import Tape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.evidence import Collector

    from .conftest import MakeDaemon

READ_BLOCK_LIMITS = bytes((0x05, *bytes(5)))
TEXT = b"what a backup has much of: " * 4000
INQUIRY = bytes((0x12, 0, 0, 0, 36, 0))
REQUEST_SENSE = bytes((0x03, 0, 0, 0, 18, 0))
IN_PROGRESS = (2, 0x04, 0x07)
#: Task management functions (virtio 1.2, 5.6.6.2).
ABORT_TASK, ABORT_TASK_SET, LUN_RESET = 0, 1, 5


def run(*words: str | Path) -> str:
    done = subprocess.run(
        [program(), "tape", *map(str, words)], capture_output=True, check=False, text=True
    )
    return f"{done.returncode} {done.stdout}"


def test_compressed_and_plain_blocks_are_one_tape(make_daemon: MakeDaemon, folder: Path) -> None:
    image, noise = folder / "t.tap", random.Random(8).randbytes(5000)
    daemon = make_daemon([f"0:0:0:0=tape:{image},create"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        tape = Tape(guest)
        tape.write(b"plain" * 1000)
        tape.compress(on=True)
        tape.write(TEXT[:50_000])
        tape.write(noise)
        tape.mark()
        tape.compress(on=False)
        tape.write(b"plain" * 1000)
        tape.mark()
        wanted = [b"plain" * 1000, TEXT[:50_000], noise, None, b"plain" * 1000, None]
        assert tape.everything() == wanted
        page = tape.check(bytes.fromhex("4d005b00000000ffff00"), data_in=500).data
        ratio = struct.unpack_from(">H", page, 4 + 6 + 4)[0]
        assert 300 < ratio < 2000, "60000 bytes, of which 50000 become some hundred"
        # Over a road of its own: a command in fixed blocks.
        select, data = ssc.mode_select(1000)
        tape.check(select, data_out=data)
        tape.compress(on=True)
        tape.check(ssc.write_6(50, fixed=True), data_out=TEXT[:50_000])
        tape.rewind()
        tape.check(ssc.space(ssc.MARKS, 2))
        read = tape.check(ssc.read_6(50, fixed=True), data_in=50_000)
        assert read.data == TEXT[:50_000]
    daemon.stop()
    assert image.stat().st_size < 30_000
    # Others see what is not compressed; our tools see all.
    listed = run("ls", image)
    assert "2 compressed" not in listed
    assert "1 compressed, to" in listed
    assert "compressed to" in run("ls", "--blocks", image)
    assert run("verify", image).startswith("0 54 blocks and 2 filemarks")
    run("export", image, "0", "-o", folder / "out")
    assert (folder / "out").read_bytes() == b"plain" * 1000 + TEXT[:50_000] + noise
    broken = bytearray(image.read_bytes())
    broken[broken.index(b"VPTAPEZ1") + 60] ^= 0xFF
    image.write_bytes(broken)
    assert "1 compressed blocks are damaged" in run("verify", image)


def test_a_drive_compresses_from_the_beginning_by_an_option(
    make_daemon: MakeDaemon, folder: Path
) -> None:
    daemon = make_daemon([f"0:0:0:0=tape:{folder}/t.tap,create,compression=on"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        tape = Tape(guest)
        tape.write(TEXT)
        tape.mark()
        assert tape.everything() == [TEXT[: ssc.ROOM], None]
    daemon.stop()
    assert (folder / "t.tap").stat().st_size < 1000


def test_verify_compares_what_is_sent(make_daemon: MakeDaemon, folder: Path) -> None:
    daemon = make_daemon([f"0:0:0:0=tape:{folder}/t.tap,create"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        tape = Tape(guest)
        tape.write(b"a" * 70_000)
        tape.write(b"b" * 500)
        tape.rewind()
        compare = bytes((0x13, 0x02)) + (70_000).to_bytes(3, "big") + b"\0"
        response = tape.check(compare, data_out=b"a" * 70_000)
        assert response.resid == 0
        other = bytes((0x13, 0x02, 0, 0x01, 0xF4, 0))
        response = tape.do(other, data_out=b"b" * 499 + b"a")
        assert (response.sense_code, ssc.residual(response)) == ((0xE, 0x1D, 0), 500)
        tape.rewind()
        tape.check(bytes((0x13, 0x20, 0, 0, 0, 0)))
        assert tape.position() == 2


def volume_statistics(tape: Tape) -> dict[int, bytes]:
    """The parameters of log page 17h."""
    data, found, at = tape.check(bytes.fromhex("4d005700000000ffff00"), data_in=1000).data, {}, 4
    end = 4 + int.from_bytes(data[2:4], "big")
    while at < end:
        code, _, length = struct.unpack_from(">HBB", data, at)
        found[code] = data[at + 4 : at + 4 + length]
        at += 4 + length
    return found


def test_a_volume_counts_blocks_and_the_bytes_that_are_left_of_them(
    make_daemon: MakeDaemon, folder: Path
) -> None:
    pdev = f"tape:{folder}/t.tap,create,compression=on,capacity=100M"
    noise = random.Random(8).randbytes(1 << 20)
    for times in (1, 2):
        daemon = make_daemon([f"0:0:0:0={pdev}"])
        with FrontEnd(daemon.socket) as guest:
            guest.ready()
            tape = Tape(guest)
            for block in (bytes(4 << 20), noise, noise, noise):
                tape.write(block)
            told = volume_statistics(tape)
            numbers = {code: int.from_bytes(value, "big") for code, value in told.items()}
            assert (numbers[0x02], numbers[0x07]) == (4 * times, 0)
            assert (numbers[0x0E], numbers[0x10]) == (3, 3 * times)
            assert numbers[0x12] > 200, "7 MiB, of which 3 are left"
            sizes = [struct.unpack(">BxHI", told[code]) for code in (0x202, 0x203, 0x204)]
            assert sizes == [(7, 0, 104), (7, 0, 3), (7, 0, 101)]
            memory = tape.attributes(0)
            assert int.from_bytes(memory[0x220], "big") == 3 * times
            assert int.from_bytes(memory[0x222], "big") == 3
        daemon.stop()


def tracer(pid: int) -> int:
    """The process that traces another one (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^TracerPid:\s+(\d+)$", status, re.MULTILINE)[0])


@contextmanager
def held_up(
    folder: Path, evidence: Collector, call: str, delay: str, pdev: str | None = None
) -> Iterator[Daemon]:
    """A daemon whose system calls of a kind take that long, where they are about `t.tap` alone.

    It has a LUN, that tape or `pdev`.
    """
    image = folder / "t.tap"
    image.touch()
    inject = "-P", str(image), "-e", f"inject={call}:delay_enter={delay}"
    daemon = Daemon(
        folder,
        sockets=[folder / "s"],
        luns=[f"0:0:0:0={pdev or f'tape:{image}'}"],
        options=["--control", str(folder / "control")],
        launcher=["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", *inject],
    )
    with daemon, evidence.watch(daemon):
        yield daemon


@pytest.mark.parametrize(
    "cdb",
    [
        bytes((0x01, 1, 0, 0, 0, 0)),
        bytes((0x2B, 1, *bytes(8))),
        bytes((0x19, 2, 0, 0, 0, 0)),
        ssc.verify(0, everything=True, immediate=True),
    ],
    ids=["rewind", "locate", "erase", "verify"],
)
def test_what_was_written_is_stable_before_what_is_immediate_is_answered(
    folder: Path, evidence: Collector, cdb: bytes
) -> None:
    held = held_up(folder, evidence, "fdatasync", "600s")
    with held as daemon, FrontEnd(folder / "s") as guest:
        guest.ready()
        tape = Tape(guest)
        tape.write(b"x" * 100_000)
        flushing = guest.submit(0, 0, cdb)
        # Who waits for the tape is aborted without it.
        waiting = guest.submit(0, 0, ssc.READ_POSITION, data_in=20, tag=1000)
        tape.check(bytes(6))
        assert guest.tmf(ABORT_TASK, 0, 0, tag=1000) == FUNCTION_COMPLETE
        assert guest.wait(waiting).response == ABORTED
        assert not guest.is_done(flushing)
        os.kill(tracer(daemon.pid), signal.SIGKILL)
        assert guest.wait(flushing).good


def test_a_verify_goes_on_behind_its_answer_until_a_reset(
    folder: Path, evidence: Collector
) -> None:
    # Some 1000 objects: minutes.
    with held_up(folder, evidence, "preadv2", "200ms"), FrontEnd(folder / "s") as guest:
        guest.ready()
        tape = Tape(guest)
        for _ in range(500):
            tape.write(b"x")
        tape.mark(500)
        tape.rewind()
        tape.check(ssc.verify(0, everything=True, immediate=True))
        ready = tape.do(bytes(6))
        assert ready.sense_code == IN_PROGRESS
        assert ready.sense[15] == 0x80, "progress"
        told = tape.check(REQUEST_SENSE, data_in=18).data
        assert (told[2], told[12], told[13], told[15]) == (0, 0x00, 0x1C, 0x80)
        assert volume_statistics(tape)[0x02] == (500).to_bytes(8, "big")
        # It has been answered: there is no task to be aborted.
        assert guest.tmf(ABORT_TASK_SET, 0, 0) == FUNCTION_COMPLETE
        assert tape.do(bytes(6)).sense_code == IN_PROGRESS
        waiting = guest.submit(0, 0, ssc.READ_POSITION, data_in=20)
        assert guest.tmf(LUN_RESET, 0, 0) == FUNCTION_COMPLETE
        assert guest.wait(waiting).response == RESET_RESPONSE
        assert tape.do(bytes(6)).sense_code == (6, 0x29, 3)
        tape.check(bytes(6))
        assert tape.position() < 1000


def test_others_are_answered_while_an_image_is_read_from_end_to_end(
    folder: Path, evidence: Collector
) -> None:
    image = folder / "t.tap"
    image.write_bytes(bytes((1, 0, 0, 0, 7, 0, 1, 0, 0, 0)) * 1000)
    held = held_up(folder, evidence, "preadv2", "600s", "ram:1M")
    with held as daemon, FrontEnd(folder / "s") as guest:
        guest.ready()
        words = [program(), "scsi-attach", "--control", folder / "control"]
        attaching = subprocess.Popen([*words, f"tape:{image}", "0:0:1:0"])
        # It is locked before it is read.
        while f":{image.stat().st_ino} " not in Path("/proc/locks").read_text():
            assert attaching.poll() is None
            assert guest.scsi(0, 0, INQUIRY, data_in=36).good
        for _ in range(3):
            assert guest.scsi(0, 0, INQUIRY, data_in=36).good
        assert attaching.poll() is None
        os.kill(tracer(daemon.pid), signal.SIGKILL)
        assert attaching.wait(60) == 0
        guest.ready(target=1)
        assert len(Tape(guest, target=1).everything()) == 1000


def test_blocks_are_as_long_as_a_ring_carries(make_daemon: MakeDaemon, folder: Path) -> None:
    pdev = f"tape:{folder}/t.tap,create,share=on"
    daemon = make_daemon([f"0:0:0:0={pdev}", f"0:0:1:0={pdev},max-transfer=256K"])

    def longest(response_data: bytes) -> int:
        return int.from_bytes(response_data[1:4], "big")

    with FrontEnd(daemon.socket) as guest:
        for target, wanted in ((0, 8 << 20), (1, 256 << 10)):
            guest.ready(target=target)
            tape = Tape(guest, target)
            assert longest(tape.check(READ_BLOCK_LIMITS, data_in=6).data) == wanted
    with PvscsiFrontEnd(daemon.socket) as xen:
        for target, wanted in ((0, 508 << 10), (1, 256 << 10)):
            xen.ready(target=target)
            assert longest(xen.scsi(target, 0, READ_BLOCK_LIMITS, data_in=6).data) == wanted


def test_a_label_is_kept_beside_the_image(make_daemon: MakeDaemon, folder: Path) -> None:
    image = folder / "t.tap"
    assert run("create", image).startswith("0")
    assert run("label", image, "--barcode", "VT0001L8", "--protect").startswith("0")
    daemon = make_daemon([f"0:0:0:0=tape:{image}"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        tape = Tape(guest)
        assert tape.attributes(0x806)[0x806] == b"VT0001L8".ljust(32)
        assert tape.do(ssc.write_6(3), data_out=b"abc").sense_code == (7, 0x27, 0)
        assert run("label", image, "--unprotect").startswith("1"), "it is attached"
    daemon.stop()
    assert "labelled VT0001L8\nwrite-protected" in run("info", image)
    assert run("label", image, "--unprotect").startswith("0")
    assert run("label", image, "--barcode", "x" * 33).startswith("2")
    assert "write-protected" not in run("info", image)
    daemon = make_daemon([f"0:0:0:0=tape:{image}"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        Tape(guest).write(b"abc")
    daemon.stop()
    image.with_name("t.tap.mam").unlink()
    assert run("verify", image).startswith("0 1 blocks")


def raised(tape: Tape) -> set[int]:
    """The TapeAlert flags that are up."""
    data = tape.check(bytes.fromhex("4d006e00000000ffff00"), data_in=500).data
    return {flag for flag in range(1, 65) if data[4 + 5 * (flag - 1) + 4]}


def test_what_goes_wrong_is_an_alert_once_for_each_guest(
    make_daemon: MakeDaemon, folder: Path
) -> None:
    image = folder / "t.tap"
    word = (0x8000_0002).to_bytes(4, "little")
    image.write_bytes(word + b"xy" + word)
    pdev = f"tape:{image},share=on"
    daemon = make_daemon([f"0:0:0:0={pdev}", f"0:0:1:0={pdev},ro", f"1:0:0:0={pdev}"], sockets=2)
    one, other = (FrontEnd(socket) for socket in daemon.sockets)
    with one, other:
        one.ready()
        one.ready(target=1)
        other.ready()
        tape, protected = Tape(one), Tape(one, target=1)
        assert raised(tape) == set()
        assert tape.read().sense_code == (3, 0x11, 0)
        assert raised(tape) == {3, 4, 5}
        assert raised(tape) == set()
        assert protected.do(ssc.write_filemarks(1)).sense_code == (7, 0x27, 0)
        assert raised(tape) == {9}
        assert raised(Tape(other)) == {3, 4, 5, 9}
        tape.check(ssc.UNLOAD)
        tape.check(ssc.LOAD)
        assert raised(tape) == set()
