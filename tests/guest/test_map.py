"""The guest's whole view of the world is the map: two hosts, many LUNs, in any order."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.harness import scsi_view
from tests.harness.machine import Backend, Machine, MachineSpec
from tests.harness.scsi_view import Place
from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from images.build import GuestImage
    from images.qemus import Qemu
    from tests.harness.daemon import Daemon
    from tests.harness.evidence import Collector

pytestmark = pytest.mark.guest

LUNS = 32
CHANGES = 24
TARGETS = (0, 1, 7, 254, 255)
NUMBERS = (*range(12), 255, 256, 257, 1023, 16382, 16383)


@pytest.fixture(scope="module")
def qemu_version() -> str:
    return "10"


@pytest.fixture(scope="module")
def machine_config() -> str:
    return "q35-two-adapters"


@pytest.fixture(scope="module")
def verb(daemon: Daemon, short_folder: Path) -> Verbs:
    verbs = Verbs(short_folder / "control")
    verbs("host-attach", "1", "--socket-path", str(short_folder / "1.sock"))
    return verbs


@pytest.fixture(scope="module")
def luns() -> list[str]:
    return []


@pytest.fixture(scope="module")
def daemon_options(short_folder: Path) -> list[str]:
    return ["--control", str(short_folder / "control")]


@pytest.fixture(scope="module")
def machine_spec(
    qemu: Qemu, guest_image: GuestImage, accelerator: str, machine_config: str, short_folder: Path
) -> MachineSpec:
    sockets = (short_folder / "scsi0.sock", short_folder / "1.sock")
    backends = tuple(Backend(path, f"scsi{number}") for number, path in enumerate(sockets))
    return MachineSpec(
        qemu, guest_image, machine_config, backends=backends, accelerator=accelerator
    )


class Mapper:
    """Attaches and detaches at random, over the control socket."""

    def __init__(self, verb: Verbs, seed: int) -> None:
        self._random = random.Random(seed)
        self._verb = verb
        self._made = 0
        self.there: set[Place] = set()

    def change(self, attach: int, detach: int) -> None:
        """Attach and detach so many, in any order."""
        steps = [True] * attach + [False] * detach
        self._random.shuffle(steps)
        with self._verb.client() as client:
            for step in steps:
                if not step and self.there:
                    place = self._random.choice(sorted(self.there))
                    client.execute("scsi-detach", vdev=place.vdev())
                    self.there.remove(place)
                else:
                    place = self._free()
                    self._made += 1
                    pdev = f"ram:1M,serial=M{self._made}"
                    client.execute("scsi-attach", pdev=pdev, vdev=place.vdev())
                    self.there.add(place)

    def _free(self) -> Place:
        while True:
            any_ = self._random.choice
            place = Place(any_((0, 1)), any_(TARGETS), any_(NUMBERS))
            if place not in self.there:
                return place


def settled(machine: Machine, mapper: Mapper, gone: set[Place]) -> None:
    scsi_view.wait_for(machine, *mapper.there)
    if gone:
        scsi_view.wait_for(machine, *gone, there=False)


def listed(verb: Verbs) -> dict[Place, str]:
    return {Place.of(vdev): lun["serial"] for vdev, lun in verb.listed().items()}


@pytest.fixture
def empty_again(verb: Verbs) -> Iterator[None]:
    yield
    with verb.client() as client:
        for vdev in verb.listed():
            client.execute("scsi-detach", vdev=vdev)


@pytest.mark.usefixtures("empty_again")
def test_a_guest_sees_the_map_and_each_change_of_it(verb: Verbs, guest_of_map: Machine) -> None:
    mapper = Mapper(verb, seed=5)
    mapper.change(LUNS, 0)
    assert any(place.lun > 255 for place in mapper.there)
    settled(guest_of_map, mapper, set())
    assert scsi_view.serials(guest_of_map) == listed(verb)

    before = set(mapper.there)
    mapper.change(CHANGES // 2, CHANGES // 2)
    settled(guest_of_map, mapper, before - mapper.there)
    assert set(listed(verb)) == mapper.there
    assert scsi_view.serials(guest_of_map) == listed(verb)

    # And a guest that looks for itself, at its boot, sees the same.
    guest_of_map.reboot()
    assert scsi_view.serials(guest_of_map) == listed(verb)


@pytest.fixture
def guest_of_map(verb: Verbs, machine_spec: MachineSpec, evidence: Collector) -> Iterator[Machine]:
    """A guest with an adapter for each host; `verb` has made the second before it boots."""
    with Machine(machine_spec) as machine, evidence.watch(machine):
        yield machine.boot()
