"""`top` and the counters behind it: the real daemon, with a front-end that does something."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import commands as cdb
from tests.harness.daemon import Daemon, program
from tests.harness.frontend import FrontEnd
from tests.harness.terminal import ENTER_SCREEN, LEAVE_SCREEN, SHOW_CURSOR, Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import MakeDaemon

WAIT = 30.0
SIZES = ("COLUMNS", "LINES")


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    # Sizes that pytest's processes say they have are not that of a terminal of the test's own.
    inherited = {name: value for name, value in os.environ.items() if name not in SIZES}
    return {
        **inherited,
        "VHOST_PVSCSI_CONTROL": str(folder / "control"),
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
    }


@pytest.fixture
def daemon(make_daemon: MakeDaemon, folder: Path) -> Daemon:
    """Two virtual hosts: one with a LUN that will be busy and one that will not."""
    luns = ["0:0:0:0=ram:16M", "0:0:1:0=ram:16M", "1:0:0:0=null:1G"]
    return make_daemon(luns, "--control", str(folder / "control"), sockets=2)


@contextmanager
def load(daemon: Daemon) -> Iterator[None]:
    """Read and write at 0:0:0:0 until the end."""
    enough = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with FrontEnd(daemon.socket) as guest:
                guest.ready()
                while not enough.is_set():
                    assert guest.scsi(0, 0, cdb.read_10(0, 8), data_in=4096).good
                    assert guest.scsi(0, 0, cdb.write_10(8, 8), data_out=bytes(4096)).good
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join(WAIT)
    assert not thread.is_alive()
    assert failed == []


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program()), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT,
    )


def stats(environment: dict[str, str], *words: str) -> dict[str, dict[str, Any]]:
    done = run(environment, "lun-stats", "--json", *words)
    assert done.returncode == 0, done.stderr
    return {lun["vdev"]: lun for lun in json.loads(done.stdout)["luns"]}


def test_counters_say_what_was_done(daemon: Daemon, environment: dict[str, str]) -> None:
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        begun = stats(environment)["0:0:0:0"]
        for _ in range(5):
            assert guest.scsi(0, 0, cdb.read_10(0, 8), data_in=4096).good
        for _ in range(3):
            assert guest.scsi(0, 0, cdb.write_10(0, 1), data_out=bytes(512)).good
        assert guest.scsi(0, 0, cdb.inquiry(36), data_in=36).good
        now = stats(environment)
        lun = now["0:0:0:0"]
    grown = {name: lun[name] - begun[name] for name in ("others", "long-road")}
    assert (lun["reads"], lun["writes"], grown) == (5, 3, {"others": 1, "long-road": 1})
    assert (lun["bytes-read"], lun["bytes-written"]) == (5 * 4096, 3 * 512)
    assert (sum(lun["read-latency"]), sum(lun["write-latency"])) == (5, 3)
    assert (lun["errors"], lun["in-flight"]) == (0, 0)
    assert (now["0:0:1:0"]["reads"], now["0:0:1:0"]["read-latency"]) == (0, [])
    assert set(stats(environment, "--host", "1")) == {"1:0:0:0"}


def test_commands_in_flight_and_errors_are_counted(
    daemon: Daemon, environment: dict[str, str]
) -> None:
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        done = run(
            environment,
            "fault-set",
            "0:0:0:0",
            "opcode=read:nth=1:sense=3/11/00",
            "opcode=read:nth=2:hang",
        )
        assert done.returncode == 0, done.stderr
        assert not guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512).good
        hanging = guest.submit(0, 0, cdb.read_10(0, 1), data_in=512)
        # Answered after the other one was taken: one ring, one after the other.
        assert guest.scsi(0, 0, cdb.inquiry(36), data_in=36).good
        lun = stats(environment)["0:0:0:0"]
        assert (lun["in-flight"], lun["errors"], lun["reads"]) == (1, 1, 1)
        run(environment, "fault-lift", "0:0:0:0")
        guest.wait(hanging)
        assert stats(environment)["0:0:0:0"]["in-flight"] == 0


def test_a_lun_attached_anew_counts_anew(daemon: Daemon, environment: dict[str, str]) -> None:
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        assert guest.scsi(0, 0, cdb.read_10(0, 8), data_in=4096).good
        before = stats(environment)["0:0:0:0"]
        assert run(environment, "scsi-detach", "0:0:0:0").returncode == 0
        assert run(environment, "scsi-attach", "ram:1M", "0:0:0:0").returncode == 0
        after = stats(environment)["0:0:0:0"]
    assert before["reads"] == 1
    assert after["reads"] == 0
    assert after["attachment"] != before["attachment"]


def test_counters_stay_when_a_neighbour_comes(daemon: Daemon, environment: dict[str, str]) -> None:
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        assert guest.scsi(0, 0, cdb.read_10(0, 8), data_in=4096).good
        assert run(environment, "scsi-attach", "ram:1M", "0:0:5:0").returncode == 0
        assert stats(environment)["0:0:0:0"]["reads"] == 1


def test_tables_are_printed_where_there_is_no_terminal(
    daemon: Daemon, environment: dict[str, str]
) -> None:
    with load(daemon):
        done = run(environment, "top", "--interval", "0.2", "--count", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("total ") for line in lines) == 3
    rows = [line.split() for line in lines if line.startswith("0:0:")]
    # The busy one is first each time.
    assert [row[0] for row in rows] == ["0:0:0:0", "0:0:1:0"] * 3
    assert all(float(row[1].rstrip("k")) > 0 for row in rows[::2])
    assert "▁" in done.stdout or "█" in done.stdout


def test_json_is_a_line_for_each_sample(daemon: Daemon, environment: dict[str, str]) -> None:
    with load(daemon):
        done = run(
            environment, "top", "--interval", "0.2", "--count", "2", "--json", "--limit", "1"
        )
    assert (done.returncode, done.stderr) == (0, "")
    first, second = map(json.loads, done.stdout.splitlines())
    assert second["time"] > first["time"]
    for report in (first, second):
        [lun] = report["luns"]
        assert lun["vdev"] == "0:0:0:0"
        assert lun["reads-per-second"] > 0
        assert lun["bytes-read-per-second"] == pytest.approx(
            4096 * lun["reads-per-second"], rel=0.01
        )
        assert 0 < lun["read-latency"]["p50"] <= lun["read-latency"]["p99"]
        assert report["total"]["reads-per-second"] == lun["reads-per-second"]
        assert [host["connected"] for host in report["hosts"]] == [True, False]


@pytest.mark.parametrize("sort", ["iops", "bytes", "latency", "queue", "errors", "name"])
def test_luns_are_sorted(daemon: Daemon, environment: dict[str, str], sort: str) -> None:
    done = run(
        environment, "top", "--interval", "0.1", "--count", "1", "--sort", sort, "--host", "0"
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == [
        *("total", "host", "0:0:0:0", "0:0:1:0")
    ]


def test_mistakes_are_told_with_hints(daemon: Daemon, environment: dict[str, str]) -> None:
    done = run(environment, "top", "--host", "7", "--count", "1")
    assert done.returncode == 1
    assert done.stderr == "error: there is no virtual host 7\nhint: there is 0, 1\n"
    environment["VHOST_PVSCSI_CONTROL"] += "x"
    done = run(environment, "top", "--count", "1")
    assert done.returncode == 1
    assert "no daemon listens there\nhint: " in done.stderr
    assert run(environment, "top", "--interval", "0").returncode == 2


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_the_live_table_gives_the_terminal_back(
    daemon: Daemon, environment: dict[str, str], key: str
) -> None:
    command = [str(program()), "top", "--interval", "0.2"]
    with load(daemon), Terminal(command, environment) as terminal:
        terminal.wait_for("0:0:1:0")
        terminal.press("s")
        terminal.wait_for("by bytes")
        terminal.resize(120, 30)
        terminal.wait_for("pdev")
        terminal.press(key)
        assert terminal.wait() == 0
        assert ENTER_SCREEN in terminal.written
        assert LEAVE_SCREEN in terminal.written.rpartition(ENTER_SCREEN)[2]
        assert SHOW_CURSOR in terminal.written.rpartition(ENTER_SCREEN)[2]
        assert terminal.left_modes() == terminal.modes


def test_the_live_table_waits_for_the_next_daemon(
    daemon: Daemon, environment: dict[str, str]
) -> None:
    command = [str(program()), "top", "--interval", "0.2"]
    with Terminal(command, environment) as terminal:
        terminal.wait_for("0:0:1:0")
        daemon.kill()
        terminal.wait_for("no daemon")
        daemon.start()
        terminal.wait_for("3 LUNs", without="no daemon")
        terminal.press("q")
        assert terminal.wait() == 0


def test_colours_are_left_out_on_request(daemon: Daemon, environment: dict[str, str]) -> None:
    command = [str(program()), "top", "--interval", "0.2"]
    with Terminal(command, {**environment, "NO_COLOR": "1"}) as terminal:
        terminal.wait_for("0:0:1:0")
        terminal.press("q")
        assert terminal.wait() == 0
        # ECMA-48 SGR 30 to 37 and 90 to 97 are colours; bold and dim are none.
        assert not any(f"\x1b[{number}m" in terminal.written for number in (31, 36))
        assert "\x1b[1;31m" not in terminal.written


def test_a_daemon_that_ends_ends_tables_too(daemon: Daemon, environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [str(program()), "top", "--interval", "0.1"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        daemon.kill()
        assert process.wait(WAIT) == 1
        assert "the daemon went away" in process.stderr.read()
    daemon.start()
