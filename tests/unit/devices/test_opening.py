"""Opening images: what the engine is told, and what a person is told."""

import asyncio
import errno
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from vhost_pvscsi.devices.opening import _opening_hint, open_backing
from vhost_pvscsi.devices.pdev import parse_lun
from vhost_pvscsi.errors import ConfigurationError, DeviceBusyError, DeviceError


def spec(path, options=""):
    return parse_lun(f"0:0:0:0={path}" + (f",{options}" if options else ""))


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(1 << 20)
    return path


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_an_image_is_measured(image):
    with open_backing(spec(image)) as backing:
        assert (backing.size, backing.read_only, backing.block_device) == (1 << 20, False, False)
        assert (backing.direct, backing.sync_writes) == (False, False)
        assert backing.identity_source == f"file:{image}"
        assert os.pwrite(backing.fd, b"x" * 512, 0) == 512
        await backing.flush()


async def test_work_on_a_thread_keeps_its_file_when_the_unit_goes(image):
    began, closed = threading.Event(), threading.Event()

    def work(fd):
        began.set()
        assert closed.wait(10), "the unit was not closed within 10 s"
        return os.fstat(fd).st_ino

    backing = open_backing(spec(image))
    caller = asyncio.ensure_future(backing.on_thread(work))
    assert await asyncio.to_thread(began.wait, 10), "the work did not begin within 10 s"
    backing.close()
    closed.set()
    assert await caller == image.stat().st_ino


async def test_work_whose_caller_is_cancelled_gives_its_descriptor_back(image):
    with open_backing(spec(image)) as backing:
        before = descriptors()
        go_on = threading.Event()
        caller = asyncio.ensure_future(backing.on_thread(lambda _fd: go_on.wait(10)))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert descriptors() == before + 1
        go_on.set()
        await asyncio.get_running_loop().shutdown_default_executor()
        assert descriptors() == before


def test_descriptors_are_given_back(image):
    before = descriptors()
    backing = open_backing(spec(image))
    backing.close()
    backing.close()
    assert descriptors() == before


def test_a_scratch_file_lies_beside_the_image_without_a_name(image):
    with open_backing(spec(image)) as backing:
        if backing.scratch_fd < 0:
            pytest.skip("this file system has no O_TMPFILE; set TMPDIR to one that has")
        assert os.fstat(backing.scratch_fd).st_dev == image.stat().st_dev
        assert os.fstat(backing.scratch_fd).st_nlink == 0
    assert list(image.parent.iterdir()) == [image]


def test_a_read_only_unit_cannot_be_written(image):
    image.chmod(0o444)
    with open_backing(spec(image, "ro")) as backing:
        assert (backing.read_only, backing.unmap, backing.scratch_fd) == (True, False, -1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(backing.fd, b"x", 0)


def test_looking_for_holes_changes_nothing(image):
    image.write_bytes(b"\xa5" * 5000 * 512)
    with open_backing(spec(image)) as backing:
        assert backing.size == 5000 * 512
    assert image.read_bytes() == b"\xa5" * 5000 * 512


def test_the_identity_follows_links(image):
    link = image.parent / "link"
    link.symlink_to(image)
    with open_backing(spec(link)) as backing:
        assert backing.identity_source == f"file:{image}"


def test_one_image_twice_is_refused_unless_not_locked(image):
    with open_backing(spec(image)):
        with pytest.raises(DeviceBusyError, match="is in use"):
            open_backing(spec(image))
        with open_backing(spec(image, "lock=off")):
            pass


def test_a_refused_image_is_closed_again(tmp_path):
    short = make(tmp_path / "short", 1000)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ConfigurationError):
        open_backing(spec(short))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def make(path, size):
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_direct_io_where_the_file_system_has_it(image):
    try:
        os.close(os.open(image, os.O_RDWR | os.O_DIRECT))
    except OSError:
        pytest.skip("this file system has no O_DIRECT; set TMPDIR to one that has")
    with open_backing(spec(image, "cache=directsync")) as backing:
        assert (backing.direct, backing.sync_writes) == (True, True)


def test_missing_files_say_how_to_make_one(tmp_path):
    with pytest.raises(DeviceError, match="No such file or directory") as caught:
        open_backing(spec(tmp_path / "none.img"))
    assert caught.value.hint == f"make an empty image with: truncate -s 1G {tmp_path}/none.img"


@pytest.mark.parametrize(
    ("size", "options", "message", "hint"),
    [
        (0, "", "is empty", "truncate -s 1G"),
        (1000, "", "1000 is not a multiple of the block size 512", "a multiple of 512"),
        (512 * 9, "block-size=4096", "block size 4096", "block-size=512 would do"),
    ],
)
def test_sizes_that_do_not_fit(tmp_path, size, options, message, hint):
    with pytest.raises(ConfigurationError) as caught:
        open_backing(spec(make(tmp_path / "odd.img", size), options))
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_what_is_no_disk(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for path, what in (
        (tmp_path, "a directory"),
        (tmp_path / "pipe", "a pipe"),
        (tmp_path / "socket", "a socket"),
        ("/dev/null", "a character device"),
    ):
        with pytest.raises(ConfigurationError, match=f"is {what}, not a disk") as caught:
            open_backing(spec(path))
        assert caught.value.hint == "an image file or a block device"


def test_a_path_through_a_file_is_told_as_the_system_says_it(image):
    with pytest.raises(DeviceError, match="Not a directory"):
        open_backing(spec(image / "x"))


@pytest.mark.parametrize(
    ("number", "options", "hint"),
    [
        (errno.EACCES, "", "ro attaches it read-only"),
        (errno.EROFS, "cache=none", "ro attaches it read-only"),
        (errno.EINVAL, "cache=none", "cache=writeback"),
        (errno.EINVAL, "cache=directsync", "cache=writethrough"),
    ],
)
def test_what_cannot_be_opened_says_what_would_do(number, options, hint):
    """The hint alone: root, as whom tests may run, is refused by no permission."""
    assert hint in _opening_hint(OSError(number, ""), spec("a", options))


@pytest.fixture
def loop(image):
    losetup = shutil.which("losetup")
    if losetup is None or os.geteuid() != 0:
        pytest.skip("loop devices need root and losetup: run as root with util-linux")
    made = subprocess.run(
        [losetup, "--find", "--show", image], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no loop device to be had: {made.stderr.strip()}; modprobe loop")
    device = made.stdout.strip()
    yield device
    subprocess.run([losetup, "--detach", device], check=True)


def test_a_block_device_is_measured_and_held(loop):
    with open_backing(spec(loop)) as backing:
        assert (backing.size, backing.block_device, backing.scratch_fd) == (1 << 20, True, -1)
        assert backing.unmap
        assert backing.identity_source == f"file:{loop}"
        with pytest.raises(DeviceBusyError, match="is mounted or in use") as caught:
            open_backing(spec(loop))
        assert caught.value.hint == "unmount it or end its other user"
        with pytest.raises(OSError, match="Device or resource busy"):
            os.open(loop, os.O_RDONLY | os.O_EXCL)
    with open_backing(spec(loop, "ro")), open_backing(spec(loop, "ro")):
        pass
