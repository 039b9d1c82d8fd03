"""What runs in the guest that plays a host: our front-end, and SG without us beside it.

`python -m tests.harness.inside PORT` carries out calls of its functions that come by a port; see
remote.py for the other end.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import pickle
import struct
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .frontend import PLAIN, FrontEnd, Layout, Pending, Response
from .pvscsi_frontend import PvscsiFrontEnd

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH = struct.Struct("<I")
#: Under emulation, beside others.
_DEADLINE = 90.0

_SG_IO = 0x2285
#: struct sg_io_hdr (Linux, include/scsi/sg.h).
_HEADER = struct.Struct("@iiBBHIPPPIIiPBBBBHHiII")
_TO_DEVICE, _FROM_DEVICE, _NONE = -2, -3, -1


@dataclass(frozen=True, slots=True)
class Direct:
    """What a device of the host answered when it was asked without us."""

    status: int
    host_status: int
    driver_status: int
    sense: bytes
    resid: int
    data: bytes = field(repr=False)


def direct(
    node: str, cdb: bytes, *, data_out: bytes = b"", data_in: int = 0, timeout: float = 60.0
) -> Direct:
    """Ask a device by SG_IO."""
    command = ctypes.create_string_buffer(cdb, len(cdb))
    sense = ctypes.create_string_buffer(96)
    data = ctypes.create_string_buffer(data_out, len(data_out)) if data_out else None
    data = data or ctypes.create_string_buffer(max(data_in, 1))
    length = len(data_out) or data_in
    direction = _TO_DEVICE if data_out else _FROM_DEVICE if data_in else _NONE
    header = _HEADER.pack(
        ord("S"),
        direction,
        len(cdb),
        96,
        0,
        length,
        ctypes.addressof(data) if length else 0,
        ctypes.addressof(command),
        ctypes.addressof(sense),
        int(timeout * 1000),
        0,
        0,
        *(0,) * 10,
    )
    fd = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    try:
        told = bytearray(header)
        fcntl.ioctl(fd, _SG_IO, told)
    finally:
        os.close(fd)
    *_, status, _, _, sensed, host_status, driver_status, resid, _, _ = _HEADER.unpack(bytes(told))
    moved = data.raw[: data_in - resid] if data_in else b""
    return Direct(status, host_status, driver_status, sense.raw[:sensed], resid, moved)


_front_end: list[FrontEnd] = []
_others: dict[int, FrontEnd] = {}
_pending: dict[int, Pending] = {}


def connect(socket: str) -> None:
    """Connect the front-end, or connect it anew."""
    while _front_end:
        _front_end.pop().close()
    _pending.clear()
    _front_end.append(FrontEnd(Path(socket), deadline=_DEADLINE).start())


def connect_another(guest: int, socket: str) -> None:
    """Connect the front-end of another guest, or connect it anew."""
    if guest in _others:
        _others.pop(guest).close()
    _others[guest] = FrontEnd(Path(socket), deadline=_DEADLINE).start()


def scsi_of(
    guest: int, target: int, cdb: bytes, *, data_out: bytes = b"", data_in: int = 0
) -> Response:
    """Send one command of another guest."""
    return _others[guest].scsi(target, 0, cdb, data_out=data_out, data_in=data_in)


def attach_sent(control: str, node: str, vdev: str) -> None:
    """Open a device, and have the back-end attach what it is sent: the node itself is away."""
    # Few need them, and they take seconds here.
    from vhost_pvscsi.cli import passing  # noqa: PLC0415
    from vhost_pvscsi.cli.client import Client  # noqa: PLC0415

    opened = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    away = f"{node}.away"
    Path(node).rename(away)

    async def attach() -> None:
        async with Client(Path(control)) as client:
            await passing.attach(client, {"pdev": f"fd:{opened}", "vdev": vdev})

    try:
        asyncio.run(attach())
    finally:
        Path(away).rename(node)
        os.close(opened)


def resume(socket: str) -> None:
    """Connect to the next back-end after one has died; what lies in the rings is its now."""
    _front_end[0].resume(Path(socket))


def leave() -> None:
    """Close the connection without a word."""
    _front_end[0].leave()


def scsi(
    target: int, lun: int, cdb: bytes, *, data_out: bytes = b"", data_in: int = 0, piece: int = 0
) -> Response:
    """Send one command through the back-end; `piece` is the most that one descriptor holds."""
    layout = Layout(indirect=True, piece=piece) if piece else PLAIN
    return _front_end[0].scsi(target, lun, cdb, data_out=data_out, data_in=data_in, layout=layout)


def submit(
    target: int, lun: int, cdb: bytes, *, data_out: bytes = b"", data_in: int = 0, tag: int
) -> None:
    """Send a command; `wait` for the tag later."""
    _pending[tag] = _front_end[0].submit(
        target, lun, cdb, data_out=data_out, data_in=data_in, tag=tag
    )


def is_done(tag: int) -> bool:
    """Whether a command has ended."""
    return _front_end[0].is_done(_pending[tag])


def wait(tag: int) -> Response:
    """Wait for the end of a command."""
    return _front_end[0].wait(_pending.pop(tag))


def scsi_by_pvscsi(
    socket: str, target: int, commands: list[tuple[bytes, bytes, int]]
) -> list[tuple[int, bytes, int, bytes]]:
    """Send commands (CDB, data-out, room for data-in) by a pvSCSI ring, in order.

    Result, sense, residual and data of each. The other front-end has left before.
    """
    with PvscsiFrontEnd(Path(socket), deadline=_DEADLINE) as guest:
        guest.ready(target)
        answers = [
            guest.scsi(target, 0, cdb, data_out=data_out, data_in=data_in)
            for cdb, data_out, data_in in commands
        ]
        return [(one.result, one.sense, one.resid, one.data) for one in answers]


def tmf(function: int, target: int, lun: int, tag: int = 0) -> int:
    """Send a task management function; its response."""
    return _front_end[0].tmf(function, target, lun, tag)


def _serve(port: BinaryIO) -> None:
    while head := port.read(LENGTH.size):
        name, arguments, keywords = pickle.loads(port.read(LENGTH.unpack(head)[0]))
        function: Callable[..., object] = globals()[name]
        try:
            answer: tuple[bool, object] = (True, function(*arguments, **keywords))
        except Exception:
            answer = (False, traceback.format_exc())
        data = pickle.dumps(answer)
        port.write(LENGTH.pack(len(data)) + data)
        port.flush()


if __name__ == "__main__":
    # As its callers know it: what is pickled here must be found there.
    sys.modules[__spec__.name] = sys.modules["__main__"]
    for _made_here in (Direct,):
        _made_here.__module__ = __spec__.name
    with Path(sys.argv[1]).open("r+b", buffering=0) as raw:
        import io

        _serve(io.BufferedRWPair(raw, raw))  # type: ignore[arg-type]
