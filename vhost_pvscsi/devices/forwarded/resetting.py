"""A logical unit reset by SG: it ends everybody's commands at the device, the host's own too."""

from __future__ import annotations

import fcntl
import logging
import struct

log = logging.getLogger(__name__)

#: Linux, include/scsi/sg.h. Without the second bit a reset that fails goes on to the target, the
#: bus and the adapter.
_SG_SCSI_RESET, _DEVICE, _NO_ESCALATION = 0x2284, 0x1, 0x100


def reset_lun(fd: int, name: str) -> None:
    """Reset the logical unit; waits until the adapter has done it. A refusal is logged."""
    try:
        fcntl.ioctl(fd, _SG_SCSI_RESET, struct.pack("=i", _DEVICE | _NO_ESCALATION))
    except OSError as error:
        # EACCES: it takes CAP_SYS_ADMIN and CAP_SYS_RAWIO. EBUSY: error recovery is at it.
        log.warning("%s: cannot be reset: %s", name, error.strerror)
