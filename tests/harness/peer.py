"""Peer: a vhost-user front-end's socket, message by message, right or wrong.

It packs its messages by itself, so that it does not agree with a mistake of the back-end's.
"""

from __future__ import annotations

import array
import socket
import struct
from typing import TYPE_CHECKING, Self

from .errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

#: Seconds until a wait for the back-end fails.
DEADLINE = 20.0

VERSION, REPLY, NEED_REPLY = 1, 4, 8  # flags of a header

GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE = 1, 2, 3, 4, 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = 12, 13, 14
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM = 15, 16, 17
SET_VRING_ENABLE, SET_BACKEND_REQ_FD, RESET_DEVICE = 18, 21, 34
GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG, SET_STATUS, GET_STATUS = 36, 37, 38, 39, 40

_HEADER = struct.Struct("<III")


class DeadlineError(HarnessError):
    """The back-end did not do in time what was awaited."""


class Peer:
    """One connection to a back-end."""

    def __init__(self, sock: socket.socket, *, deadline: float = DEADLINE) -> None:
        sock.settimeout(deadline)
        self.socket = sock
        self.deadline = deadline

    @classmethod
    def connect(cls, path: Path | str, *, deadline: float = DEADLINE) -> Self:
        """Connect to a listening back-end."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(deadline)
        try:
            sock.connect(str(path))
        except BaseException:
            sock.close()
            raise
        return cls(sock, deadline=deadline)

    def send(
        self, request: int, payload: bytes = b"", fds: Sequence[int] = (), *, flags: int = VERSION
    ) -> None:
        """Send one message, its descriptors with the first byte."""
        self.send_bytes(_HEADER.pack(request, flags, len(payload)) + payload, fds)

    def send_bytes(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send any bytes."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.socket.sendmsg([data], rights)
        if rest := data[sent:]:  # sending nothing is an error too when the peer has left
            self.socket.sendall(rest)

    def receive(self, what: str) -> tuple[int, int, bytes]:
        """Wait for a message: request, flags, payload."""
        request, flags, size = _HEADER.unpack(self._read(_HEADER.size, what))
        return request, flags, self._read(size, what)

    def ask(self, request: int, payload: bytes = b"", fds: Sequence[int] = ()) -> bytes:
        """Send a message that has a reply; the reply's payload."""
        self.send(request, payload, fds)
        what = f"the reply to request {request}"
        answered, flags, data = self.receive(what)
        if (answered, flags) != (request, VERSION | REPLY):
            raise HarnessError(f"{what}: request {answered}, flags {flags:#x} came")
        return data

    def ask_number(self, request: int) -> int:
        """Ask for a u64."""
        data = self.ask(request)
        if len(data) != 8:
            raise HarnessError(f"the reply to request {request} has {len(data)} bytes, not 8")
        return int.from_bytes(data, "little")

    def acknowledge(self, request: int, payload: bytes = b"", fds: Sequence[int] = ()) -> int:
        """Send a message with need_reply; 0 when it was carried out. REPLY_ACK is needed."""
        self.send(request, payload, fds, flags=VERSION | NEED_REPLY)
        _, _, data = self.receive(f"the acknowledgement of request {request}")
        return int.from_bytes(data, "little")

    def expect_closed(self) -> None:
        """Wait until the back-end closes the connection, whatever it says before."""
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionResetError:
            return
        except TimeoutError:
            raise self._late("the back-end to close the connection") from None

    def close(self) -> None:
        """Leave."""
        self.socket.close()

    def _read(self, size: int, what: str) -> bytes:
        data = b""
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except TimeoutError:
                raise self._late(what) from None
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise HarnessError(f"the back-end closed the connection instead of {what}")
            data += piece
        return data

    def _late(self, what: str) -> DeadlineError:
        return DeadlineError(f"waited {self.deadline:g} s for {what}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def number(value: int) -> bytes:
    """Pack the payload of a message that carries a u64."""
    return struct.pack("<Q", value)


def vring(index: int, value: int) -> bytes:
    """Pack a ring and a number."""
    return struct.pack("<II", index, value)


def vring_address(index: int, descriptors: int, available: int, used: int) -> bytes:
    """Pack where a ring is, in user addresses."""
    return struct.pack("<IIQQQQ", index, 0, descriptors, used, available, 0)


def vring_file(index: int, *, no_descriptor: bool = False) -> bytes:
    """Pack a ring whose eventfd comes along, or not."""
    return struct.pack("<Q", index | (0x100 if no_descriptor else 0))


def region(guest_address: int, size: int, user_address: int, offset: int = 0) -> bytes:
    """Pack a region of memory."""
    return struct.pack("<QQQQ", guest_address, size, user_address, offset)


def memory_table(*regions: bytes) -> bytes:
    """Pack all of guest memory."""
    return struct.pack("<II", len(regions), 0) + b"".join(regions)


def memory_slot(region_: bytes) -> bytes:
    """Pack one region to add or remove."""
    return bytes(8) + region_
