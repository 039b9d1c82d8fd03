"""Configuration files, reload and the store, with the real daemon."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness.daemon import Daemon, program
from tests.harness.errors import HarnessError
from tests.harness.frontend import FrontEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.evidence import Collector

    Verb = Callable[..., str]

HOSTS = """
[daemon]
threads = 1
state-directory = "state"
[[control]]
path = "control"
[[host]]
number = 0
socket-path = "0.sock"
"""
LUN = '[[lun]]\nvdev = "{}"\npdev = "{}"\n'


@pytest.fixture
def config(folder: Path) -> Path:
    """A configuration with one host, a RAM disk at target 0 and an image at target 1."""
    (folder / "disk.img").touch()
    os.truncate(folder / "disk.img", 1 << 20)
    path = folder / "vhost.toml"
    path.write_text(HOSTS + LUN.format("0:0:0:0", "ram:1M") + LUN.format("0:0:1:0", "disk.img"))
    return path


@pytest.fixture
def daemon(config: Path, folder: Path, evidence: Collector) -> Iterator[Daemon]:
    """A daemon of that configuration, not started yet."""
    daemon = _Configured(config)
    with evidence.watch(daemon):
        yield daemon
        if daemon.running:
            daemon.stop()


class _Configured(Daemon):
    """A daemon that has its sockets by its configuration."""

    def __init__(self, config: Path) -> None:
        super().__init__(config.parent, sockets=[], luns=[], options=["--config", str(config)])
        self.running = False

    @property
    def socket(self) -> Path:
        return self._log_path.parent / "0.sock"

    def start(self) -> _Configured:
        super().start()
        self.running = True
        self.wait_for_line("listening on")
        return self

    def stop(self) -> None:
        self.running = False
        super().stop()

    def kill(self) -> None:
        self.running = False
        super().kill()


@pytest.fixture
def verb(folder: Path) -> Verb:
    """Type a verb; what it printed, or its error."""

    def run(*words: str, status: int = 0) -> str:
        done = subprocess.run(
            [str(program()), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "VHOST_PVSCSI_CONTROL": str(folder / "control")},
        )
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    return run


def attached(verb: Verb) -> dict[str, str]:
    """LUNs, and the state of each."""
    return {lun["vdev"]: lun["state"] for lun in json.loads(verb("scsi-list", "--json"))}


def rewrite(config: Path, old: str, new: str) -> None:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))


def test_five_mistakes_are_told_and_nothing_is_served(
    config: Path, folder: Path, verb: Verb
) -> None:
    rewrite(config, "threads = 1", "thread = 1")
    rewrite(config, "number = 0", "number = 0\nsocket-mode = 'rw'")
    with config.open("a") as file:
        file.write(LUN.format("0:0:1:0", "ram:1M") + LUN.format("4:0:0:0", "ram:1M"))
        file.write(LUN.format("0:0:2:0", "ram:1M") + "seral = 'x'\n")
    for words in (("serve", "--config"), ("check-config",)):
        said = verb(*words, str(config), status=2)
        lines = re.findall(rf"^error: {re.escape(str(config))}:(\d+): ", said, re.MULTILINE)
        assert lines == ["3", "9", "18", "20", "26"], said
        assert len(re.findall("^hint: ", said, re.MULTILINE)) == 5
    assert sorted(path.name for path in folder.iterdir()) == ["disk.img", "vhost.toml"]


def test_all_that_cannot_be_opened_is_told(config: Path, folder: Path, verb: Verb) -> None:
    with config.open("a") as file:
        file.write(LUN.format("0:0:2:0", "none.img") + LUN.format("0:0:3:0", "disk.img"))
    assert verb("check-config", str(config)) == ""
    said = verb("serve", "--config", str(config), status=1)
    assert f"vhost.toml:16: {folder}/none.img: No such file" in said
    assert "vhost.toml:19: LUN 0:0:3:0:" in said
    assert not (folder / "0.sock").exists()


def test_the_command_line_adds_to_the_file_and_wins(
    config: Path, folder: Path, verb: Verb, evidence: Collector
) -> None:
    daemon = Daemon(
        folder,
        sockets=[folder / "other.sock"],
        luns=["0:0:0:0=ram:7M", "0:0:9:0=ram:1M"],
        options=["--config", str(config), "--vscsi", "vscsi=['ram:2M,0:0:8:0']"],
    )
    with daemon, evidence.watch(daemon):
        luns = json.loads(verb("scsi-list", "--json"))
        assert [(lun["vdev"], lun["pdev"]) for lun in luns] == [
            ("0:0:0:0", "ram:7M"),
            ("0:0:1:0", f"{folder}/disk.img"),
            ("0:0:8:0", "ram:2M"),
            ("0:0:9:0", "ram:1M"),
        ]
        assert not (folder / "0.sock").exists()
        assert verb("reload") == "nothing has changed\n"


def test_luns_of_a_xen_domain_are_served(
    folder: Path, config: Path, verb: Verb, evidence: Collector
) -> None:
    domain = folder / "guest.cfg"
    domain.write_text("name = 'guest'\nvscsi = [ 'disk.img,0:0:5:0,ro',\n 'ram:1M,0:0:6:0' ]\n")
    options = ["--domain-config", str(domain), "--control", str(folder / "control")]
    daemon = Daemon(folder, sockets=[folder / "x.sock"], luns=[], options=options)
    with daemon, evidence.watch(daemon), FrontEnd(folder / "x.sock") as guest:
        guest.ready(5)
        assert attached(verb) == {"0:0:5:0": "running", "0:0:6:0": "running"}
    domain.write_text("vscsi = [\n'8:0:0:0,0:0:0:0,feature-host=1' ]\n")
    said = verb(
        "serve", "--socket-path", str(folder / "x"), "--domain-config", str(domain), status=2
    )
    assert "guest.cfg:2: " in said
    assert "feature-host" in said


def test_a_reload_under_io_disturbs_nothing_else(
    daemon: Daemon, config: Path, folder: Path, verb: Verb
) -> None:
    daemon.start()
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        guest.ready(1)
        end, failed, done = threading.Event(), [], 0
        assert guest.scsi(0, 0, cdb.write_10(0, 8), data_out=b"x" * 4096).good

        def read() -> None:
            nonlocal done
            while not end.is_set():
                response = guest.scsi(0, 0, cdb.read_10(0, 8), data_in=4096)
                if not (response.good and response.data == b"x" * 4096):
                    failed.append(response)
                done += 1

        reader = threading.Thread(target=read)
        reader.start()
        try:
            rewrite(config, "threads = 1", "threads = 2")
            rewrite(config, '"disk.img"\n', '"disk.img"\nro = true\n')
            with config.open("a") as file:
                file.write(LUN.format("0:0:2:0", "ram:1M") + LUN.format("0:0:3:0", "none.img"))
                file.write('[[host]]\nnumber = 1\nsocket-path = "1.sock"\n')
            before = done
            said = verb("reload").splitlines()
        finally:
            end.set()
            reader.join()
        assert said == [
            "host 1: attached",
            "LUN 0:0:1:0: detached and attached",
            "LUN 0:0:2:0: attached",
            f"LUN 0:0:3:0: failed: {folder}/none.img: No such file or directory "
            f"(make an empty image with: truncate -s 1G {folder}/none.img)",
            "threads: needs a restart",
        ]
        assert failed == []
        assert done > before
        guest.ready(1)
        assert not guest.scsi(1, 0, cdb.write_10(0, 1), data_out=bytes(512)).good
        guest.ready(2)
    assert attached(verb)["0:0:3:0"] == "missing"
    # What is there by now is attached by the next one, and what has gone is detached.
    os.truncate(os.open(folder / "none.img", os.O_CREAT | os.O_WRONLY, 0o600), 1 << 20)
    rewrite(config, LUN.format("0:0:2:0", "ram:1M"), "")
    said = verb("reload").splitlines()
    assert said == ["LUN 0:0:2:0: detached", "LUN 0:0:3:0: attached", "threads: needs a restart"]


def test_a_file_with_mistakes_changes_nothing(daemon: Daemon, config: Path, verb: Verb) -> None:
    daemon.start()
    rewrite(config, "ram:1M", "ram:2M")
    with config.open("a") as file:
        file.write("[[lun]]\nvdev = 1\n")
    said = verb("reload", status=1)
    assert "vhost.toml:17: [[lun]] vdev is missing, or no text" in said
    [first, _] = json.loads(verb("scsi-list", "--json"))
    assert first["pdev"] == "ram:1M"
    os.kill(daemon.pid, signal.SIGHUP)
    daemon.wait_for_line("reload: nothing was changed")


def test_a_hangup_reloads_and_systemd_is_told(
    daemon: Daemon, config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(folder / "notify"))
        systemd.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        daemon.start()
        assert systemd.recv(999) == b"READY=1"
        rewrite(config, "ram:1M", "ram:2M")
        os.kill(daemon.pid, signal.SIGHUP)
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", systemd.recv(999))
        assert systemd.recv(999) == b"READY=1"
        [first, _] = json.loads(verb("scsi-list", "--json"))
        assert first["pdev"] == "ram:2M"
        daemon.stop()
        assert systemd.recv(999) == b"STOPPING=1"


def test_a_host_with_a_guest_is_not_ended_by_a_reload(
    daemon: Daemon, config: Path, verb: Verb
) -> None:
    daemon.start()
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        rewrite(config, '"0.sock"', '"moved.sock"')
        assert "host 0: failed: virtual host 0 has a guest" in verb("reload")
        assert guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512).good
    daemon.wait_for_line("disconnected")
    assert verb("reload").splitlines() == [
        "host 0: detached and attached",
        "LUN 0:0:0:0: attached",
        "LUN 0:0:1:0: attached",
    ]


def test_a_killed_daemon_comes_back_with_what_operators_did(
    daemon: Daemon, folder: Path, verb: Verb
) -> None:
    daemon.start()
    (folder / "gone.img").touch()
    os.truncate(folder / "gone.img", 1 << 20)
    verb("host-attach", "3", "--socket-path", str(folder / "3.sock"), "--socket-mode", "622")
    verb("scsi-attach", "ram:3M,serial=KEPT", "3:0:0:0")
    verb("scsi-attach", str(folder / "gone.img"), "0:0:4:0")
    verb("scsi-attach", "ram:1M", "0:0:5:0", "--transient")
    verb("scsi-detach", "0:0:1:0")
    daemon.kill()
    (folder / "gone.img").unlink()
    daemon.start()
    daemon.wait_for_line("listening on", count=2)
    assert attached(verb) == {"0:0:0:0": "running", "0:0:4:0": "missing", "3:0:0:0": "running"}
    luns = {lun["vdev"]: lun for lun in json.loads(verb("scsi-list", "--json"))}
    assert luns["3:0:0:0"]["serial"] == "KEPT"
    assert "No such file" in luns["0:0:4:0"]["problem"]
    assert (folder / "3.sock").stat().st_mode & 0o777 == 0o622
    verb("scsi-detach", "0:0:4:0")
    assert verb("reload") == "nothing has changed\n"
    assert verb("reload", "--forget").splitlines() == ["host 3: detached", "LUN 0:0:1:0: attached"]
    daemon.kill()
    daemon.start()
    assert attached(verb) == {"0:0:0:0": "running", "0:0:1:0": "running"}


def test_nothing_answered_is_lost_however_the_daemon_ends(daemon: Daemon, verb: Verb) -> None:
    for target in range(2, 6):
        daemon.start()
        verb("scsi-attach", "null:1M", f"0:0:{target}:0")
        daemon.kill()
    daemon.start()
    assert list(attached(verb)) == [f"0:0:{target}:0" for target in range(6)]


def test_two_clients_at_once_agree_with_the_store(daemon: Daemon, verb: Verb) -> None:
    daemon.start()
    answers: dict[int, list[int]] = {0: [], 1: []}

    def ask(client: int) -> None:
        for target in range(2, 8):
            words = ["scsi-attach", f"ram:{client + 1}M", f"0:0:{target}:0"]
            done = subprocess.run(
                [str(program()), *words, "--control", str(daemon.socket.parent / "control")],
                capture_output=True,
                check=False,
                timeout=60,
            )
            answers[client].append(done.returncode)

    clients = [threading.Thread(target=ask, args=(client,)) for client in answers]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert [sum(pair) for pair in zip(*answers.values(), strict=True)] == [1] * 6
    before = verb("scsi-list")
    daemon.kill()
    daemon.start()
    assert verb("scsi-list") == before


def test_a_store_of_a_later_version_stops_the_start(
    daemon: Daemon, folder: Path, verb: Verb
) -> None:
    (folder / "state").mkdir()
    (folder / "state" / "attachments.json").write_text('{"version": 9}')
    said = verb("serve", "--config", str(folder / "vhost.toml"), status=1)
    assert "is of version 9" in said


def test_a_damaged_store_is_set_aside(daemon: Daemon, folder: Path, verb: Verb) -> None:
    (folder / "state").mkdir()
    (folder / "state" / "attachments.json").write_text('{"version": 1')
    daemon.start()
    assert list(attached(verb)) == ["0:0:0:0", "0:0:1:0"]
    assert (folder / "state" / "attachments.damaged").read_text() == '{"version": 1'


def test_sockets_are_for_whom_they_should_be(folder: Path, evidence: Collector) -> None:
    options = ["--socket-group", "7", "--control", str(folder / "control")]
    daemon = Daemon(folder, sockets=[folder / "0"], luns=[], options=options)
    with daemon, evidence.watch(daemon):
        made = (folder / "0").stat()
        assert (made.st_mode & 0o777, made.st_gid) == (0o660, 7)


def test_a_guest_has_no_more_queues_than_it_may(daemon: Daemon, config: Path, verb: Verb) -> None:
    rewrite(config, '"0.sock"', '"0.sock"\nqueues = 2')
    daemon.start()
    with FrontEnd(daemon.socket, request_queues=2) as guest:
        guest.ready()
    with pytest.raises((HarnessError, ConnectionError)):
        FrontEnd(daemon.socket, request_queues=3).start()
    daemon.wait_for_line("ring 4 is none of the 4 there can be")
    with FrontEnd(daemon.socket) as guest:
        guest.ready()


def test_a_passed_socket_that_was_given_up_is_not_taken_again(
    folder: Path, verb: Verb, evidence: Collector
) -> None:
    options = ["--control", str(folder / "control"), "--state-directory", str(folder / "state")]
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(folder / "passed"))
        passed.listen()
        number = passed.fileno()
        daemon = Daemon(
            folder,
            sockets=[],
            luns=["0:0:0:0=ram:1M"],
            options=options,
            descriptors=[number],
        )
        with daemon, evidence.watch(daemon):
            verb("host-detach", "0")
            assert verb("reload", "--forget") == "host 0: needs a restart\n"
            assert attached(verb) == {}


def test_a_daemon_that_nobody_could_reach_says_so(
    folder: Path, verb: Verb, evidence: Collector
) -> None:
    state = ["--state-directory", str(folder / "state")]
    daemon = Daemon(
        folder,
        sockets=[folder / "s"],
        luns=[],
        options=[*state, "--control", str(folder / "control")],
    )
    with daemon, evidence.watch(daemon):
        verb("host-detach", "0")
    said = verb("serve", "--socket-path", str(folder / "s"), *state, status=2)
    assert "operators have detached every virtual host" in said


def test_bash_completes_the_luns_that_are_there(daemon: Daemon, folder: Path) -> None:
    daemon.start()
    script = (
        f"PATH={program().parent}:$PATH; source <(vhost-pvscsi completion bash); "
        'complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); '
        '_vhost_pvscsi_completion vhost-pvscsi; echo "${COMPREPLY[*]}"; }; '
        "complete_words vhost-pvscsi scsi-detach 0:0:1; "
        "complete_words vhost-pvscsi host-detach ''; "
        "complete_words vhost-pvscsi scsi-d"
    )
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "VHOST_PVSCSI_CONTROL": str(folder / "control")},
    )
    assert done.stdout.splitlines() == ["0:0:1:0", "0", "scsi-detach"]
