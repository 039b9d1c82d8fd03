"""Opens a SCSI device of the host by the node that takes commands, and finds out what it carries.

Nothing here sends the device a command: all of it is known to the kernel.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vhost_pvscsi.discovery.device import MULTIPATH_UUID
from vhost_pvscsi.errors import ConfigurationError, DeviceBusyError, DeviceError
from vhost_pvscsi.scsi.pages import DeviceType

from .blocks import MAX_OF_MANY, block_folders, block_size_of, max_of_queue, read_text
from .limits import HAVE_BLOCKS

if TYPE_CHECKING:
    from types import TracebackType

    from vhost_pvscsi.discovery.device import HostDevice

log = logging.getLogger(__name__)

#: Linux, include/uapi/linux/major.h.
_SCSI_GENERIC_MAJOR = 21

#: Linux, include/scsi/sg.h and include/uapi/linux/fs.h; of SG the last one gives bytes.
_SG_GET_SCSI_ID, _SG_GET_SG_TABLESIZE, _BLKSECTGET = 0x2276, 0x227F, 0x1267
#: struct sg_scsi_id: host, channel, id, LUN, type, two queue depths, and what is unused.
_SCSI_ID = struct.Struct("=5i2h2i")
#: SG gathers its own buffer in pieces of that size.
_SG_PIECE = 32 << 10

#: Outstanding commands: of a host that does not tell, and at most.
_USUAL_DEPTH, _MAX_DEPTH = 32, 256

#: Types whose commands a device takes one at a time.
_ONE_AT_A_TIME = frozenset({DeviceType.TAPE, DeviceType.CHANGER})


@dataclass(slots=True)
class OpenDevice:
    """A device that is open; a context manager that closes it."""

    path: Path
    fd: int
    claim: int  #: keeps others from its block node, -1: nothing does
    device_type: DeviceType
    depth: int  #: commands that the host takes at a time
    max_transfer: int  #: bytes of one command
    block_size: int  #: bytes; 0: it has no blocks, or they are not known
    #: It takes commands by SG_IO only: somebody else has opened it, or it is no SG node.
    waits: bool = False
    by_blocks: bool = False  #: it is a block device itself, for READ and WRITE too

    @property
    def exclusive(self) -> bool:
        """Whether it takes one command at a time."""
        return self.device_type in _ONE_AT_A_TIME

    def close(self) -> None:
        """Close it."""
        for fd in (self.fd, self.claim):
            if fd >= 0:
                os.close(fd)
        self.fd = self.claim = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def node_of(device: HostDevice) -> Path:
    """Return the node by which a device takes commands.

    Raises:
        DeviceError: it has none.
    """
    if not device.commands_by:
        raise DeviceError(
            f"{device.name}: the device has no SG node", hint="modprobe sg on the host makes them"
        )
    return Path(device.commands_by)


def open_sg(path: Path, *, lock: bool = True, passed: int | None = None) -> OpenDevice:
    """Open a device by its SG node; `passed` is a descriptor of it that somebody else has opened.

    With `lock` nobody else has it, as far as the kernel can tell: of a tape or changer no other
    user of SG, unless who has opened it wanted otherwise; of a disk or CD nobody who has it mounted
    or is asked the same.

    Raises:
        ConfigurationError: it is no SG node, or of a type that is not known here.
        DeviceError: it cannot be opened.
        DeviceBusyError: somebody else has it.
    """
    _check_node(path if passed is None else Path(f"/proc/self/fd/{passed}"))
    with contextlib.ExitStack() as undo:
        fd = _open(path, 0) if passed is None else _taken_over(passed)
        undo.callback(lambda: os.close(fd))
        host, number = _who(path, fd)
        try:
            device_type = DeviceType(number)
        except ValueError:
            raise ConfigurationError(
                f"{path}: devices of type {number:#04x} cannot be forwarded",
                hint="disks, tapes, changers, CDs, enclosures can",
            ) from None
        claim = -1
        if lock and device_type in _ONE_AT_A_TIME and passed is None:
            # SG keeps others out as long as this is open; for what has one descriptor only.
            os.close(fd)
            undo.pop_all()
            fd = _open(path, os.O_EXCL)
            undo.callback(lambda: os.close(fd))
        elif lock and device_type not in _ONE_AT_A_TIME:
            claim = _claim(path)
        most = _max_transfer(fd)
        opened = OpenDevice(
            path,
            fd,
            claim,
            device_type,
            _depth(host),
            most if device_type in _ONE_AT_A_TIME else min(most, MAX_OF_MANY),
            block_size_of(path) if device_type in HAVE_BLOCKS else 0,
            waits=passed is not None,
        )
        undo.pop_all()
    log.info(
        "%s: a %s, %d bytes in a command, %d commands at a time",
        path,
        device_type.name.lower().replace("_", " "),
        opened.max_transfer,
        1 if opened.exclusive else opened.depth,
    )
    return opened


def open_multipath(path: Path, *, lock: bool = True) -> OpenDevice:
    """Open a disk that several paths lead to, by its block device of device-mapper.

    Commands go by SG_IO, which device-mapper hands to a path that works. With `lock` nobody has it
    mounted or is asked the same.

    Raises:
        DeviceError: it cannot be opened, or is none.
        DeviceBusyError: somebody else has it.
    """
    folder = next(iter(block_folders(path)), None)
    if folder is None or not read_text(folder / "dm" / "uuid").startswith(MULTIPATH_UUID):
        raise DeviceError(f"{path}: is no multipath device", hint="or not any more: multipath -ll")
    with contextlib.ExitStack() as undo:
        fd = _open(path, 0)
        undo.callback(lambda: os.close(fd))
        claim = _claim(path) if lock else -1
        undo.pop_all()
    opened = OpenDevice(
        path,
        fd,
        claim,
        DeviceType.DISK,
        _USUAL_DEPTH,
        max_of_queue(folder / "queue"),
        block_size_of(path),
        waits=True,
        by_blocks=True,
    )
    log.info("%s: a disk by several paths, %d bytes in a command", path, opened.max_transfer)
    return opened


def _check_node(path: Path) -> None:
    try:
        found = path.stat()
    except OSError as error:
        raise DeviceError(
            f"{path}: {error.strerror}", hint="vhost-pvscsi devices lists what there is"
        ) from error
    if not stat.S_ISCHR(found.st_mode) or os.major(found.st_rdev) != _SCSI_GENERIC_MAJOR:
        raise ConfigurationError(
            f"{path}: is no SG node", hint="/dev/sgN; vhost-pvscsi devices lists them"
        )


def _open(path: Path, flags: int) -> int:
    try:
        # Not to wait: for the end of error recovery, or for whoever has it exclusively.
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise _busy(path) from error
        hint = None
        if error.errno in {errno.EACCES, errno.EPERM}:
            hint = "its node must be opened to read and write, also for a LUN that only reads"
        elif error.errno in {errno.ENODEV, errno.ENXIO}:
            hint = "the device is gone, or Linux has set it offline"
        raise DeviceError(f"{path}: {error.strerror}", hint=hint) from error


def _taken_over(passed: int) -> int:
    if fcntl.fcntl(passed, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDWR:
        raise DeviceError(
            f"fd:{passed}: is not open for reading and writing",
            hint=f"in a shell: {passed}<>/dev/sgN",
        )
    return os.dup(passed)


def _who(path: Path, fd: int) -> tuple[int, int]:
    """Ask SG for the number of the adapter, and of the device's type."""
    try:
        told = fcntl.ioctl(fd, _SG_GET_SCSI_ID, bytes(_SCSI_ID.size))
    except OSError as error:
        raise DeviceError(
            f"{path}: {error.strerror}", hint="the device is gone, or this is one that went"
        ) from error
    host, *_, number, _, _, _, _ = _SCSI_ID.unpack(told)
    return host, number


def _busy(path: Path) -> DeviceBusyError:
    return DeviceBusyError(
        f"{path}: is mounted or in use by another program",
        hint="end its other user, or say lock=off if you know that they go together",
    )


def _claim(path: Path) -> int:
    """Keep others from mounting a disk or CD, if it has a block node."""
    for folder in block_folders(path):
        node = Path("/dev") / folder.name
        try:
            # Reading its descriptor sends nothing.
            return os.open(node, os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise _busy(path) from error
            log.warning("%s: cannot keep others from %s: %s", path, node, error.strerror)
    return -1


def _depth(host: int) -> int:
    text = read_text(Path(f"/sys/class/scsi_host/host{host}/can_queue"))
    depth = int(text) if text.isdecimal() else _USUAL_DEPTH
    return max(1, min(depth, _MAX_DEPTH))


def _max_transfer(fd: int) -> int:
    def ask(request: int) -> int:
        return int(struct.unpack("=i", fcntl.ioctl(fd, request, bytes(4)))[0])

    return max(4096, min(ask(_BLKSECTGET), ask(_SG_GET_SG_TABLESIZE) * _SG_PIECE))
