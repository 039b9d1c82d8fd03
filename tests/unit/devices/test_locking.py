"""Locks: against the real qemu-io, and between LUNs of ours."""

import fcntl
import shutil
import struct
import subprocess

import pytest

from vhost_pvscsi.devices import locking
from vhost_pvscsi.errors import DeviceBusyError

QEMU_DEADLINE = 30


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1 << 20))
    return path


@pytest.fixture
def opened(image):
    files = []

    def open_(*, read_only=False):
        file = image.open("rb" if read_only else "r+b", buffering=0)
        try:
            locking.lock(file.fileno(), str(image), read_only=read_only)
        except DeviceBusyError:
            file.close()
            raise
        files.append(file)
        return file

    yield open_
    for file in files:
        file.close()


@pytest.fixture(scope="session")
def qemu_io():
    path = shutil.which("qemu-io")
    if path is None:
        pytest.skip("qemu-io is not installed: apt-get install qemu-utils")
    return path


def ask_qemu(qemu_io, image, *options):
    """Open the image with qemu-io and read from it; what it says when it may not."""
    done = subprocess.run(
        [qemu_io, *options, "-f", "raw", "-c", "read 0 512", image],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=QEMU_DEADLINE,
        check=False,
    )
    return done.returncode, done.stderr


class Qemu:
    """A qemu-io that holds an image until its standard input ends."""

    def __init__(self, qemu_io, image, *options):
        self._process = subprocess.Popen(
            [qemu_io, *options, "-f", "raw", image],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # The answer to a command says that the image is open and locked.
        self._process.stdin.write("length\n")
        self._process.stdin.flush()
        assert "1 MiB" in self._process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.communicate("quit\n", timeout=QEMU_DEADLINE)


def test_qemu_refuses_an_image_that_we_write(qemu_io, image, opened):
    file = opened()
    status, message = ask_qemu(qemu_io, image)
    assert status != 0
    assert 'Failed to get "write" lock' in message
    # As with a disk of QEMU's own: who asks for no more than reading may look.
    assert ask_qemu(qemu_io, image, "-r")[0] == 0
    file.close()
    assert ask_qemu(qemu_io, image)[0] == 0


def test_qemu_shares_reading_an_image_that_we_read(qemu_io, image, opened):
    opened(read_only=True)
    assert ask_qemu(qemu_io, image, "-r")[0] == 0
    status, message = ask_qemu(qemu_io, image)
    assert status != 0
    assert "lock" in message


def test_we_refuse_an_image_that_qemu_writes(qemu_io, image, opened):
    with Qemu(qemu_io, image):
        for read_only in (False, True):
            with pytest.raises(DeviceBusyError, match=r"disk\.img: is in use") as caught:
                opened(read_only=read_only)
            assert "share=on" in caught.value.hint
    opened()


def test_we_share_reading_an_image_that_qemu_reads(qemu_io, image, opened):
    with Qemu(qemu_io, image, "-r"):
        opened(read_only=True)
        with pytest.raises(DeviceBusyError):
            opened()


def test_the_locked_bytes_are_those_of_qemus_scsi_disk(image, opened):
    """What /proc/locks showed of `-device scsi-hd` (QEMU 7.2): 100, 101 and 201."""
    opened()
    with image.open("rb") as other:
        held = [byte for byte in range(300) if locking._is_held(other.fileno(), byte)]
    assert held == [100, 101, 201]


def test_two_luns_of_ours(opened):
    reader = opened(read_only=True)
    opened(read_only=True).close()
    with pytest.raises(DeviceBusyError):
        opened()
    reader.close()
    opened()


def test_a_writer_is_alone(opened):
    opened()
    for read_only in (False, True):
        with pytest.raises(DeviceBusyError):
            opened(read_only=read_only)


def test_locks_go_with_the_descriptor(opened):
    opened().close()
    opened()


def test_a_foreign_write_lock_is_somebody_else_too(image, opened):
    with image.open("r+b") as other:
        flock = struct.pack("=hhxxxxqqixxxx", fcntl.F_WRLCK, 0, 201, 1, 0)
        fcntl.fcntl(other, 37, flock)
        with pytest.raises(DeviceBusyError, match="is in use"):
            opened()
