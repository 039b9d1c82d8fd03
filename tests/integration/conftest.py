"""Daemons for tests without a guest: the real program, with io_uring or denied it."""

from __future__ import annotations

import itertools
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.harness.daemon import Daemon
from tests.harness.frontend import FrontEnd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.harness.evidence import Collector

DENIED = (sys.executable, "-m", "tests.harness.deny_io_uring")


class MakeDaemon(Protocol):
    """Starts a daemon with these LUNs; it is ended, and must end well, after the test."""

    def __call__(self, luns: Sequence[str], *options: str, sockets: int = 1) -> Daemon: ...


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder on a disk's file system, its path short enough for a UNIX socket."""
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        yield Path(name)


@pytest.fixture
def io_uring(request: pytest.FixtureRequest) -> bool:
    """Dimension: whether the kernel gives the daemon an io_uring (`--deny-io-uring`)."""
    return not request.config.getoption("--deny-io-uring")


@pytest.fixture
def make_daemon(folder: Path, evidence: Collector, io_uring: bool) -> Iterator[MakeDaemon]:
    """Make daemons."""
    with ExitStack() as stack:
        numbers = itertools.count()

        def make(luns: Sequence[str], *options: str, sockets: int = 1) -> Daemon:
            home = folder / f"daemon{next(numbers)}"
            home.mkdir()
            daemon = Daemon(
                home,
                sockets=[home / f"{number}.sock" for number in range(sockets)],
                luns=luns,
                options=options,
                launcher=() if io_uring else DENIED,
            )
            stack.enter_context(daemon)
            stack.enter_context(evidence.watch(daemon))
            return daemon

        yield make


@pytest.fixture
def image(folder: Path) -> Path:
    """An image of 64 MiB, all of it a hole."""
    path = folder / "disk.img"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    return path


@pytest.fixture
def daemon(make_daemon: MakeDaemon, image: Path) -> Daemon:
    """A daemon with a file, a RAM disk and a null disk at targets 0, 1 and 2."""
    luns = [f"0:0:0:0={image}", "0:0:1:0=ram:64M", "0:0:2:0=null:1G"]
    return make_daemon(luns)


@pytest.fixture
def guest(daemon: Daemon) -> Iterator[FrontEnd]:
    """A front-end that has heard the unit attentions of `daemon`'s units."""
    with FrontEnd(daemon.socket) as front_end:
        for target in range(3):
            front_end.ready(target)
        yield front_end


@pytest.fixture(scope="module")
def two_hosts(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A daemon with two virtual hosts, for all tests of a module: one breaks, one looks on."""
    launcher = DENIED if request.config.getoption("--deny-io-uring") else ()
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        home = Path(name)
        luns = ["0:0:0:0=ram:16M", "1:0:0:0=ram:16M"]
        sockets = [home / "0", home / "1"]
        with Daemon(home, sockets=sockets, luns=luns, launcher=launcher) as running:
            yield running


@pytest.fixture(scope="module")
def bystander(two_hosts: Daemon) -> Iterator[FrontEnd]:
    """The guest of the second virtual host."""
    with FrontEnd(two_hosts.sockets[1]) as guest:
        guest.ready()
        yield guest
