"""Locks on images and devices, byte for byte as QEMU takes them.

QEMU (block/file-posix.c, "raw_apply_lock_bytes") speaks through open file description locks
on single bytes of the image. Byte 100 + n is locked by whoever uses permission n, byte
200 + n by whoever does not let others use it. All are read locks, so they never collide as
such: each opener takes its own first, then asks whether anybody holds a byte against it.
"""

from __future__ import annotations

import errno
import fcntl
import struct

from vhost_pvscsi.errors import DeviceBusyError, DeviceError

#: Permissions by their number n (QEMU, include/block/block-common.h).
_CONSISTENT_READ, _WRITE = 0, 1

_USED_BASE = 100
_REFUSED_BASE = 200

#: struct flock on 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK = struct.Struct("=hhxxxxqqixxxx")
#: fcntl commands that Python 3.11 does not name on every platform (Linux, fcntl.h).
_F_OFD_GETLK = 36
_F_OFD_SETLK = 37

#: The kernel or the file system knows no such locks.
_NO_LOCKS = frozenset({errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


def lock(fd: int, name: str, *, read_only: bool) -> None:
    """Take the locks of a disk: readers share, a writer is alone with it.

    They last as long as the open file description, that is `fd` and its duplicates; where
    this raises, some may be held, and the caller closes `fd`.

    Raises:
        DeviceBusyError: another program, or another unit of ours, holds the file.
        DeviceError: the file system has no such locks.
    """
    used = {_CONSISTENT_READ} if read_only else {_CONSISTENT_READ, _WRITE}
    # What QEMU's scsi-hd takes: others may read if they trust what changes under them.
    refused = {_WRITE}
    try:
        for byte in [_USED_BASE + p for p in used] + [_REFUSED_BASE + p for p in refused]:
            _take(fd, byte)
        # Only after all are taken: of two that come at once at least one sees the other.
        against = [_REFUSED_BASE + p for p in used] + [_USED_BASE + p for p in refused]
        held = any(_is_held(fd, byte) for byte in against)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise DeviceError(
                f"{name}: cannot be locked: {error.strerror}",
                hint="lock=off, if no other program uses it",
            ) from error
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            # Somebody who is not QEMU holds a write lock there.
            raise _busy(name) from error
        raise DeviceError(f"{name}: cannot be locked: {error.strerror}") from error
    if held:
        raise _busy(name)


def _busy(name: str) -> DeviceBusyError:
    return DeviceBusyError(
        f"{name}: is in use by another program or another LUN",
        hint="end its other user; share=on gives several LUNs of ours one unit",
    )


def _take(fd: int, byte: int) -> None:
    fcntl.fcntl(fd, _F_OFD_SETLK, _FLOCK.pack(fcntl.F_RDLCK, 0, byte, 1, 0))


def _is_held(fd: int, byte: int) -> bool:
    asked = _FLOCK.pack(fcntl.F_WRLCK, 0, byte, 1, 0)
    answer = fcntl.fcntl(fd, _F_OFD_GETLK, asked)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
