"""The verbs, against a control socket: what they ask, print and say of mistakes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from tests.harness.control import DEADLINE, ControlThread
from tests.harness.daemon import program
from vhost_pvscsi.__main__ import main
from vhost_pvscsi.cli import client, render
from vhost_pvscsi.cli.changer.command import CHANGER
from vhost_pvscsi.control.commands import COMMANDS
from vhost_pvscsi.identity import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlThread]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VHOST_PVSCSI_CONTROL", str(tmp_path / "c"))
    with ControlThread(tmp_path / "c") as thread:
        yield thread


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words, prog_name="vhost-pvscsi")


def good(*words: str) -> str:
    done = run(*words)
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    return done.stdout


def test_every_command_with_a_word_is_a_verb() -> None:
    words = {command.verb for command in COMMANDS.values() if command.verb}
    others = {"serve", "check-config", "show", "events", "devices", "top", "completion", "tape"}
    assert {word.partition(" ")[0] for word in words} | others == set(
        main.list_commands(click.Context(main))
    )
    grouped = {word.partition(" ")[2] for word in words if word.startswith("changer ")}
    assert grouped | {"create"} == set(CHANGER.commands)


def test_hosts_and_luns_are_attached_listed_and_detached(control: ControlThread) -> None:
    assert good("host-attach", "0", "--socket-path", "s") == ""
    assert good("scsi-attach", "ram:64M,ro", "0:0:1:0") == ""
    assert good("scsi-list").splitlines() == [
        "Idx  BE  state    phy-hctl  phy         vir-hctl  devstate",
        "0    0   waiting  -         ram:64M,ro  0:0:1:0   running",
    ]
    shown = good("show")
    assert "waiting" in shown
    assert "3000000000000001" in shown
    assert good("fault-set", "0:0:1:0", "opcode=read:hang", "sense=medium-error") == ""
    assert good("fault-list", "0:0:1:0").splitlines()[1].split() == ["opcode=read:hang", "0"]
    assert good("fault-lift", "0:0:1:0") == ""
    assert good("fault-list", "0:0:1:0") == ""
    assert good("stats").splitlines() == ["host  queue.requests", "0     7"]
    heads, row = good("lun-stats").splitlines()
    assert heads.split()[:2] == ["vir-hctl", "reads"]
    assert row.split() == [
        "0:0:1:0",
        "1000",
        *["0", "0", "0", "0", "3"],
        "4.10MB",
        "0MB",
        "96us",
        "127us",
        "-",
        "-",
        "ram:64M,ro",
    ]
    assert good("scsi-detach", "0:0:1:0", "--force", "--timeout", "1.5") == ""
    assert good("host-detach", "0") == ""
    assert good("quit") == ""
    folder = Path.cwd()
    lun = Address(0, 0, 1, 0)
    assert control.operator.asked == [
        ("attach_host", 0, folder / "s"),
        ("attach", lun, "ram:64M,ro"),
        ("set_faults", lun, ("opcode=read:hang", "sense=medium-error")),
        ("set_faults", lun, ()),
        ("detach", lun, True, 1.5),
        ("detach_host", 0, False, 30.0),
    ]
    assert control.operator.stopped.is_set()


@pytest.mark.parametrize("verb", ["scsi-list", "stats", "show"])
def test_json_is_what_the_daemon_says(control: ControlThread, verb: str) -> None:
    good("host-attach", "0", "--socket-path", "/s", "--json")
    told = json.loads(good(verb, "--json"))
    assert (
        told
        == {
            "scsi-list": [],
            "stats": [{"host": 0, "queue": {"requests": 7}}],
            "show": {
                "hosts": [
                    {
                        "host": 0,
                        "socket-path": "/s",
                        "connected": False,
                        "luns": 0,
                        "problem": None,
                    }
                ],
                "luns": [],
            },
        }[verb]
    )
    assert good("show").splitlines()[-1] == "no LUN"


def test_the_size_of_a_lun_is_told(control: ControlThread) -> None:
    good("host-attach", "0", "--socket-path", "/s")
    good("scsi-attach", "a.img", "0:0:1:0")
    assert good("scsi-resize", "0:0:1:0") == "4096 blocks of 512 bytes, 2M\n"
    told = json.loads(good("scsi-resize", "0:0:1:0", "--json"))
    assert told == {"blocks": 4096, "block-size": 512}


def test_what_a_reload_did_is_listed(control: ControlThread) -> None:
    assert good("reload", "--forget").splitlines() == [
        "LUN 0:0:1:0: attached",
        "LUN 0:0:2:0: failed: a.img: No such file or directory",
    ]
    assert control.operator.asked == [("reload", True)]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(shell: str) -> None:
    script = good("completion", shell)
    assert f"_VHOST_PVSCSI_COMPLETE={shell}_complete" in script
    assert "vhost-pvscsi" in script


def test_relative_paths_are_those_of_who_types(control: ControlThread) -> None:
    folder = Path("a,b").absolute()
    folder.mkdir()
    os.chdir(folder)
    good("host-attach", "0", "--socket-path", "s")
    good("scsi-attach", "d,,1.img,ro", "0:0:0:0")
    good("scsi-attach", "/x.img,cache=none", "0:0:0:1")
    asked = control.operator.asked
    twice = str(folder).replace(",", ",,")
    assert asked[1] == ("attach", Address(0, 0, 0, 0), f"{twice}/d,,1.img,ro")
    assert asked[2] == ("attach", Address(0, 0, 0, 1), "/x.img,cache=none")


def test_a_fault_file_too(control: ControlThread) -> None:
    good("host-attach", "0", "--socket-path", "s")
    good("scsi-attach", "ram:1M,fault-file=f.toml", "0:0:0:0")
    assert control.operator.asked[1][2] == f"ram:1M,fault-file={Path.cwd()}/f.toml"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (
            "host-attach 0 --socket-path s",
            1,
            ["error: virtual host 0 is there already", "hint: detach it first"],
        ),
        ("scsi-attach ram:1M 5:0:0:0", 1, ["error: there is no virtual host 5"]),
        ("host-detach 7", 1, ["error: internal error"]),
        (
            "scsi-detach 0:0:0",
            2,
            [
                "error: address '0:0:0' is not host:channel:target:lun",
                "hint: four decimal numbers, for example 0:0:1:0",
            ],
        ),
        (
            "scsi-attach ram:1000 0:0:0:0",
            2,
            [
                "error: ram:1000: its size 1000 is not a multiple of the block size 512",
                "hint: make it a multiple of 512",
            ],
        ),
        (
            "scsi-attach --pass ram:1M 0:0:0:0",
            2,
            [
                "error: ram:1M: --pass is for SCSI devices of the host",
                "hint: h:c:t:l, /dev/sgN, wwn:NAA, serial:TEXT; the daemon opens files by itself",
            ],
        ),
        (
            "scsi-attach --pass fd:0,ro 0:0:0:0",
            1,
            [
                "error: fd:0: is no node of a SCSI device",
                "hint: what is passed in is an SG node, open for reading and writing",
            ],
        ),
        (
            "scsi-attach fd:tape 0:0:0:0",
            1,
            [
                "error: File descriptor named 'tape' not found",
                "hint: getfd names one, for the connection that it came by",
            ],
        ),
    ],
)
def test_mistakes_are_told_with_what_would_be_right(
    control: ControlThread, words: str, status: int, said: list[str]
) -> None:
    good("host-attach", "0", "--socket-path", "s")
    done = run(*words.split())
    assert (done.exit_code, done.stdout, done.stderr.splitlines()) == (status, "", said)


def test_what_is_wrong_in_itself_needs_no_daemon_to_say_so(tmp_path: Path) -> None:
    done = run("fault-lift", "0:0:0", "--control", str(tmp_path / "none"))
    assert done.exit_code == 2
    assert "is not host:channel:target:lun" in done.stderr


def test_a_read_only_socket_refuses(tmp_path: Path) -> None:
    with ControlThread(tmp_path / "c", read_only=True) as thread:
        done = run("quit", "--control", str(tmp_path / "c"))
        assert done.exit_code == 1
        assert done.stderr == "error: quit: this socket is read-only\nhint: queries only\n"
        assert not thread.operator.stopped.is_set()


def test_where_no_daemon_is_a_way_to_start_one_is_told(tmp_path: Path) -> None:
    left_over = tmp_path / "left-over"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(left_over))
    for path in (tmp_path / "none", left_over):
        done = run("show", "--control", str(path))
        assert done.exit_code == 1
        assert done.stderr.splitlines() == [
            f"error: {path}: no daemon listens there",
            f"hint: start one: vhost-pvscsi serve --control {path}",
        ]
    done = run("show", "--control", str(tmp_path / ("x" * 120)))
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        (b"", "the daemon closed the connection"),
        (b"hello\n", "what listens there speaks no QMP"),
        (None, "nobody greets there within 0.2 s"),
    ],
)
def test_what_is_no_control_socket_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, greeting: bytes | None, said: str
) -> None:
    monkeypatch.setattr(client, "_GREETING_DEADLINE", 0.2)
    path = tmp_path / "s"

    def greet(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            if greeting is None:
                connection.recv(1)
            else:
                connection.sendall(greeting)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=greet, args=(listener,))
        thread.start()
        done = run("show", "--control", str(path))
        thread.join(DEADLINE)
    assert done.exit_code == 1
    error, hint = done.stderr.splitlines()
    assert error == f"error: {path}: {said}"
    assert hint.startswith("hint: ")


def test_events_are_printed_until_interrupted(control: ControlThread) -> None:
    watching = [
        subprocess.Popen(
            [str(program()), "events", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for options in ([], ["--json"])
    ]
    try:
        control.wait_for_listeners(2)
        control.do(control.events.publish, "LUN_ATTACHED", vdev="0:0:1:0", pdev="ram:1M")
        plain, structured = [process.stdout.readline().decode() for process in watching]
        assert plain.split()[1:] == ["LUN_ATTACHED", "vdev=0:0:1:0", "pdev=ram:1M"]
        assert json.loads(structured)["data"] == {"vdev": "0:0:1:0", "pdev": "ram:1M"}
        for process in watching:
            process.send_signal(signal.SIGINT)
        ends = [(process.wait(DEADLINE), process.stderr.read()) for process in watching]
        assert ends == [(0, b""), (0, b"")]
    finally:
        for process in watching:
            process.kill()
            process.communicate()


def test_events_end_with_the_daemon(tmp_path: Path) -> None:
    with ControlThread(tmp_path / "c") as control:
        process = subprocess.Popen(
            [str(program()), "events", "--control", str(tmp_path / "c")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        control.wait_for_listeners(1)
    said, complained = process.communicate(timeout=DEADLINE)
    assert (process.returncode, said) == (1, "")
    assert complained == f"error: {tmp_path / 'c'}: the daemon went away\n"


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0"), (512, "512"), (1536, "1536"), (64 << 20, "64M"), (3 << 40, "3T")]
)
def test_sizes_are_said_as_they_are_given(count: int, said: str) -> None:
    assert render.size(count) == said


def test_mungers_are_listed_by_command(control: ControlThread) -> None:
    heads, *rows = good("mungers").splitlines()
    assert heads.split() == ["command", "code", "direction", "function", "origin"]
    assert ["report-luns", "A0h", "outbound"] in [row.split()[:3] for row in rows]
    one = next(row for row in rows if "A3h/0Ch" in row)
    assert one.split()[-2:] == [
        "vhost_pvscsi.munge.operation_codes.whole_list",
        "vhost-pvscsi",
    ]
    codes = [row["opcode"] for row in json.loads(good("mungers", "--json"))]
    assert codes == sorted(codes)
