"""Growth: what a look at a file finds, and what is said of it, once."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.emulated import Rig, code_of
from vhost_pvscsi.daemon.control.publisher import Publisher
from vhost_pvscsi.daemon.growth import BATCH, Finding, Growth, compare
from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.errors import ConfigurationError, DeviceError
from vhost_pvscsi.identity import Address

if TYPE_CHECKING:
    from vhost_pvscsi.daemon.growth import Backed

HERE, THERE = Address(0, 0, 1, 0), Address(1, 0, 1, 0)
BLOCKS = 0x2000
SIZE = BLOCKS * 512


class Image:
    """Satisfies `Backed`: a disk, and a size that can be anything."""

    path = Path("/srv/disk.img")

    def __init__(self) -> None:
        self.rig = Rig()
        self.rig.medium.grown = []
        self.rig.medium.grow = self.rig.medium.grown.append
        self.unit = self.rig.disk
        self.size: int | OSError = SIZE
        self.open = True

    def measure(self) -> int:
        if isinstance(self.size, OSError):
            raise self.size
        return self.size


class Shelf:
    """Satisfies `Places`: images at two addresses each."""

    def __init__(self, *images: Image) -> None:
        self.images = images

    def growing(self) -> tuple[Backed, ...]:
        return self.images  # type: ignore[return-value]

    def growing_at(self, address: Address) -> Backed | None:
        return self.images[0] if address == HERE else None  # type: ignore[return-value]

    def places(self, _: Backed) -> list[Address]:
        return [HERE, THERE]


class Watched:
    """A growth that looks when it is told to, at one image."""

    def __init__(self) -> None:
        self.image = Image()
        publisher, self.heard = Publisher(), list[dict[str, Any]]()
        publisher.listen(lambda event: self.heard.append(event["data"]))
        self.growth = Growth(Shelf(self.image), publisher)


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("block_size", "more", "finding"),
    [
        (512, 0, Finding.SAME),
        (512, 511, Finding.SAME),
        (512, 512, Finding.GROWN),
        (512, 1 << 40, Finding.GROWN),
        (4096, 4095, Finding.SAME),
        (4096, 4096, Finding.GROWN),
        (512, -1, Finding.SHRUNK),
        (512, -SIZE, Finding.SHRUNK),
    ],
)
def test_whole_blocks_are_what_counts(block_size: int, more: int, finding: Finding) -> None:
    geometry = DiskGeometry(BLOCKS, block_size)
    assert compare(geometry, BLOCKS * block_size + more) is finding


async def test_a_file_that_has_grown_is_told_at_each_place() -> None:
    watched = Watched()
    watched.image.size = SIZE + 1024 + 511
    geometry = await watched.growth.look_at(HERE)
    assert geometry == watched.image.unit.geometry
    assert geometry.blocks == BLOCKS + 2
    assert watched.image.rig.medium.grown == [SIZE + 1024]
    told = {"blocks": BLOCKS + 2, "block-size": 512}
    assert watched.heard == [{"vdev": str(HERE), **told}, {"vdev": str(THERE), **told}]
    await watched.growth.look()
    assert len(watched.heard) == 2
    assert watched.image.rig.medium.grown == [SIZE + 1024]


async def test_a_file_that_has_shrunk_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    for size in (512, 512, 512):
        watched.image.size = size
        await watched.growth.look()
    assert complaints(caplog) == [
        f"error: LUN {HERE}, {THERE}: /srv/disk.img: has shrunk from {SIZE} to 512 bytes, the LUN"
        f" has not; hint: make it {SIZE} bytes again; detach and attach the LUN to have it smaller"
    ]
    for size in (1024, 1024, SIZE, 1024):
        watched.image.size = size
        await watched.growth.look()
    assert len(complaints(caplog)) == 3
    assert (watched.image.unit.geometry.blocks, watched.heard) == (BLOCKS, [])
    with pytest.raises(DeviceError, match="has shrunk from 4194304 to 1024 bytes") as refused:
        await watched.growth.look_at(HERE)
    assert refused.value.hint is not None


async def test_a_file_that_cannot_be_looked_at_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched()
    watched.image.size = OSError(errno.ESTALE, "Stale file handle")
    for _ in range(3):
        await watched.growth.look()
    [said] = complaints(caplog)
    assert "its size cannot be found out: Stale file handle" in said
    with pytest.raises(DeviceError, match="Stale file handle"):
        await watched.growth.look_at(HERE)


async def test_what_was_found_of_a_closed_file_counts_for_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched()
    watched.image.open = False
    for size in (0, SIZE * 2, OSError(errno.EBADF, "Bad file descriptor")):
        watched.image.size = size
        await watched.growth.look()
    assert (watched.image.rig.medium.grown, complaints(caplog)) == ([], [])


async def test_a_look_that_another_was_quicker_than_counts_for_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The second look saw a larger file, and the first one's answer came after it."""
    watched = Watched()
    image = watched.image

    def measure() -> int:
        if image.unit.geometry.blocks == BLOCKS:
            image.unit.grow(BLOCKS + 8)
            return SIZE + 512
        return SIZE + 8 * 512

    image.measure = measure  # type: ignore[method-assign]
    await watched.growth.look()
    assert (image.unit.geometry.blocks, complaints(caplog)) == (BLOCKS + 8, [])


async def test_of_more_than_a_batch_all_are_looked_at() -> None:
    images = [Image() for _ in range(BATCH + 2)]
    growth = Growth(Shelf(*images), Publisher())
    for image in images[-3:]:
        image.size = SIZE * 2
    await growth.look()
    grown = [at for at, image in enumerate(images) if image.unit.geometry.blocks > BLOCKS]
    assert grown == [BATCH - 1, BATCH, BATCH + 1]


async def test_a_lun_without_a_file_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no file that could grow") as refused:
        await Watched().growth.look_at(THERE)
    assert refused.value.hint == "detach it, and attach it with another size"


async def test_initiators_hear_of_it_with_their_next_command() -> None:
    watched = Watched()
    rig = await watched.image.rig.connected()
    watched.image.size = SIZE * 2
    await watched.growth.look_at(HERE)
    for nexus in ("a", "b"):
        assert code_of(await rig.sense("00", nexus=nexus)) == (6, 0x2A, 0x09)
    capacity = await rig.data("25")
    assert int.from_bytes(capacity[:4], "big") == BLOCKS * 2 - 1
