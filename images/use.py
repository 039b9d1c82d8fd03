"""What a demo does with a guest that has a disk of ours at targets 0 and 1."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from tests.harness import disks
from tests.harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.inner_guest import InnerGuest
    from tests.harness.machine import Machine

    from .story import Story

_IMAGE_SIZE = 256 << 20
_WRITTEN_MIB = 24
#: What an ext2/3/4 superblock has in its s_magic (Linux kernel, filesystems/ext4/super.rst).
_EXT_MAGIC_AT, _EXT_MAGIC = 1024 + 0x38, b"\x53\xef"


class DemoError(Exception):
    """The guest saw something else than it should."""


def make_image(folder: Path) -> Path:
    """Make a disk image, all holes."""
    image = folder / "disk.img"
    image.touch()
    os.truncate(image, _IMAGE_SIZE)
    return image


def use(machine: Machine | InnerGuest, story: Story) -> None:
    """Make a file system on each, write it, and read it back."""
    listing = machine.console.check("lsscsi -s")
    story.note(listing.rstrip())
    for target in (0, 1):
        disk = disks.find(machine, target)
        with story.step(f"{disk.node}: ext4 made, {_WRITTEN_MIB} MiB of random data written"):
            disk.make_file_system(_WRITTEN_MIB)
        with story.step(f"{disk.node}: file system checked, data read back and compared"):
            disk.verify_file_system()


@contextlib.contextmanager
def telling(story: Story, *logs: Callable[[], str]) -> Iterator[None]:
    """Where a guest is not satisfied, tell the ends of these logs."""
    try:
        yield
    except (HarnessError, DemoError):
        for log in logs:
            story.note(log()[-3000:])
        raise


def look_at(image: Path, story: Story) -> None:
    """Find in the image what the guest has made.

    Raises:
        DemoError: it is not there.
    """
    with image.open("rb") as file:
        file.seek(_EXT_MAGIC_AT)
        if file.read(2) != _EXT_MAGIC:
            raise DemoError(f"{image} holds no file system, though the guest made one")
    used = image.stat().st_blocks * 512 >> 20
    story.note(f"{image.name} holds the guest's file system, {used} MiB in use on the host")
