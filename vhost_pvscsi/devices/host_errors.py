"""What a host's errno means to a guest, where Python meets it.

The engine's executor has the same table: `Outcome::host_error` in `engine/core/src/outcome.rs`.
"""

from __future__ import annotations

import errno

from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.request import Reply, Status
from vhost_pvscsi.scsi.sense import SenseCode, check_condition

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EPERM, errno.EACCES, errno.EROFS, errno.EBADF}
_NO_MEDIUM = {errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM}
_NO_MEMORY = {errno.ENOMEM, errno.EAGAIN}
#: As Linux' block layer has it (blk_errors in block/blk-core.c).
_BAD_BLOCKS = {errno.EIO, errno.ENODATA, errno.EILSEQ, errno.EREMOTEIO}
_TRANSPORT: dict[int | None, SenseCode] = {
    errno.ENOLINK: sense.COMMUNICATION_FAILURE,
    errno.ETIMEDOUT: sense.COMMUNICATION_TIMEOUT,
}


def host_error(error: OSError, *, writing: bool) -> Reply:
    """The answer to a command that the host could not carry out."""
    if error.errno in _NO_MEMORY:
        return Reply(status=Status.TASK_SET_FULL)
    if error.errno == errno.EBADE:
        return Reply(status=Status.RESERVATION_CONFLICT)
    return check_condition(_meaning(error.errno, writing=writing))


def _meaning(number: int | None, *, writing: bool) -> SenseCode:
    if number in _NO_SPACE:
        return sense.SPACE_ALLOCATION_FAILED
    if writing and number in _NOT_ALLOWED:
        return sense.WRITE_PROTECTED
    if number in _NO_MEDIUM:
        return sense.MEDIUM_NOT_PRESENT
    if number in _BAD_BLOCKS:
        return sense.WRITE_ERROR if writing else sense.UNRECOVERED_READ_ERROR
    return _TRANSPORT.get(number, sense.INTERNAL_TARGET_FAILURE)
