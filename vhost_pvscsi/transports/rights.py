"""Bytes of a UNIX socket, and the descriptors that come with them (unix(7), SCM_RIGHTS)."""

from __future__ import annotations

import array
import asyncio
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_INT_SIZE = array.array("i").itemsize


@dataclass(frozen=True, slots=True)
class Received:
    """What one call has brought."""

    data: bytes  #: none: the peer has closed its end
    descriptors: tuple[int, ...]  #: the caller's from now on
    lost: bool  #: there were more: than it asked for, or than this process can have


async def receive(sock: socket.socket, size: int, most: int) -> Received:
    """Wait for some bytes, at most `size`, with at most `most` descriptors; may be cancelled.

    The socket does not block. Descriptors belong to the last of the bytes, at the latest: the
    kernel ends with them what it gives at a time.
    """
    while True:
        try:
            data, ancillary, flags, _ = sock.recvmsg(
                size, socket.CMSG_SPACE(most * _INT_SIZE), socket.MSG_CMSG_CLOEXEC
            )
            break
        except (BlockingIOError, InterruptedError):
            loop = asyncio.get_running_loop()
            await wait(sock, loop.add_reader, loop.remove_reader)
        except ConnectionResetError:
            return Received(b"", (), lost=False)  # it closed with answers of ours unread: it left
    return Received(data, _descriptors(ancillary), bool(flags & socket.MSG_CTRUNC))


async def wait(
    sock: socket.socket, add: Callable[..., None], remove: Callable[[int], bool]
) -> None:
    """Wait until the loop calls what `add` enters for the socket, and `remove` takes out."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    descriptor = sock.fileno()
    add(descriptor, _wake, ready)
    try:
        await ready
    finally:
        remove(descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, ...]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % _INT_SIZE])
    return tuple(found)
