"""The daemon as a program: sockets, front-ends that come and go, its end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness import driver
from tests.harness.daemon import Daemon, program
from tests.harness.errors import HarnessError
from tests.harness.frontend import FrontEnd
from tests.harness.peer import Peer

if TYPE_CHECKING:
    from .conftest import MakeDaemon


def test_one_front_end_after_the_other(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(["0:0:0:0=ram:1M"])
    for turn in range(5):
        with FrontEnd(daemon.socket) as guest:
            guest.ready()
            if turn:
                back = guest.scsi(0, 0, cdb.read_10(turn - 1, 1), data_in=512).data
                assert back == bytes([turn - 1]) * 512, "the RAM disk forgot"
            assert guest.scsi(0, 0, cdb.write_10(turn, 1), data_out=bytes([turn]) * 512).good


def test_a_second_front_end_at_the_same_time_is_turned_away(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(["0:0:0:0=ram:1M"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        with pytest.raises((HarnessError, ConnectionError)):
            FrontEnd(daemon.socket).start()
        daemon.wait_for_line("turned away")
        assert guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512).good, "the first one suffered"


def test_hosts_are_apart(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(["0:0:0:0=ram:1M", "1:0:3:7=ram:1M"], sockets=2)
    with FrontEnd(daemon.sockets[0]) as first, FrontEnd(daemon.sockets[1]) as second:
        first.ready(0, 0)
        second.ready(3, 7)
        assert second.scsi(3, 7, cdb.write_10(0, 1), data_out=b"x" * 512).good
        assert first.scsi(0, 0, cdb.read_10(0, 1), data_in=512).data == bytes(512)
        assert first.scsi(3, 7, bytes(6)).response == 3, "the other host's LUN is here"


def test_a_shared_unit_is_one_disk(make_daemon: MakeDaemon, image: Path) -> None:
    shared = f"{image},share=on"
    daemon = make_daemon([f"0:0:0:0={shared}", f"1:0:0:5={shared}"], sockets=2)
    with FrontEnd(daemon.sockets[0]) as first, FrontEnd(daemon.sockets[1]) as second:
        first.ready()
        second.ready(0, 5)
        assert first.scsi(0, 0, cdb.write_10(9, 1), data_out=b"s" * 512).good
        assert second.scsi(0, 5, cdb.read_10(9, 1), data_in=512).data == b"s" * 512
        names = [
            guest.scsi(0, lun, cdb.inquiry(255, page=0x83), data_in=255).data
            for guest, lun in ((first, 0), (second, 5))
        ]
        assert names[0] == names[1]
        assert first.tmf(5, 0, 0) == 0
        told = second.scsi(0, 5, bytes(6))
        assert told.sense_code[:2] == (6, 0x29), "the other nexus was not told of the reset"


@pytest.mark.parametrize("kind", ["listening", "connected"])
def test_a_socket_may_be_passed(folder: Path, kind: str) -> None:
    if kind == "listening":
        theirs = socket.socket(socket.AF_UNIX)
        theirs.bind(str(folder / "s"))
        theirs.listen()
        ours = None
    else:
        ours, theirs = socket.socketpair()
    daemon = Daemon(folder, sockets=[], luns=["0:0:0:0=ram:1M"], descriptors=[theirs.fileno()])
    with daemon:
        theirs.close()
        with FrontEnd(Peer(ours) if ours else folder / "s") as guest:
            guest.ready()
            assert guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512).good
        if kind == "connected":
            assert daemon.wait(10) == 0, "its only front-end has left"


def test_sigterm_finishes_what_is_in_flight(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(["0:0:0:0=ram:1M,latency=500ms"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        held = [guest.submit(0, 0, cdb.read_10(n, 1), data_in=512) for n in range(8)]
        guest.synchronize()
        daemon.stop()  # fails if the exit status is not 0
        assert all(guest.is_done(one) for one in held)
        assert all(guest.wait(one).good for one in held)


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(folder: Path) -> None:
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with Daemon(folder, sockets=[path], luns=["0:0:0:0=ram:1M"]), FrontEnd(path) as guest:
        guest.ready()
        done = run("--socket-path", str(path))
        assert done.returncode == 1
        assert f"error: {path}: another program listens there" in done.stderr
        assert guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512).good
    assert not path.exists(), "the daemon left its socket behind"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program()), "serve", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_capabilities_are_printed_whatever_else_is_said() -> None:
    for program_name in ("vhost-pvscsi", "vhost-user-pvscsi"):
        verb = ["serve"] if program_name == "vhost-pvscsi" else []
        command = [str(program().parent / program_name), *verb, "--lun", "nonsense"]
        done = subprocess.run(
            [*command, "--print-capabilities"], capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout) == {"type": "scsi"}


#: Arguments (FOLDER is replaced), exit status, what the error and the hint must say.
MISTAKES = [
    ((), 2, "no socket", "--socket-path"),
    (("--socket-path", "FOLDER/s", "--socket-path", "FOLDER/t"), 2, "two sockets", "1=PATH"),
    (("--socket-path", "99999=FOLDER/s"), 2, "virtual host 99999 is out of range", "65535"),
    (("--socket-path", "FOLDER"), 1, "is no socket", "another path"),
    (("--socket-path", "FOLDER/no/s"), 1, "No such file or directory", ""),
    (("--socket-path", "FOLDER/" + "x" * 200), 1, "cannot listen", "107 bytes"),
    (("--fd", "x"), 2, "'x' is no descriptor", "a number"),
    (("--fd", "77"), 1, "descriptor 77 is no socket", "UNIX stream socket"),
    (("--lun", "0:0:0=ram:1M"), 2, "0:0:0", "0:0:1:0"),
    (("--lun", "0:1:0:0=ram:1M"), 2, "channel 1 is out of range", "channel is 0"),
    (("--lun", "0:0:256:0=ram:1M"), 2, "target 256", "0 to 255"),
    (("--lun", "0:0:0:16384=ram:1M"), 2, "lun 16384", "0 to 16383"),
    (("--lun", "5:0:0:0=ram:1M"), 2, "no virtual host 5", "--socket-path 5=PATH"),
    (("--lun", "0:0:0:0=ram:1M", "--lun", "0:0:0:0=ram:2M"), 2, "twice", "own"),
    (("--lun", "0:0:0:0"), 2, "VDEV=PDEV", "0:0:1:0=disk.img"),
    (("--lun", "0:0:0:0=ram:"), 2, "is not a size", "64M"),
    (("--lun", "0:0:0:0=ram:1000"), 2, "not a multiple", "512"),
    (("--lun", "0:0:0:0=ram:8E"), 2, "is not a size", "T"),
    (("--lun", "0:0:0:0=ram:1M,cache=none"), 2, "cache", "files and block devices"),
    (("--lun", "0:0:0:0=ram:1M,nonsense"), 2, "'nonsense' is not known", "ro"),
    (("--lun", "0:0:0:0=ram:1M,block-size=777"), 2, "777", "512"),
    (("--lun", "0:0:0:0=ram:1M,latency=5"), 2, "latency", "us, ms or s"),
    (("--lun", "0:0:0:0=ram:1M,serial="), 2, "serial", "ASCII"),
    (("--lun", "0:0:0:0=ram:1M,wwn=123"), 2, "wwn", "16 hexadecimal digits"),
    (("--lun", "0:0:0:0=FOLDER/missing.img"), 1, "No such file", "truncate"),
    (("--lun", "0:0:0:0=FOLDER"), 2, "is a directory", "an image file"),
    (("--lun", "0:0:0:0=/dev/null"), 2, "is a character device", "an image file"),
    (("--lun", "0:0:0:0=FOLDER/empty.img"), 2, "is empty", "truncate"),
    (("--lun", "0:0:0:0=FOLDER/odd.img"), 2, "not a multiple", "512"),
    (("--lun", "0:0:0:0=FOLDER/d.img", "--lun", "0:0:1:0=FOLDER/d.img"), 1, "already", "share=on"),
    (("--threads", "0"), 2, "0 is not in the range", ""),
]


@pytest.mark.parametrize(
    "mistake", MISTAKES, ids=lambda mistake: " ".join(mistake[0])[:60] or "none"
)
def test_bad_values_are_named(folder: Path, mistake: tuple[tuple[str, ...], int, str, str]) -> None:
    arguments, status, error, hint = mistake
    for name, size in (("empty.img", 0), ("odd.img", 1000), ("d.img", 1 << 20)):
        (folder / name).touch()
        os.truncate(folder / name, size)
    words = [word.replace("FOLDER", str(folder)) for word in arguments]
    if "--lun" in words:
        words = ["--socket-path", str(folder / "s"), *words]
    done = run(*words)
    assert done.returncode == status, done.stderr
    assert error in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (folder / "s").exists()


def test_an_image_that_qemu_holds_is_refused_and_qemu_is_refused_ours(
    make_daemon: MakeDaemon, image: Path
) -> None:
    make_daemon([f"0:0:0:0={image}"])
    write = ["qemu-io", "-f", "raw", "-c", "write 0 4k", str(image)]
    done = subprocess.run(write, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "lock" in done.stderr


def test_we_are_refused_an_image_that_qemu_holds(folder: Path, image: Path) -> None:
    holder = subprocess.Popen(
        ["qemu-io", "-f", "raw", str(image)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        holder.stdin.write(b"read 0 512\n")
        holder.stdin.flush()
        assert b"read 512" in holder.stdout.readline() + holder.stdout.readline()
        done = run("--socket-path", str(folder / "s"), "--lun", f"0:0:0:0={image}")
        assert done.returncode == 1
        assert f"error: {image}: is in use by another program" in done.stderr
    finally:
        holder.communicate(b"quit\n", timeout=10)


def test_guests_that_are_never_idle_leave_the_others_their_turn(make_daemon: MakeDaemon) -> None:
    """Three guests keep the one engine thread busy; the fourth's kicks are heard all the same."""
    luns = [f"{host}:0:0:0=null:1G" for host in range(4)]
    daemon = make_daemon(luns, "--threads", "1", sockets=4)
    loads = [driver.start(path, "--bs", "256k", "--iodepth", "64") for path in daemon.sockets[1:]]
    try:
        with FrontEnd(daemon.socket, deadline=5) as guest:
            guest.ready()
            for _ in range(100):
                assert guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512).good
        assert [load.poll() for load in loads] == [None] * 3, "a load has ended"
    finally:
        for load in loads:
            driver.end(load)


def test_idle_costs_no_cpu(make_daemon: MakeDaemon) -> None:
    """Over two idle seconds with a guest connected: no more than a few ticks, of start-up."""
    daemon = make_daemon(["0:0:0:0=ram:1M"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        before = os.times(), cpu_ticks(daemon.pid)
        time.sleep(2)  # what is measured is the passing of time itself
        assert cpu_ticks(daemon.pid) - before[1] <= 2


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
