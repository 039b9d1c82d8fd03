"""The block device of a disk that is forwarded: its blocks go by it, and sysfs has its limits."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ConfigurationError, DeviceError
from vhost_pvscsi.scsi.pages import DeviceType

if TYPE_CHECKING:
    from .opening import OpenDevice

_GENERIC = Path("/sys/class/scsi_generic")
_BLOCKS = Path("/sys/class/block")

#: The kernel holds a copy of each command's data: what takes many commands gets no longer ones.
MAX_OF_MANY = 1 << 20

_PAGE = 4096
#: What the kernel counts sizes in.
_SECTOR = 512


@dataclass(frozen=True, slots=True)
class OpenBlocks:
    """The block device of a disk, open without the host's page cache."""

    path: Path
    fd: int
    size: int  #: bytes
    block_size: int  #: bytes


def open_blocks(device: OpenDevice, *, read_only: bool) -> OpenBlocks:
    """Open the block device of a disk, whose blocks go by it.

    Raises:
        ConfigurationError: it is no disk.
        DeviceError: it has none, or that cannot be opened.
    """
    if device.device_type is not DeviceType.DISK:
        name = device.device_type.name.lower().replace("_", " ")
        raise ConfigurationError(
            f"{device.path}: road=block is for disks, and this is a {name}", hint="road=sg"
        )
    folder = next(iter(block_folders(device.path)), None)
    if folder is None or not device.block_size:
        raise DeviceError(
            f"{device.path}: has no block device", hint="road=sg, or modprobe sd_mod on the host"
        )
    node = Path("/dev") / folder.name
    # What goes by SG passes the page cache by, so this must, too. Who else uses it `open_sg` knows.
    flags = os.O_DIRECT | os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR)
    try:
        fd = os.open(node, flags)
    except OSError as error:
        raise DeviceError(
            f"{node}: {error.strerror}", hint="road=sg needs only the SG node"
        ) from error
    try:
        size = _size(folder)
    except OSError as error:
        os.close(fd)
        raise DeviceError(f"{node}: {error.strerror}", hint="it has just gone") from error
    return OpenBlocks(node, fd, size, device.block_size)


def size_of_blocks(path: Path) -> int:
    """Find out how many bytes the disk of an SG node has, as the kernel takes it.

    Raises:
        OSError: it has no block device.
    """
    folder = next(iter(block_folders(path)), None)
    if folder is None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), str(path))
    return _size(folder)


def _size(folder: Path) -> int:
    return int((folder / "size").read_text()) * _SECTOR


def names_blocks(pdev: str) -> bool:
    """Whether a name is that of a block device's node, or leads to it."""
    try:
        return stat.S_ISBLK(Path(pdev).stat().st_mode)
    except (OSError, ValueError):
        return False


def block_size_of(path: Path) -> int:
    """Return the bytes of a block of a node's device; 0: it has none, or they are not known."""
    for folder in block_folders(path):
        text = read_text(folder / "queue" / "logical_block_size")
        if text.isdecimal():
            return int(text)
    return 0


def block_folders(path: Path) -> list[Path]:
    """Find what sysfs has on the block node of an SG node's device, if it has one, or on itself."""
    own = _BLOCKS / path.resolve().name
    if own.exists():
        return [own]
    return list((_GENERIC / path.resolve().name / "device" / "block").glob("*"))


def read_text(path: Path) -> str:
    """Read a file of sysfs, or nothing if that cannot be."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def max_of_queue(queue: Path) -> int:
    """Find out how long a command may be that goes to a block device by SG_IO."""

    def ask(name: str) -> int:
        text = read_text(queue / name)
        return int(text) if text.isdecimal() else 0

    # A guest's pages lie anywhere: each takes a segment.
    most = min(ask("max_sectors_kb") << 10, ask("max_segments") * _PAGE)
    return max(4096, min(most, MAX_OF_MANY))
