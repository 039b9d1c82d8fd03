"""A front-end truncates the memory it shared: it loses its own adapter, nobody else's.

Three ways in which the daemon touches guest memory, and a neighbour whose data is verified
all the while.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness import driver
from tests.harness.frontend import FIRST_REQUEST, FrontEnd
from tests.harness.ring import Buffer

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon

    from .conftest import MakeDaemon

#: How the daemon touches the memory, and the LUN and CDB that make it.
WAYS = {
    "engine copies": ("ram:64M", cdb.read_10(0, 128), 65536),
    "kernel transfers": ("{image},cache=none", cdb.read_10(0, 128), 65536),
    "page cache": ("{image}", cdb.read_10(0, 128), 65536),
    "upcalls": ("ram:64M", cdb.inquiry(255), 255),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pair(
    make_daemon: MakeDaemon, image: Path, way: str
) -> Iterator[tuple[Daemon, subprocess.Popen[bytes]]]:
    """A daemon whose second virtual host is under a verified load."""
    lun = WAYS[way][0].format(image=image)
    daemon = make_daemon([f"0:0:0:0={lun}", "1:0:0:0=ram:64M"], sockets=2)
    verify = ["--verify", "--seed", "7", "--iodepth", "8", "--span", "16m"]
    fill = driver.start(daemon.sockets[1], "--rw", "write", "--requests", "4096", *verify)
    assert fill.wait(30) == 0, fill.stderr.read()
    neighbour = driver.start(daemon.sockets[1], "--rw", "randread", *verify)
    yield daemon, neighbour
    assert neighbour.poll() is None, f"the neighbour's load ended: {neighbour.stderr.read()}"
    driver.end(neighbour)


def test_truncation_costs_that_adapter_only(
    pair: tuple[Daemon, subprocess.Popen[bytes]], way: str
) -> None:
    daemon, _ = pair
    _, command, room = WAYS[way]
    for turn in range(6):
        guest = FrontEnd(daemon.sockets[0], request_queues=2).start()
        guest.ready()
        _truncate_while_busy(guest, command, room, rings_too=bool(turn % 2))
        guest.close()
        daemon.wait_for_line("guest memory vanished", count=turn + 1)
    with FrontEnd(daemon.sockets[0]) as guest:
        guest.ready()
        assert guest.scsi(0, 0, command, data_in=room).good


def _truncate_while_busy(guest: FrontEnd, command: bytes, room: int, *, rings_too: bool) -> None:
    """Send requests whose pages go away: some in flight at that moment, some sent after it.

    This process has the memory mapped too: after the truncation it touches what is left only.
    """
    header = guest.memory.allocate(51)
    fence = guest.memory.allocate(1 << 20)
    gone = guest.memory.allocate(1 << 20)
    guest.memory.write(header, bytes((1, 0, 0x40, 0)) + bytes(15) + command.ljust(32, b"\0"))
    chain = [
        Buffer(header, 51),
        Buffer(gone, 108, writable=True),
        Buffer(gone + 4096, room, writable=True),
    ]

    def send() -> None:
        for queue in guest.queues[FIRST_REQUEST:]:
            for _ in range(10):
                queue.ring.offer(chain, indirect=False)
                queue.kick_if_wanted()

    send()
    if rings_too:
        os.ftruncate(guest.memory.fd, 0)
    else:
        os.ftruncate(guest.memory.fd, fence - guest.memory.guest_base)
        send()
    for queue in guest.queues:
        os.eventfd_write(queue.kick, 1)
    guest.peer.expect_closed()
