"""Persistent reservations by qemu-pr-helper, played here; the guest tests have the real one."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

from vhost_pvscsi.devices.forwarded.pr_helper import PrHelper
from vhost_pvscsi.scsi.request import Reply, Service, Status
from vhost_pvscsi.scsi.sense import INTERNAL_TARGET_FAILURE, check_condition

PR_IN, PR_OUT = bytes.fromhex("5e000000000000020000"), bytes.fromhex("5f060000000000001800")
SENSE = bytes.fromhex("70000b000000000a00000000000600000000")
FAILED = check_condition(INTERNAL_TARGET_FAILURE)


class Helper:
    """The other end of the socket; answers each command with the next of `answers`."""

    def __init__(self, path):
        self.path = path
        self.answers = []
        self.seen = []
        self.connections = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while True:
            connection, _ = self._listener.accept()
            with connection, contextlib.suppress(OSError, EOFError):
                self.connections += 1
                connection.sendall(bytes(4))
                features = connection.recv(4)
                if not features:
                    return
                assert features == bytes(4)
                self._serve(connection)

    def _serve(self, connection):
        while True:
            cdb, fds, _, _ = socket.recv_fds(connection, 16, 1)
            if not cdb:
                return
            inode = os.fstat(fds[0]).st_ino
            os.close(fds[0])
            length = int.from_bytes(cdb[5:9], "big") if cdb[0] == 0x5F else 0
            self.seen.append((cdb, connection.recv(length) if length else b"", inode))
            answer = self.answers.pop(0)
            if answer is None:
                return
            status, sense, data = answer
            connection.sendall(struct.pack(">ii96s", status, len(data), sense) + data)

    def close(self):
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(self.path))
            last.shutdown(socket.SHUT_WR)
            self._thread.join(10)
        assert not self._thread.is_alive()
        self._listener.close()


@pytest.fixture
def device(tmp_path):
    (tmp_path / "device").touch()
    fd = os.open(tmp_path / "device", os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def helper(tmp_path):
    made = Helper(tmp_path / "helper")
    yield made
    made.close()


@pytest.fixture
def ask(helper, device):
    made = PrHelper(helper.path, device, lambda cdb, data, room: Reply(data=cdb))
    yield made
    made.close()


def test_data_goes_both_ways_and_the_device_with_it(helper, ask, device):
    helper.answers = [(0, b"", b"keys"), (0, b"", b"")]
    assert ask(PR_IN, b"", 512) == Reply(data=b"keys")
    assert ask(PR_OUT, bytes(range(24))) == Reply()
    inode = os.fstat(device).st_ino
    assert helper.seen == [
        (PR_IN.ljust(16, b"\0"), b"", inode),
        (PR_OUT.ljust(16, b"\0"), bytes(range(24)), inode),
    ]
    assert helper.connections == 1


def test_a_cdb_says_no_more_than_is_carried(helper, ask):
    helper.answers = [(0, b"", b""), (0, b"", b"")]
    ask(bytes.fromhex("5e00000000000" + "0ffff" + "00"), b"", 100)
    ask(bytes.fromhex("5f00000000000000ff00"), bytes(24))
    assert [(cdb[7:9], cdb[5:9], data) for cdb, data, _ in helper.seen] == [
        (b"\0\x64", b"\0\0\0\x64", b""),
        (b"\0\x18", b"\0\0\0\x18", bytes(24)),
    ]


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ((0x18, bytes(96), b""), Reply(status=Status.RESERVATION_CONFLICT)),
        ((0x02, SENSE, b""), Reply(status=Status.CHECK_CONDITION, sense=SENSE)),
        ((0x77, b"", b""), Reply(service=Service.FAILURE)),
        ((-1, b"", b""), Reply(service=Service.FAILURE)),
    ],
)
def test_what_the_device_says_is_passed_on(helper, ask, answer, reply):
    helper.answers = [answer]
    assert ask(PR_IN, b"", 512) == reply


def test_other_commands_are_not_the_helpers(helper, ask):
    assert ask(b"\x16" + bytes(5)).data == b"\x16" + bytes(5)
    assert helper.connections == 0


def test_a_helper_that_ends_is_asked_again_by_a_new_connection(helper, ask, caplog):
    helper.answers = [None, (0, b"", b"")]
    # It took the command: whether it was carried out nobody knows.
    assert ask(PR_OUT, bytes(24)) == FAILED
    assert f"pr-helper={helper.path}: command 5Fh: the helper has closed" in caplog.text
    assert ask(PR_OUT, bytes(24)) == Reply()
    assert helper.connections == 2


def test_a_helper_that_has_ended_meanwhile_is_no_failure(tmp_path, device):
    with contextlib.closing(Helper(tmp_path / "helper")) as first:
        first.answers = [(0, b"", b"")]
        ask = PrHelper(first.path, device, None)
        assert ask(PR_OUT, bytes(24)) == Reply()
        first.answers = [None]
        ask(PR_OUT, bytes(24))
        ask = PrHelper(first.path, device, None)
        first.answers = [(0, b"", b""), (0, b"", b"")]
        assert ask(PR_OUT, bytes(24)) == Reply()
        ask._socket.shutdown(socket.SHUT_WR)  # as if it had gone
        assert ask(PR_OUT, bytes(24)) == Reply()
        assert first.connections == 3
        ask.close()


def test_no_helper_is_named(tmp_path, device, caplog):
    ask = PrHelper(tmp_path / "nobody", device, None)
    assert ask(PR_OUT, bytes(24)) == FAILED
    assert "nobody: command 5Fh: No such file or directory; is qemu-pr-helper" in caplog.text


@pytest.mark.skipif(
    shutil.which("qemu-pr-helper") is None, reason="needs qemu-pr-helper: apt install qemu-system"
)
def test_the_real_one_understands(tmp_path, device):
    path = tmp_path / "helper"
    with subprocess.Popen(["qemu-pr-helper", "-k", path]) as process:
        try:
            end = time.monotonic() + 30
            while not path.exists():
                assert time.monotonic() < end, "waited 30 s for qemu-pr-helper"
                assert process.poll() is None
                time.sleep(0.05)
            ask = PrHelper(path, device, None)
            # What it was given is no SCSI device.
            for cdb, data, room in ((PR_IN, b"", 512), (PR_OUT, bytes(24), 0)):
                told = ask(cdb, data, room)
                assert told.status is Status.CHECK_CONDITION
                assert told != FAILED
            ask.close()
        finally:
            process.terminate()
