"""Opens the file or block device behind a LUN, locked, with what the engine has to know of it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from vhost_pvscsi.errors import ConfigurationError, DeviceBusyError, DeviceError

from . import locking
from .lun_options import Cache
from .pdev import Kind, LunSpec, check_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

Result = TypeVar("Result")

#: Linux, include/uapi/linux/fs.h.
_BLKGETSIZE64 = 0x80081272
_BLKPBSZGET = 0x127B
#: Linux, include/uapi/linux/falloc.h.
_FALLOC_KEEP_SIZE, _FALLOC_PUNCH_HOLE = 0x01, 0x02

_SYSFS = Path("/sys/dev/block")
#: Where a block device says who it is, the surest first.
_DEVICE_IDS = ("wwid", "device/wwid", "dm/uuid", "md/uuid", "serial", "device/serial")


@dataclass(slots=True)
class Backing:
    """An open image or block device; it owns its descriptors.

    `_engine.Medium.file()` duplicates what it needs, locks last as long as the duplicates.
    """

    path: Path  #: canonical
    fd: int
    scratch_fd: int  #: an empty temporary file beside an image, -1 where there can be none
    size: int  #: when it was opened
    read_only: bool
    direct: bool
    sync_writes: bool
    block_device: bool
    unmap: bool  #: holes can be punched; they read as zeros
    physical_block_size: int
    identity_source: str  #: see `derive_identity`

    def close(self) -> None:
        """Give the descriptors back."""
        for fd in (self.fd, self.scratch_fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self.scratch_fd = -1

    def measure(self) -> int:
        """Find out how many bytes there are now.

        A thread may ask, without a descriptor of its own, which would keep a detached file locked.
        What it was told counts only if `fd` is still open after: else it was another file's.

        Raises:
            OSError: the host refused.
        """
        return size_of(self.fd, is_device=self.block_device)

    async def on_thread(self, work: Callable[[int], Result]) -> Result:
        """Give a descriptor to work that may wait, on a thread.

        A thread cannot be stopped: where the caller is cancelled the work goes on, and the unit
        may be detached meanwhile. So it has a descriptor of its own: the number of the unit's may
        be another file's by then.

        Raises:
            OSError: there is no descriptor to be had; and whatever `work` raises.
        """
        own = os.dup(self.fd)

        def run() -> Result:
            try:
                return work(own)
            finally:
                os.close(own)

        # A call that has not begun could still be cancelled, and `own` would never be closed.
        return await asyncio.shield(asyncio.to_thread(run))

    async def flush(self) -> None:
        """Make all that was written stable. Raises OSError."""
        await self.on_thread(os.fdatasync)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_backing(spec: LunSpec) -> Backing:
    """Open, lock and measure what a `Kind.PATH` LUN stands on.

    Raises:
        ConfigurationError: what is there cannot be a disk, or its size does not fit the options.
        DeviceError: it cannot be opened.
        DeviceBusyError: another program, or another LUN of ours, holds it.
    """
    if spec.path is None or spec.kind is not Kind.PATH:
        msg = f"{spec.pdev} is no file"
        raise ValueError(msg)
    path = spec.path
    is_device = _is_block_device(path)
    with contextlib.ExitStack() as undo:
        fd = _open(path, spec, exclusive=is_device)
        undo.callback(os.close, fd)
        if spec.options.lock:
            locking.lock(fd, str(path), read_only=spec.options.read_only)
        size = size_of(fd, is_device=is_device)
        check_size(spec.pdev, size, spec.options.block_size)
        canonical = Path(os.path.realpath(path))
        backing = Backing(
            path=canonical,
            fd=fd,
            scratch_fd=-1,
            size=size,
            read_only=spec.options.read_only,
            direct=spec.options.cache.direct,
            sync_writes=spec.options.cache.sync_writes,
            block_device=is_device,
            unmap=not spec.options.read_only and _can_unmap(fd, size, is_device),
            physical_block_size=_physical_block_size(fd, is_device),
            identity_source=_identity_source(canonical, fd, is_device),
        )
        if not is_device and not spec.options.read_only:
            backing.scratch_fd = open_scratch(canonical.parent, direct=backing.direct)
        undo.pop_all()
    return backing


def _is_block_device(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        hint = None
        if error.errno == errno.ENOENT:
            hint = f"make an empty image with: truncate -s 1G {path}"
        raise DeviceError(f"{path}: {error.strerror}", hint=hint) from error
    if stat.S_ISBLK(mode):
        return True
    if stat.S_ISREG(mode):
        return False
    what = next(
        name
        for test, name in (
            (stat.S_ISDIR, "a directory"),
            (stat.S_ISCHR, "a character device"),
            (stat.S_ISFIFO, "a pipe"),
            (stat.S_ISSOCK, "a socket"),
            (lambda _: True, "something else"),
        )
        if test(mode)
    )
    raise ConfigurationError(
        f"{path}: is {what}, not a disk", hint="an image file or a block device"
    )


def _open(path: Path, spec: LunSpec, *, exclusive: bool) -> int:
    options = spec.options
    flags = os.O_CLOEXEC | (os.O_RDONLY if options.read_only else os.O_RDWR)
    if options.cache.direct:
        flags |= os.O_DIRECT
    # For a block device O_EXCL means: not mounted, not part of an array, not opened by another
    # who asked the same (open(2)). Readers may share.
    if exclusive and options.lock and not options.read_only:
        flags |= os.O_EXCL
    try:
        return os.open(path, flags)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise DeviceBusyError(
                f"{path}: is mounted or in use by another program",
                hint="unmount it or end its other user",
            ) from error
        raise DeviceError(f"{path}: {error.strerror}", hint=_opening_hint(error, spec)) from error


def _opening_hint(error: OSError, spec: LunSpec) -> str | None:
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS} and not spec.options.read_only:
        return "ro attaches it read-only"
    if error.errno == errno.EINVAL and spec.options.cache.direct:
        buffered = Cache.WRITETHROUGH if spec.options.cache.sync_writes else Cache.WRITEBACK
        return (
            f"its file system may have no O_DIRECT, which cache={spec.options.cache.value} needs: "
            f"cache={buffered.value}"
        )
    return None


def size_of(fd: int, *, is_device: bool) -> int:
    """Find out how many bytes a file or block device has. Raises OSError."""
    if is_device:
        answer = fcntl.ioctl(fd, _BLKGETSIZE64, bytes(8))
        return int(struct.unpack("=Q", answer)[0])
    return os.fstat(fd).st_size


def _physical_block_size(fd: int, is_device: bool) -> int:
    if is_device:
        answer = fcntl.ioctl(fd, _BLKPBSZGET, bytes(4))
        return int(struct.unpack("=I", answer)[0])
    # A smaller write makes the page cache read first. st_blksize is something else on network
    # file systems: what is quickest, up to megabytes.
    return mmap.PAGESIZE


def _can_unmap(fd: int, size: int, is_device: bool) -> bool:
    if is_device:
        # A hole is punched in a block device by its own way of writing zeros.
        return _read_sysfs(fd, "queue/write_zeroes_max_bytes") not in {None, "0"}
    # Past the end there is nothing that this could take away (fallocate(2)).
    mode = _FALLOC_PUNCH_HOLE | _FALLOC_KEEP_SIZE
    offset = -(-size // 4096) * 4096
    return _fallocate(fd, mode, offset, 4096) == 0


def _fallocate(fd: int, mode: int, offset: int, length: int) -> int:
    # Python has posix_fallocate() only, which punches no holes.
    call = ctypes.CDLL(None, use_errno=True).fallocate64
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return int(call(fd, mode, offset, length))


def open_scratch(folder: Path, *, direct: bool = False) -> int:
    """Open an empty temporary file, on which the engine tries how to write; -1: there is none."""
    # EOPNOTSUPP on file systems without O_TMPFILE, EACCES or EROFS where only the image may be
    # written: the engine has a safe default without.
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC | (os.O_DIRECT if direct else 0)
    with contextlib.suppress(OSError):
        return os.open(folder, flags, 0o600)
    return -1


def _read_sysfs(fd: int, name: str) -> str | None:
    device = os.fstat(fd).st_rdev
    folder = _SYSFS / f"{os.major(device)}:{os.minor(device)}"
    # A partition's own folder lacks what its disk has one level up.
    for place in (folder / name, folder.resolve().parent / name):
        with contextlib.suppress(OSError):
            text = place.read_text(errors="replace").strip()
            if text:
                return text
    return None


def _identity_source(canonical: Path, fd: int, is_device: bool) -> str:
    if is_device:
        partition = _read_sysfs(fd, "partition")
        for name in _DEVICE_IDS:
            known = _read_sysfs(fd, name)
            if known:
                return f"device:{known}" + (f":{partition}" if partition else "")
    return f"file:{canonical}"
