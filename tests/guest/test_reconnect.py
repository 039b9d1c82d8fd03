"""A back-end that goes away and comes back under a running guest."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.harness import disks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.daemon import Daemon
    from tests.harness.machine import Machine

pytestmark = pytest.mark.guest

RESTARTS = 3


@pytest.fixture(scope="module")
def qemu_version() -> str:
    # The other one, 7.2, has no reconnect for vhost-user-scsi (it came in 8.2).
    return "10"


@pytest.fixture(scope="module")
def reconnect() -> bool:
    return True


@pytest.fixture(scope="module")
def luns(short_folder: Path) -> list[str]:
    path = short_folder / "disk.img"
    path.touch()
    os.truncate(path, 128 << 20)
    return [f"0:0:0:0={path}"]


def test_io_goes_on_over_restarts_of_the_back_end(guest: Machine, daemon: Daemon) -> None:
    """What the guest asks while the back-end is away is held, and none of it is lost."""
    disk = disks.find(guest, 0)
    job = (
        f"fio --name=v --filename={disk.node} --rw=randwrite --bs=4k --iodepth=8 --size=24m"
        " --ioengine=io_uring --direct=1 --verify=crc32c --verify_fatal=1"
    )
    with ThreadPoolExecutor(1) as pool:
        verifying = pool.submit(guest.console.check, job, timeout=180.0)
        for _ in range(RESTARTS):
            daemon.stop()
            daemon.start()
            daemon.wait_for_line("a front-end has connected")
        assert not verifying.done(), "fio ended before the last restart"
        verifying.result()
    assert "I/O error" not in guest.console.check("dmesg")
    disk.make_file_system(4)
    disk.verify_file_system()
