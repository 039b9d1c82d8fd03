"""What is on a tape image, file by file."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.devices import locking
from vhost_pvscsi.devices.tape.auxiliary import AuxiliaryMemory
from vhost_pvscsi.errors import DeviceError
from vhost_pvscsi.medium import TapeImage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vhost_pvscsi.medium import TapeBlock

#: Objects that are asked for at a time.
_BATCH = 4096
#: Bytes that are read at a time.
_PIECE = 1 << 20


@dataclass(slots=True)
class TapeFile:
    """What is between two filemarks."""

    number: int  #: from 0
    first: int  #: the number of its first object on the tape
    blocks: int = 0
    bytes: int = 0
    stored: int = 0  #: bytes of them in the image: fewer, where blocks are compressed
    shortest: int = 0
    longest: int = 0
    bad: int = 0
    packed: int = 0
    ended: bool = False  #: by a filemark

    def add(self, block: TapeBlock) -> None:
        """Count a block."""
        self.shortest = min(self.shortest, block.length) if self.blocks else block.length
        self.longest = max(self.longest, block.length)
        self.blocks += 1
        self.bytes += block.length
        self.stored += block.stored
        self.bad += block.bad
        self.packed += block.packed


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


@contextlib.contextmanager
def labelled(path: Path) -> Iterator[AuxiliaryMemory]:
    """What an image's label says, to be changed; kept when the context is left.

    Raises:
        ConfigurationError: it is no tape image, or damaged.
        DeviceError: it cannot be read, or its label not be written.
        DeviceBusyError: somebody has it attached.
    """
    with opened(path):
        pass
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise DeviceError(f"{path}: {error.strerror}") from error
    try:
        locking.lock(fd, str(path), read_only=False)
        memory = AuxiliaryMemory.of(path, read_only=False)
        yield memory
        memory.keep()
    except OSError as error:
        raise DeviceError(f"{path}: its label is not written: {error.strerror}") from error
    finally:
        os.close(fd)


def objects(image: TapeImage, first: int = 0) -> Iterator[TapeBlock | None]:
    """All objects from one on; None is a filemark.

    Raises:
        DeviceError: it cannot be read.
    """
    while batch := image.listed(first, _BATCH):
        yield from batch
        first += len(batch)


def pieces(fd: int, image: TapeImage, block: TapeBlock) -> Iterator[bytes]:
    """The data of a block.

    Raises:
        DeviceError: it cannot be read, or is damaged.
    """
    if block.packed:
        data = image.unpack(block)
        if data is None:
            raise DeviceError(f"the compressed block at byte {block.offset} is damaged")
        yield data
        return
    done = 0
    while done < block.length:
        try:
            piece = os.pread(fd, min(block.length - done, _PIECE), block.offset + done)
        except OSError as error:
            raise DeviceError(f"byte {block.offset + done}: {error.strerror}") from error
        if not piece:
            msg = "the image has become shorter"
            raise DeviceError(msg)
        yield piece
        done += len(piece)


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
