"""Opens the image behind a tape, and the file beside it that keeps its index."""

from __future__ import annotations

import errno
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vhost_pvscsi.devices import locking
from vhost_pvscsi.devices.opening import open_scratch
from vhost_pvscsi.errors import ConfigurationError, DeviceError

if TYPE_CHECKING:
    import contextlib

    from vhost_pvscsi.devices.pdev import LunSpec

log = logging.getLogger(__name__)

#: What is put behind an image's name to have its sidecar's.
SIDECAR_SUFFIX = ".idx"


@dataclass(frozen=True, slots=True)
class TapeFiles:
    """An open image and its sidecar; closed by whoever has put them on its stack."""

    path: Path  #: canonical
    fd: int
    sidecar_fd: int | None
    scratch_fd: int | None  #: an empty temporary file beside the image


def sidecar_of(path: Path) -> Path:
    """The file that keeps an image's index."""
    return path.with_name(path.name + SIDECAR_SUFFIX)


def open_tape(spec: LunSpec, held: contextlib.ExitStack) -> TapeFiles:
    """Open and lock what a tape stands on; `held` closes it.

    Raises:
        ConfigurationError: what is there is no regular file.
        DeviceError: it cannot be opened.
        DeviceBusyError: another program, or another LUN of ours, holds it.
    """
    path, options = spec.path, spec.options
    assert path is not None  # pdev.py gives every TAPE one
    flags = os.O_CLOEXEC | (os.O_RDONLY if options.read_only else os.O_RDWR)
    made = options.create and not options.read_only and not path.exists()
    fd = _open(path, flags | (os.O_CREAT if made else 0))
    held.callback(os.close, fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise ConfigurationError(
            f"{spec.pdev}: is no regular file", hint="a tape image; /dev/nst0 names a drive"
        )
    if options.lock:
        locking.lock(fd, str(path), read_only=options.read_only)
    if made:
        _sync_folder(path.parent)
        log.info("%s: %s is made, empty", spec.address, spec.pdev)
    return TapeFiles(
        Path(os.path.realpath(path)),
        fd,
        _beside(sidecar_of(path), flags, held),
        None if options.read_only else _scratch(path.parent, held),
    )


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        hint = None
        if error.errno == errno.ENOENT:
            hint = f"make an empty tape with: vhost-pvscsi tape create {path}"
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS} and flags & os.O_RDWR:
            hint = "ro attaches it write-protected"
        raise DeviceError(f"{path}: {error.strerror}", hint=hint) from error


def _beside(path: Path, flags: int, held: contextlib.ExitStack) -> int | None:
    create = os.O_CREAT if flags & os.O_RDWR else 0
    try:
        fd = os.open(path, flags | create, 0o666)
    except OSError as error:
        if create:
            log.warning("%s: %s: the image is read from end to end each time", path, error.strerror)
        return None
    held.callback(os.close, fd)
    return fd


def _scratch(folder: Path, held: contextlib.ExitStack) -> int | None:
    fd = open_scratch(folder)
    if fd < 0:
        return None
    held.callback(os.close, fd)
    return fd


def _sync_folder(folder: Path) -> None:
    # The file's name is to outlive a power failure as what is in it does.
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
