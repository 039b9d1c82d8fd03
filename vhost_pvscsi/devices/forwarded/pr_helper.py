"""Persistent reservations by qemu-pr-helper: another program's privileges, and multipath.

QEMU, docs/interop/pr-helper.rst. One connection, one command at a time; made when it is needed, and
made anew where the helper has gone.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.codes import Opcode
from vhost_pvscsi.scsi.request import Reply, Service, Status
from vhost_pvscsi.scsi.sense import INTERNAL_TARGET_FAILURE, check_condition

if TYPE_CHECKING:
    from pathlib import Path

    from .asking import Ask

log = logging.getLogger(__name__)

_FEATURES = struct.Struct(">I")
_CDB_LENGTH = 16
#: Status, bytes of data, sense data.
_ANSWER = struct.Struct(">ii96s")
#: Most data that it carries, in either direction.
MOST_DATA = 8192
#: The helper's own limit is the device's time-out, and several paths of it.
_PATIENCE = 30.0

_HELPED = frozenset({Opcode.PERSISTENT_RESERVE_IN, Opcode.PERSISTENT_RESERVE_OUT})


class PrHelper:
    """Asks by the helper at a socket; other commands than PERSISTENT RESERVE by `others`."""

    def __init__(self, path: Path, fd: int, others: Ask) -> None:
        """`fd` is the device, open; it is lent to the helper with each command."""
        self._path = path
        self._fd = fd
        self._others = others
        self._socket: socket.socket | None = None
        self._one = threading.Lock()  # it takes one command at a time

    def __call__(self, cdb: bytes, data_out: bytes = b"", room: int = 0) -> Reply:
        """Send a command. What keeps the helper from it is logged, and a failure of the target."""
        if cdb[0] not in _HELPED:
            return self._others(cdb, data_out, room)
        with self._one:
            try:
                return self._again(cdb, data_out, room)
            except OSError as error:
                self.close()
                log.error(  # noqa: TRY400
                    "pr-helper=%s: command %02Xh: %s; is qemu-pr-helper running there?",
                    self._path,
                    cdb[0],
                    error.strerror or error,
                )
                return check_condition(INTERNAL_TARGET_FAILURE)

    def _again(self, cdb: bytes, data_out: bytes, room: int) -> Reply:
        """Send it by a new connection, if the helper has ended since the last command."""
        if self._socket is not None:
            # Only where it had gone before: a command that it took may have been carried out.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                return self._exchange(self._socket, cdb, data_out, room)
            self.close()
        return self._exchange(self._connected(), cdb, data_out, room)

    def _connected(self) -> socket.socket:
        self._socket = made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(_PATIENCE)
        made.connect(str(self._path))
        _read(made, _FEATURES.size)  # what it could do besides: nothing that is wanted here
        made.sendall(_FEATURES.pack(0))
        return made

    def _exchange(self, to: socket.socket, cdb: bytes, data_out: bytes, room: int) -> Reply:
        cdb, data_out = _carried(cdb, data_out, room)
        sent = socket.send_fds(to, [cdb], [self._fd])
        to.sendall(cdb[sent:] + data_out)
        status, length, sense = _ANSWER.unpack(_read(to, _ANSWER.size))
        data = _read(to, min(max(length, 0), MOST_DATA))
        if status not in set(Status):
            return Reply(service=Service.FAILURE)
        failed = Status(status) is Status.CHECK_CONDITION
        return Reply(Status(status), sense=_whole(sense) if failed else b"", data=data[:room])

    def close(self) -> None:
        """End the connection; the next command makes another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _carried(cdb: bytes, data_out: bytes, room: int) -> tuple[bytes, bytes]:
    """Make CDB and data agree: the helper takes as many bytes as the CDB says."""
    changed = bytearray(cdb.ljust(_CDB_LENGTH, b"\0"))
    if cdb[0] == Opcode.PERSISTENT_RESERVE_IN:
        length = min(int.from_bytes(cdb[7:9], "big"), MOST_DATA, room)
        changed[7:9] = length.to_bytes(2, "big")
        return bytes(changed), b""
    length = min(int.from_bytes(cdb[5:9], "big"), MOST_DATA, len(data_out))
    changed[5:9] = length.to_bytes(4, "big")
    return bytes(changed), data_out[:length]


def _whole(sense: bytes) -> bytes:
    """Cut sense data to what it says that there is of it (SPC-5 4.4)."""
    return sense[: min(8 + sense[7], len(sense))]


def _read(source: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        more = source.recv(count - len(got))
        if not more:
            # It does so on what it does not understand, and when it ends.
            raise OSError("the helper has closed the connection")
        got += more
    return bytes(got)
