"""Commands of our own to a device of the host, by SG_IO: those about reservations.

They are few, and no guest's ring holds them; so they take no part in the engine's queues.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
from typing import TYPE_CHECKING, Protocol

from vhost_pvscsi.scsi.request import Reply, Service, Status
from vhost_pvscsi.scsi.sense import INTERNAL_TARGET_FAILURE, check_condition

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

#: Linux, include/scsi/sg.h.
_SG_IO = 0x2285
_TO_DEVICE, _FROM_DEVICE, _NONE = -2, -3, -1
_MAX_SENSE = 96


class Ask(Protocol):
    """Sends a device a command, and waits for its answer; on whatever thread it is called."""

    def __call__(self, cdb: bytes, data_out: bytes = b"", room: int = 0) -> Reply:
        """Return the answer, with up to `room` bytes of data."""


class _Header(ctypes.Structure):
    """struct sg_io_hdr (Linux, include/scsi/sg.h)."""

    _fields_ = (
        ("interface_id", ctypes.c_int),
        ("dxfer_direction", ctypes.c_int),
        ("cmd_len", ctypes.c_ubyte),
        ("mx_sb_len", ctypes.c_ubyte),
        ("iovec_count", ctypes.c_ushort),
        ("dxfer_len", ctypes.c_uint),
        ("dxferp", ctypes.c_void_p),
        ("cmdp", ctypes.c_void_p),
        ("sbp", ctypes.c_void_p),
        ("timeout", ctypes.c_uint),
        ("flags", ctypes.c_uint),
        ("pack_id", ctypes.c_int),
        ("usr_ptr", ctypes.c_void_p),
        ("status", ctypes.c_ubyte),
        ("masked_status", ctypes.c_ubyte),
        ("msg_status", ctypes.c_ubyte),
        ("sb_len_wr", ctypes.c_ubyte),
        ("host_status", ctypes.c_ushort),
        ("driver_status", ctypes.c_ushort),
        ("resid", ctypes.c_int),
        ("duration", ctypes.c_uint),
        ("info", ctypes.c_uint),
    )


def moved(length: int, residual: int) -> int:
    """Return how many bytes of a transfer have been moved, as SG tells.

    A residual that cannot be one is of a device that had more to give (engine/core/src/sg/ends.rs).
    """
    return length - residual if 0 <= residual <= length else length


class SgIo:
    """Asks by an SG node that is open."""

    def __init__(self, fd: int, path: Path, timeout: float) -> None:
        """`path` is for messages; a command may take `timeout` seconds."""
        self._fd = fd
        self._path = path
        self._timeout = timeout

    def __call__(self, cdb: bytes, data_out: bytes = b"", room: int = 0) -> Reply:
        """Send a command. What the host cannot do is logged, and a failure of the target."""
        command = ctypes.create_string_buffer(cdb, len(cdb))
        sense = ctypes.create_string_buffer(_MAX_SENSE)
        length = len(data_out) or room
        data = ctypes.create_string_buffer(data_out, max(length, 1))
        header = _Header(
            interface_id=ord("S"),
            dxfer_direction=_TO_DEVICE if data_out else _FROM_DEVICE if room else _NONE,
            cmd_len=len(cdb),
            mx_sb_len=_MAX_SENSE,
            dxfer_len=length,
            dxferp=ctypes.addressof(data) if length else None,
            cmdp=ctypes.addressof(command),
            sbp=ctypes.addressof(sense),
            timeout=round(self._timeout * 1000),
        )
        try:
            fcntl.ioctl(self._fd, _SG_IO, header)
        except OSError as error:
            return self._refused(cdb[0], error)
        if header.status == Status.GOOD and header.host_status:
            log.warning(
                "%s: command %02Xh: host status %#x", self._path, cdb[0], header.host_status
            )
            return Reply(service=Service.FAILURE)
        try:
            status = Status(header.status & 0x7E)
        except ValueError:
            return Reply(service=Service.FAILURE)
        told = data.raw[: moved(length, header.resid)] if room and not data_out else b""
        return Reply(status, sense=sense.raw[: header.sb_len_wr], data=told)

    def _refused(self, opcode: int, error: OSError) -> Reply:
        hint = ""
        if error.errno in {errno.EPERM, errno.EACCES}:
            hint = "; qemu-pr-helper may be allowed to: pr-helper=PATH"
        log.error("%s: command %02Xh: %s%s", self._path, opcode, error.strerror, hint)
        if error.errno in {errno.ENODEV, errno.ENXIO}:
            return Reply(service=Service.ABSENT_TARGET)
        return check_condition(INTERNAL_TARGET_FAILURE)
