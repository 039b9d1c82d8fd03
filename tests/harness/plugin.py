"""The pytest plugin: dimensions and stages of a guest as fixtures.

Dimensions say what kind of guest; a test module pins one by defining a fixture
of that name: `qemu_version`, `machine_config`, `smp`, `queues`, `memory_mib`, `luns`,
`daemon_options`, `reconnect`.

Stages each add one step, and a test asks for the last one it needs and no more:

    guest_image -> qemu -> accelerator
    luns -> daemon -> machine_spec -> guest (booted)

They live as long as a test module, so one boot serves many checks. A failed test
leaves what machine and daemon have to say in `test-results/<test id>/`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from . import acceleration, images
from .daemon import Daemon
from .evidence import Collector
from .machine import Backend, Machine, MachineSpec

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from images.build import GuestImage
    from images.qemus import Qemu

_COLLECTOR = pytest.StashKey[Collector]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this plugin."""
    parser.addoption(
        "--deny-io-uring",
        action="store_true",
        help="integration tests: answer the daemon's io_uring_setup with EPERM, by seccomp",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the collector of evidence."""
    config.stash[_COLLECTOR] = Collector(config.rootpath / "test-results")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Save evidence when a test, or what it stands on, has failed."""
    report = yield
    if report.failed:
        folder = item.config.stash[_COLLECTOR].save(item.nodeid, report.longreprtext)
        report.sections.append(("evidence", str(folder)))
    return report


@pytest.fixture(scope="session")
def evidence(request: pytest.FixtureRequest) -> Collector:
    """Where to register machines and daemons that a test makes by itself."""
    return request.config.stash[_COLLECTOR]


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a UNIX socket (unix(7): 107 bytes)."""
    with tempfile.TemporaryDirectory(prefix="vhost-pvscsi-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def guest_image() -> GuestImage:
    """The guest."""
    return images.guest()


@pytest.fixture(scope="module", params=images.wanted_versions())
def qemu_version(request: pytest.FixtureRequest) -> str:
    """Dimension: which QEMU."""
    return str(request.param)


@pytest.fixture(scope="module")
def machine_config() -> str:
    """Dimension: the machine, a file of qemu-configs/ without its suffix."""
    return "q35-vhost-user-scsi"


@pytest.fixture(scope="module")
def smp() -> int | None:
    """Dimension: the number of processors; None leaves it to the machine's file."""
    return None


@pytest.fixture(scope="module")
def queues() -> int | None:
    """Dimension: the number of request queues; None leaves it to the machine's file."""
    return None


@pytest.fixture(scope="module")
def memory_mib() -> int:
    """Dimension: the guest's memory."""
    return 384


@pytest.fixture(scope="module")
def reconnect() -> bool:
    """Dimension: whether QEMU connects again when the back-end goes away."""
    return False


@pytest.fixture(scope="module")
def luns() -> list[str]:
    """Dimension: the LUNs to serve, as `--lun` takes them."""
    return ["0:0:0:0=ram:64M"]


@pytest.fixture(scope="module")
def daemon_options() -> list[str]:
    """Dimension: more options of `vhost-pvscsi serve`."""
    return []


@pytest.fixture(scope="module")
def qemu(qemu_version: str) -> Qemu:
    """Stage: the QEMU, ready to be started."""
    return images.qemu(qemu_version)


@pytest.fixture(scope="module")
def accelerator(qemu: Qemu, guest_image: GuestImage) -> str:
    """Stage: KVM if a guest boots with it here, else TCG."""
    return acceleration.choose(qemu, guest_image)[0]


@pytest.fixture(scope="module")
def daemon(
    short_folder: Path, luns: list[str], daemon_options: list[str], evidence: Collector
) -> Iterator[Daemon]:
    """Stage: the back-end, listening. It must end by SIGTERM with exit status 0."""
    made = Daemon(
        short_folder, sockets=[short_folder / "scsi0.sock"], luns=luns, options=daemon_options
    )
    with made, evidence.watch(made):
        yield made


@pytest.fixture(scope="module")
def machine_spec(
    qemu: Qemu,
    guest_image: GuestImage,
    accelerator: str,
    machine_config: str,
    memory_mib: int,
    smp: int | None,
    queues: int | None,
    daemon: Daemon,
    reconnect: bool,
) -> MachineSpec:
    """Stage: the machine, with an adapter for each of the daemon's sockets."""
    return MachineSpec(
        qemu=qemu,
        image=guest_image,
        config=machine_config,
        backends=tuple(
            Backend(path, f"scsi{number}", reconnect) for number, path in enumerate(daemon.sockets)
        ),
        accelerator=accelerator,
        memory_mib=memory_mib,
        smp=smp,
        queues=queues,
    )


@pytest.fixture(scope="module")
def guest(machine_spec: MachineSpec, evidence: Collector) -> Iterator[Machine]:
    """Stage: a booted guest."""
    with Machine(machine_spec) as machine, evidence.watch(machine):
        yield machine.boot()
