"""Medium: a disk's blocks, or a tape, as the engine has them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from . import _engine
from .errors import ConfigurationError, DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Operation codes that the medium executor implements.
MEDIUM_OPCODES: frozenset[int] = frozenset(_engine.Medium.commands())

#: Bytes of the longest block that a tape takes.
MAX_TAPE_BLOCK: int = _engine.MAX_TAPE_BLOCK

#: What stands for a tape without an end.
UNLIMITED = (1 << 64) - 1


class Medium:
    """A disk's blocks in the engine. Sizes are bytes."""

    def __init__(self, handle: _engine.Medium) -> None:
        self.handle = handle

    @classmethod
    def file(
        cls,
        fd: int,
        *,
        size: int,
        block_size: int,
        read_only: bool,
        direct: bool,
        sync_writes: bool,
        scratch_fd: int | None = None,
    ) -> Self:
        """Make a medium of a file's or block device's blocks; see `_engine.Medium.file`.

        Raises:
            ConfigurationError: O_DIRECT needs larger blocks than the unit has.
            DeviceError: the file cannot be used.
        """
        with _translated():
            return cls(
                _engine.Medium.file(
                    fd,
                    size=size,
                    block_size=block_size,
                    read_only=read_only,
                    direct=direct,
                    sync_writes=sync_writes,
                    scratch_fd=scratch_fd,
                )
            )

    @classmethod
    def disc(cls, fd: int, *, size: int) -> Self:
        """Make a medium of a disc image's or block device's sectors; see `_engine.Medium.disc`.

        Raises:
            ConfigurationError: the size is no multiple of a sector's.
            DeviceError: the file cannot be used.
        """
        with _translated():
            return cls(_engine.Medium.disc(fd, size))

    @classmethod
    def ram(cls, *, size: int, block_size: int, read_only: bool, latency_us: int = 0) -> Self:
        """Make a medium in memory of our own, zero at first.

        Raises:
            ConfigurationError: there is not that much memory.
        """
        with _translated():
            return cls(
                _engine.Medium.ram(
                    size=size, block_size=block_size, read_only=read_only, latency_us=latency_us
                )
            )

    @classmethod
    def null(cls, *, size: int, block_size: int, read_only: bool, latency_us: int = 0) -> Self:
        """Make a medium that reads as zeros and forgets writes."""
        with _translated():
            return cls(
                _engine.Medium.null(
                    size=size, block_size=block_size, read_only=read_only, latency_us=latency_us
                )
            )

    def close(self) -> None:
        """Let go of it: its file is closed and unlocked when nobody in the engine has it either.

        It must not be used any more.
        """
        del self.handle

    @property
    def write_policy(self) -> str:
        """How writes reach the host: `nowait`, `inline`, `io_uring`, `pool` or `memory`."""
        return self.handle.write_policy

    def grow(self, size: int) -> None:
        """Have `size` bytes from now on, as the file behind it has; commands in flight go on.

        Raises:
            ValueError: not larger than before, not of whole blocks, or RAM or null.
        """
        self.handle.grow(size)

    def set_sync_writes(self, on: bool) -> None:
        """Turn the write cache off (`on`: each write is stable when answered) or on again.

        What was written before stays as it is: with the gates shut for writes, flush after.
        """
        self.handle.set_sync_writes(on)

    def set_descriptor_sense(self, on: bool) -> None:
        """Give the executor's sense data in descriptor format, or in fixed format again."""
        self.handle.set_descriptor_sense(on)

    def read(self, offset: int, length: int) -> bytes:
        """Read whole blocks, on a thread that may wait; see `_engine.Medium.read`.

        Raises:
            ValueError: the range is not within the medium, or not of whole blocks.
            OSError: the host refused, with its errno.
        """
        return self.handle.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Write whole blocks, on a thread that may wait; see `_engine.Medium.write`.

        Raises:
            ValueError: as `read`.
            OSError: as `read`; EROFS where the medium is read-only.
        """
        self.handle.write(offset, data)

    def copy_to(self, target: Medium, source_offset: int, target_offset: int, length: int) -> int:
        """Copy whole blocks, on a thread that may wait; all of them, overlapping or not.

        Pieces of at most 16 MiB: it cannot be ended early. See `_engine.Medium.copy_to`.

        Raises:
            ValueError: a range is not within its medium, or not of whole blocks.
            OSError: as `write`; some of the range may have been copied.
        """
        return self.handle.copy_to(target.handle, source_offset, target_offset, length)


@dataclass(frozen=True, slots=True)
class TapeLoaded:
    """What became of a tape image when it was opened."""

    torn_at: int  #: where a torn tail began
    torn: int  #: its bytes, 0: there was none
    scanned: bool  #: the index was made anew


@dataclass(frozen=True, slots=True)
class TapeStanding:
    """How a tape stands; objects are blocks and filemarks alike."""

    object: int
    offset: int  #: bytes of the image before it
    file: int  #: filemarks before it
    end_object: int
    end_offset: int
    marks: int
    blocks_written: int
    bytes_written: int
    stored_written: int  #: bytes of them in the image: fewer, where they were compressed
    blocks_read: int
    bytes_read: int
    stored_read: int
    marks_written: int
    read_errors: int
    write_errors: int
    refused: int  #: commands that would have written a protected tape


class TapeMedium(Medium):
    """A tape drive in the engine, and the tape in it."""

    @classmethod
    def drive(cls) -> Self:
        """Make a drive that is empty."""
        return cls(_engine.Medium.tape_drive())

    def insert(
        self,
        fd: int,
        *,
        sidecar_fd: int | None,
        read_only: bool,
        capacity: int = UNLIMITED,
        warning: int = UNLIMITED,
        scratch_fd: int | None = None,
    ) -> None:
        """Put an image into the drive, at its beginning; see `_engine.Medium.tape_insert`.

        On a thread that may wait. What is set holds for the tape that is in the drive: see `set`.

        Raises:
            ConfigurationError: it is no tape image, or damaged.
            DeviceError: it cannot be read.
        """
        with _translated():
            self.handle.tape_insert(
                fd,
                sidecar_fd=sidecar_fd,
                read_only=read_only,
                capacity=capacity,
                warning=warning,
                scratch_fd=scratch_fd,
            )

    def remove(self) -> None:
        """Make all stable, keep the index, and let go of the tape; on a thread that may wait.

        Raises:
            OSError: the host refused, with its errno; the tape stays.
        """
        self.handle.tape_remove()

    @property
    def loaded(self) -> TapeLoaded:
        """What became of the image when it was opened."""
        return TapeLoaded(*self.handle.tape_loaded())

    def standing(self) -> TapeStanding:
        """How it stands, on a thread that may wait for the command in progress."""
        return TapeStanding(*self.handle.tape_standing())

    def set(self, *, block_length: int, unbuffered: bool, compress: bool) -> None:
        """Set the length of fixed blocks (0: none), whether writes are stable when answered.

        And whether blocks are compressed. On a thread that may wait for the command in progress.
        """
        self.handle.tape_set(block_length, unbuffered, compress)

    def progress(self) -> int | None:
        """65536ths of a VERIFY that goes on behind its answer; None: none does."""
        return self.handle.tape_progress()

    def end_behind(self) -> None:
        """End such a VERIFY, on a thread that may wait; the tape stands where it was."""
        self.handle.tape_end_behind()

    def rest(self) -> None:
        """Make all stable, keep the index, stand at the beginning; on a thread that may wait.

        Raises:
            OSError: the host refused, with its errno.
        """
        self.handle.tape_rest()


@dataclass(frozen=True, slots=True)
class TapeBlock:
    """A block of an image."""

    offset: int  #: of its data
    length: int
    stored: int  #: its length in the image
    bad: bool  #: it was read with errors, when the image was made
    packed: bool  #: it is compressed


class TapeImage:
    """A tape image, looked at without a drive; nothing in it is changed."""

    def __init__(self, fd: int, sidecar_fd: int | None = None) -> None:
        """Find out what is on it.

        Raises:
            ConfigurationError: it is no tape image, or damaged.
            DeviceError: it cannot be read.
        """
        with _translated():
            self._handle = _engine.TapeImage.open(fd, sidecar_fd)
        state = self._handle.state()
        self.objects, self.bytes, self.marks, self.torn_at, self.torn = state

    def listed(self, first: int, limit: int) -> list[TapeBlock | None]:
        """What objects are; None is a filemark.

        Raises:
            DeviceError: it cannot be read.
        """
        with _translated():
            found = self._handle.objects(first, limit)
        return [None if one is None else TapeBlock(*one) for one in found]

    def unpack(self, block: TapeBlock) -> bytes | None:
        """The data of a compressed block; None: it is damaged.

        Raises:
            DeviceError: it cannot be read.
        """
        with _translated():
            return self._handle.unpack(block.offset, block.stored)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn the engine's errors about a medium into ours."""
    try:
        yield
    except ValueError as error:
        hint = "cache=writeback, or a larger block-size=" if "O_DIRECT" in str(error) else None
        raise ConfigurationError(str(error), hint=hint) from error
    except OSError as error:
        raise DeviceError(error.strerror or str(error)) from error
