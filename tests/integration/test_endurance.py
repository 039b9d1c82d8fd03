"""Hosts, LUNs and front-ends that come and go many times under verified I/O: nothing is left."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.harness import commands as cdb
from tests.harness.frontend import (
    EVENT_IDX,
    HOTPLUG,
    INDIRECT_DESC,
    PROTOCOL_FEATURES,
    VERSION_1,
    FrontEnd,
)
from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from tests.harness.daemon import Daemon

    from .conftest import MakeDaemon

FEATURES = VERSION_1 | INDIRECT_DESC | EVENT_IDX | PROTOCOL_FEATURES | HOTPLUG
#: Reduced counts, then those that `nox -s long` runs.
ROUNDS = [pytest.param(60, id="some"), pytest.param(1000, id="all", marks=pytest.mark.long)]
#: After so many all that is made once and kept is there: pools, caches, arenas of malloc.
WARM = 20
#: asyncio's workers are made when they are first needed at the same time, which may be late; there
#: are no more of them (ThreadPoolExecutor's default).
WORKERS = min(32, (os.cpu_count() or 1) + 4)
#: What malloc and cycles that await their collection may keep beyond that. 12,000 rounds of LUNs:
#: 14 MiB more after 2,000, 16.4 MiB after 6,000, and 16.5 MiB in the end.
SLACK_KIB = 20480
TRANSPORT_RESET, RESCAN, REMOVED = 1, 1, 2
BLOCKS = 8


class Held(NamedTuple):
    """What a process has open; memory is judged apart."""

    descriptors: int
    threads: int
    mappings: int


def held(daemon: Daemon) -> Held:
    root = Path(f"/proc/{daemon.pid}")
    shared = [line for line in (root / "maps").read_text().splitlines() if "memfd:" in line]
    descriptors, threads = (sum(1 for _ in (root / what).iterdir()) for what in ("fd", "task"))
    return Held(descriptors, threads, len(shared))


def resident(daemon: Daemon) -> int:
    """Return its resident memory in KiB."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1])


class Watch:
    """Compares what is held when warm with what is held in the end."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._before: tuple[Held, int] | None = None

    def round(self, number: int) -> None:
        if number == WARM:
            self._before = held(self._daemon), resident(self._daemon)

    def nothing_is_left(self) -> None:
        assert self._before is not None
        before, memory = self._before
        now = held(self._daemon)
        assert now._replace(threads=0) == before._replace(threads=0)
        assert now.threads <= before.threads + WORKERS
        grown = resident(self._daemon) - memory
        print(f"held {before}, {memory} KiB, grown by {grown} KiB")
        assert grown < SLACK_KIB


def serve(make_daemon: MakeDaemon, folder: Path) -> tuple[Daemon, Verbs]:
    control = folder / "control"
    return make_daemon(["0:0:0:0=ram:16M"], "--control", str(control)), Verbs(control)


class Verifier:
    """Writes here and there, and reads what it has written."""

    def __init__(self, guest: FrontEnd) -> None:
        self._guest = guest
        self._random = random.Random(5)
        self._lba, self._data = 0, b""

    def begin(self) -> None:
        self._lba = self._random.randrange(0, 32768 - BLOCKS)
        self._data = self._random.randbytes(BLOCKS * 512)
        command = cdb.write_10(self._lba, BLOCKS)
        self._pending = self._guest.submit(0, 0, command, data_out=self._data)

    def end(self) -> None:
        assert self._guest.wait(self._pending).good
        read = cdb.read_10(self._lba, BLOCKS)
        assert self._guest.scsi(0, 0, read, data_in=BLOCKS * 512).data == self._data


@pytest.mark.parametrize("rounds", ROUNDS)
def test_luns(make_daemon: MakeDaemon, folder: Path, image: Path, rounds: int) -> None:
    """Each event is told, in order; each write beside it is read back."""
    daemon, verbs = serve(make_daemon, folder)
    watch = Watch(daemon)
    with FrontEnd(daemon.socket, features=FEATURES) as guest, verbs.client() as client:
        guest.ready()
        verifier = Verifier(guest)
        for number in range(rounds):
            come, go = guest.offer_events(2)
            verifier.begin()
            client.execute("scsi-attach", pdev=str(image), vdev="0:0:1:0")
            assert guest.wait_event(come)[::2] == (TRANSPORT_RESET, RESCAN)
            verifier.end()
            guest.ready(1)
            assert guest.scsi(1, 0, cdb.write_10(number, 1), data_out=bytes(512)).good
            verifier.begin()
            client.execute("scsi-detach", vdev="0:0:1:0")
            assert guest.wait_event(go)[::2] == (TRANSPORT_RESET, REMOVED)
            verifier.end()
            guest.ready()  # REPORTED LUNS DATA HAS CHANGED
            watch.round(number)
        watch.nothing_is_left()


@pytest.mark.parametrize("rounds", ROUNDS)
def test_hosts(make_daemon: MakeDaemon, folder: Path, rounds: int) -> None:
    """With a front-end each, and a LUN that it uses; one in three is ended under it."""
    daemon, verbs = serve(make_daemon, folder)
    watch = Watch(daemon)
    path = folder / "7.sock"
    with FrontEnd(daemon.socket) as bystander, verbs.client() as client:
        bystander.ready()
        verifier = Verifier(bystander)
        for number in range(rounds):
            verifier.begin()
            client.execute("host-attach", host=7, socket_path=str(path))
            client.execute("scsi-attach", pdev="ram:1M", vdev="7:0:0:0")
            with FrontEnd(path) as guest:
                guest.ready()
                if number % 3 == 0:
                    client.execute("host-detach", host=7, force=True)
            if number % 3:
                client.execute("host-detach", host=7, force=True)
            verifier.end()
            watch.round(number)
        watch.nothing_is_left()


@pytest.mark.parametrize("rounds", ROUNDS)
def test_front_ends(make_daemon: MakeDaemon, folder: Path, rounds: int) -> None:
    """One after the other at the same host, half of them with a command in flight."""
    daemon, verbs = serve(make_daemon, folder)
    watch = Watch(daemon)
    verbs("scsi-attach", "ram:1M,latency=50ms", "0:0:1:0")
    for number in range(rounds):
        with FrontEnd(daemon.socket) as guest:
            guest.ready()
            if number % 2:
                guest.submit(1, 0, cdb.read_10(0, 1), data_in=512)
        daemon.wait_for_line("disconnected: ", count=number + 1)
        watch.round(number)
    watch.nothing_is_left()
