"""IO_ERROR: what the host could not do for a LUN reaches operators, and does not flood them."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness.frontend import CHECK_CONDITION, FrontEnd
from tests.harness.qmp import Qmp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon

    from .conftest import MakeDaemon

#: More than one a second would be a flood.
MANY = 200
DEADLINE = 10.0


@pytest.fixture
def daemon(make_daemon: MakeDaemon, image: Path, folder: Path) -> Daemon:
    return make_daemon([f"0:0:0:0={image}", "0:0:1:0=ram:1M"], "--control", str(folder / "control"))


@pytest.fixture
def operator(daemon: Daemon, folder: Path) -> Iterator[Qmp]:
    with closing(socket.socket(socket.AF_UNIX)) as channel:
        channel.connect(str(folder / "control"))
        with closing(Qmp(channel)) as qmp:
            yield qmp


def fail(guest: FrontEnd, count: int) -> None:
    """Read that often where the image has no bytes any more."""
    for _ in range(count):
        response = guest.scsi(0, 0, cdb.read_10(1000, 1), data_in=512)
        assert response.status == CHECK_CONDITION
        assert response.sense_code == (0x3, 0x11, 0x00)


def counted(operator: Qmp, wanted: int) -> list[int]:
    """The counts of events, until they make up so many."""
    counts: list[int] = []
    while sum(counts) < wanted:
        data = operator.wait_event("IO_ERROR", timeout=DEADLINE)["data"]
        assert data["vdev"] == "0:0:0:0"
        assert (data["opcode"], data["command"], data["errno"]) == (0x28, "READ(10)", "EIO")
        counts.append(data["count"])
    return counts


def test_failures_are_told_once_a_second(daemon: Daemon, operator: Qmp, image: Path) -> None:
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        guest.ready(1)
        os.truncate(image, 0)
        fail(guest, 1)
        assert counted(operator, 1) == [1]
        fail(guest, MANY)
        # All are counted; they took less than some seconds, whatever the machine has to do.
        counts = counted(operator, MANY)
        assert sum(counts) == MANY
        assert len(counts) < MANY / 4
        assert guest.scsi(1, 0, cdb.read_10(0, 1), data_in=512).good
        # What the guest did wrong is no failure of the host's.
        assert not guest.scsi(1, 0, cdb.read_10(1 << 20, 1), data_in=512).good
    daemon.wait_for_line("0:0:0:0: 1 commands failed on the host, the last one READ(10): ")


def test_a_lun_attached_anew_is_told_of_anew(daemon: Daemon, operator: Qmp, image: Path) -> None:
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        os.truncate(image, 0)
        fail(guest, 3)
        operator.execute("scsi-detach", vdev="0:0:0:0")
        os.truncate(image, 64 << 20)
        operator.execute("scsi-attach", vdev="0:0:0:0", pdev=str(image))
        operator.wait_event("LUN_ATTACHED", timeout=DEADLINE)
        guest.ready()
        os.truncate(image, 0)
        fail(guest, 2)
        assert sum(counted(operator, 2)) == 2
