"""A disc: an image or block device of the host that is open and locked."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.devices import locking
from vhost_pvscsi.devices.opening import size_of
from vhost_pvscsi.errors import ConfigurationError, DeviceError
from vhost_pvscsi.medium import Medium
from vhost_pvscsi.scsi import discs

if TYPE_CHECKING:
    from pathlib import Path

#: What a sector of a raw image begins with (ECMA-130 14.1), and how long such a sector is.
_SYNC, _RAW_SECTOR = b"\0" + b"\xff" * 10 + b"\0", 2352


@dataclass(frozen=True, slots=True, eq=False)
class Disc:
    """One of them; whoever opened it closes it."""

    path: Path  #: as it was asked for
    medium: Medium
    blocks: int  #: of `discs.SECTOR` bytes

    @property
    def profile(self) -> discs.Profile:
        """What a drive is by it."""
        return discs.profile(self.blocks)

    def close(self) -> None:
        """Let go of it: commands that still read it go on, and the file is unlocked after them."""
        self.medium.close()


def open_disc(path: Path, *, lock: bool = True) -> Disc:
    """Open a disc for reading; other readers may have it open too.

    Raises:
        ConfigurationError: what is there can be no disc.
        DeviceError: it cannot be opened.
        DeviceBusyError: another program may write to it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DeviceError(f"{path}: {error.strerror}", hint=_hint(error)) from error
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise ConfigurationError(
                f"{path}: is no disc", hint="a disc image, or a block device: disc.iso, /dev/sr0"
            )
        if lock:
            locking.lock(fd, str(path), read_only=True)
        size = size_of(fd, is_device=stat.S_ISBLK(mode))
        _check_size(path, size, os.pread(fd, len(_SYNC), 0))
        # It has a descriptor of its own, with the same locks.
        return Disc(path, Medium.disc(fd, size=size), size // discs.SECTOR)
    finally:
        os.close(fd)


def _hint(error: OSError) -> str | None:
    if error.errno == errno.ENOENT:
        return "cd: with nothing behind it is an empty drive"
    if error.errno == errno.ENOMEDIUM:
        return "put a disc into the host's drive first"
    return None


def _check_size(path: Path, size: int, head: bytes) -> None:
    if size == 0:
        raise ConfigurationError(
            f"{path}: is empty", hint="a disc image; cd: with nothing behind it is an empty drive"
        )
    if size % _RAW_SECTOR == 0 and head == _SYNC:
        raise ConfigurationError(
            f"{path}: is an image of raw sectors, {_RAW_SECTOR} bytes each",
            hint="make an image of the data alone: bchunk makes one of a .bin and its .cue",
        )
    if size % discs.SECTOR:
        raise ConfigurationError(
            f"{path}: its size {size} is not a multiple of a sector's {discs.SECTOR} bytes",
            hint="it may have been cut short when it was copied; if it is whole, this rounds it up:"
            f" truncate -s %{discs.SECTOR} {path}",
        )
