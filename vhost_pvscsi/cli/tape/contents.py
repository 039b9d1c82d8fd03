"""What is on a tape image, file by file."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import DeviceError
from vhost_pvscsi.medium import TapeImage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Objects that are asked for at a time.
_BATCH = 4096
#: The length of what is no block.
_MARK = -1


@dataclass(frozen=True, slots=True)
class Block:
    """A block of an image."""

    offset: int  #: of its data
    length: int
    bad: bool  #: it was read with errors, when the image was made


@dataclass(slots=True)
class TapeFile:
    """What is between two filemarks."""

    number: int  #: from 0
    first: int  #: the number of its first object on the tape
    blocks: int = 0
    bytes: int = 0
    shortest: int = 0
    longest: int = 0
    bad: int = 0
    ended: bool = False  #: by a filemark

    def add(self, block: Block) -> None:
        """Count a block."""
        self.shortest = min(self.shortest, block.length) if self.blocks else block.length
        self.longest = max(self.longest, block.length)
        self.blocks += 1
        self.bytes += block.length
        self.bad += block.bad


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[int, TapeImage]]:
    """Open an image for reading; nothing is changed, a torn tail is passed over.

    Raises:
        ConfigurationError: it is no tape image, or damaged.
        DeviceError: it cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DeviceError(f"{path}: {error.strerror}") from error
    try:
        # Not its sidecar: what is told here is what is in the image.
        yield fd, TapeImage(fd)
    finally:
        os.close(fd)


def objects(image: TapeImage, first: int = 0) -> Iterator[Block | None]:
    """All objects from one on; None is a filemark.

    Raises:
        DeviceError: it cannot be read.
    """
    while batch := image.listed(first, _BATCH):
        for offset, length, bad in batch:
            yield None if length == _MARK else Block(offset, length, bad)
        first += len(batch)


def files(image: TapeImage) -> Iterator[TapeFile]:
    """All files in order; behind the last filemark there is one only if it has blocks.

    Raises:
        DeviceError: it cannot be read.
    """
    now = TapeFile(0, 0)
    for number, found in enumerate(objects(image)):
        if found is not None:
            now.add(found)
            continue
        now.ended = True
        yield now
        now = TapeFile(now.number + 1, number + 1)
    if now.blocks:
        yield now
