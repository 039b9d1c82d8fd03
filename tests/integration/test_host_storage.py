"""What only root can set up: a real block device, and a file system that is full."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness.frontend import FrontEnd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import MakeDaemon

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("losetup") is None,
    reason="needs root and losetup (package mount): run as root to force it",
)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)}: {done.stderr}")
    return done.stdout.strip()


@contextmanager
def loop_device(image: Path, *options: str) -> Iterator[str]:
    device = run("losetup", *options, "--find", "--show", str(image))
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@pytest.mark.parametrize(
    ("options", "block_size", "rotational"),
    [
        ("", 4096, None),
        (",block-size=4096,rotational=on", 4096, True),
        (",rotational=off", 4096, False),
    ],
)
def test_a_block_device_has_the_geometry_that_it_has(
    make_daemon: MakeDaemon, image: Path, options: str, block_size: int, rotational: bool | None
) -> None:
    with loop_device(image, "--sector-size", "4096") as device:
        own = Path(f"/sys/block/{Path(device).name}/queue/rotational").read_text().strip() == "1"
        daemon = make_daemon([f"0:0:0:0={device}{options}"])
        with FrontEnd(daemon.socket) as guest:
            guest.ready()
            capacity = guest.scsi(0, 0, b"\x25" + bytes(9), data_in=8).data
            assert int.from_bytes(capacity[4:], "big") == block_size
            assert int.from_bytes(capacity[:4], "big") == (64 << 20) // block_size - 1
            rate = guest.scsi(0, 0, bytes.fromhex("1201b100ff00"), data_in=255).data[4:6]
            assert (rate != b"\0\1") is (own if rotational is None else rotational)
        daemon.stop()


@pytest.mark.parametrize("cache", ["writeback", "none"])
def test_a_block_device_is_a_disk(make_daemon: MakeDaemon, image: Path, cache: str) -> None:
    with loop_device(image) as device:
        daemon = make_daemon([f"0:0:0:0={device},cache={cache}"])
        with FrontEnd(daemon.socket) as guest:
            guest.ready()
            data = b"block device".ljust(4096, b".") * 16
            assert guest.scsi(0, 0, cdb.write_10(64, 128), data_out=data).good
            assert guest.scsi(0, 0, cdb.synchronize_cache_10()).good
            assert guest.scsi(0, 0, cdb.read_10(64, 128), data_in=len(data)).data == data
            capacity = guest.scsi(0, 0, b"\x25" + bytes(9), data_in=8).data
            assert int.from_bytes(capacity[:4], "big") == (64 << 20) // 512 - 1
            listed = cdb.unmap_list((64, 64))
            assert guest.scsi(0, 0, cdb.unmap(len(listed)), data_out=listed).good
            back = guest.scsi(0, 0, cdb.read_10(64, 128), data_in=len(data)).data
            assert back == bytes(64 * 512) + data[64 * 512 :]
        daemon.stop()
    with image.open("rb") as file:
        file.seek(128 * 512)
        assert file.read(64 * 512) == data[64 * 512 :]


def test_a_block_device_in_use_is_refused(make_daemon: MakeDaemon, image: Path) -> None:
    with loop_device(image) as device:
        daemon = make_daemon([f"0:0:0:0={device}"])
        with pytest.raises(OSError, match="busy"):
            os.close(os.open(device, os.O_RDWR | os.O_EXCL))
        daemon.stop()


def test_a_full_file_system_is_told(make_daemon: MakeDaemon, folder: Path) -> None:
    small = folder / "small"
    small.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small))
    try:
        image = small / "disk.img"
        image.touch()
        os.truncate(image, 64 << 20)
        daemon = make_daemon([f"0:0:0:0={image}"])
        with FrontEnd(daemon.socket) as guest:
            guest.ready()
            full = None
            for lba in range(0, 4096, 128):
                full = guest.scsi(0, 0, cdb.write_10(lba, 128), data_out=bytes([1]) * 65536)
                if not full.good:
                    break
            assert full.sense_code == (7, 0x27, 7), "SPACE ALLOCATION FAILED WRITE PROTECT"
            assert guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512).data == bytes([1]) * 512
            listed = cdb.unmap_list((0, 1024))
            assert guest.scsi(0, 0, cdb.unmap(len(listed)), data_out=listed).good
            assert guest.scsi(0, 0, cdb.write_10(4096, 128), data_out=bytes(65536)).good
        daemon.stop()
    finally:
        run("umount", str(small))
