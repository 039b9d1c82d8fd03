"""Opening images: what the engine is told, and what a person is told."""

import os
import socket

import pytest

from vhost_pvscsi.devices.opening import open_backing
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


def flags(fd):
    return os.readlink(f"/proc/self/fd/{fd}"), os.get_blocking(fd)


def test_an_image_is_measured(image):
    with open_backing(spec(image)) as backing:
        assert (backing.size, backing.read_only, backing.block_device) == (1 << 20, False, False)
        assert (backing.direct, backing.sync_writes) == (False, False)
        assert backing.identity_source == f"file:{image}"
        assert os.pwrite(backing.fd, b"x" * 512, 0) == 512
        backing.flush()


def test_descriptors_are_given_back(image):
    before = len(os.listdir("/proc/self/fd"))
    backing = open_backing(spec(image))
    backing.close()
    backing.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_scratch_file_lies_beside_the_image_without_a_name(image):
    with open_backing(spec(image)) as backing:
        if backing.scratch_fd < 0:
            pytest.skip("this file system has no O_TMPFILE; set TMPDIR to one that has")
        assert os.fstat(backing.scratch_fd).st_dev == os.stat(image).st_dev
        assert os.fstat(backing.scratch_fd).st_nlink == 0
    assert os.listdir(image.parent) == ["disk.img"]


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


def test_a_refused_image_is_closed_again(image):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigurationError):
        open_backing(spec(image.parent / "short", "ro")) if make(
            image.parent / "short", 1000
        ) else None
    assert len(os.listdir("/proc/self/fd")) == before


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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything; run as another user")
def test_an_image_that_may_not_be_written_hints_at_ro(image):
    image.chmod(0o444)
    with pytest.raises(DeviceError, match="Permission denied") as caught:
        open_backing(spec(image))
    assert caught.value.hint == "ro attaches it read-only"
