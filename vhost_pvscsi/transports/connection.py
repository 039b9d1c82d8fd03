"""The UNIX socket of a front-end: framed bytes and owned descriptors.

The framing is vhost-user's, for every kind of front-end that we speak to.
"""

from __future__ import annotations

import array
import asyncio
import select
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ProtocolError
from vhost_pvscsi.wire.pvscsi_socket import request_name
from vhost_pvscsi.wire.vhost_user import (
    HEADER_SIZE,
    MAX_TABLE_REGIONS,
    Header,
    parse_header,
)

from .descriptors import FdSet
from .rights import receive, wait

if TYPE_CHECKING:
    from collections.abc import Iterable

#: No message that we take is longer. A full SET_MEM_TABLE has 264 bytes.
MAX_PAYLOAD = 4096

#: No message that we take carries more.
MAX_DESCRIPTORS = MAX_TABLE_REGIONS


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as it came, its payload not yet looked at."""

    header: Header
    payload: bytes
    fds: FdSet


class Connection:
    """One connected socket. One task receives, one sends; both may be cancelled at any time.

    Nothing is read ahead, so a front-end makes us hold one message at most, and one that
    stops in the middle of a message waits for itself alone.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock

    async def receive(self) -> Frame | None:
        """Wait for a message; None when the front-end has closed the socket between two.

        Raises:
            ProtocolError: the header is not one, it announces too much, or the front-end
                went away in the middle.
        """
        # A front-end that always has the next message ready would otherwise never let
        # another one have its turn.
        await asyncio.sleep(0)
        fds = FdSet()
        try:
            head = await self._read(HEADER_SIZE, fds, "a message header")
            if not head:
                return None
            header = parse_header(head)
            payload = await self._read_payload(header, fds)
        except BaseException:
            fds.close()
            raise
        return Frame(header, payload, fds)

    async def send(self, data: bytes, fds: Iterable[int] = ()) -> None:
        """Send one message; its descriptors go with the first byte and stay the caller's.

        Raises:
            ConnectionError: the front-end has left.
        """
        rest = memoryview(data)
        rights = array.array("i", fds)
        while rest:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
            try:
                sent = self._socket.sendmsg([rest], ancillary)
            except (BlockingIOError, InterruptedError):
                loop = asyncio.get_running_loop()
                await wait(self._socket, loop.add_writer, loop.remove_writer)
                continue
            rest = rest[sent:]
            rights = array.array("i")

    @property
    def hung_up(self) -> bool:
        """Whether the front-end has closed its end, perhaps with messages of its still unread."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close the socket. Nobody may be receiving or sending."""
        self._socket.close()

    async def _read_payload(self, header: Header, fds: FdSet) -> bytes:
        name = request_name(header.request)
        if header.size > MAX_PAYLOAD:
            raise ProtocolError(
                f"{name}: announces a payload of {header.size} bytes,"
                f" more than the {MAX_PAYLOAD} that any message has"
            )
        return await self._read(header.size, fds, f"the payload of {name}", begun=True)

    async def _read(self, size: int, fds: FdSet, what: str, *, begun: bool = False) -> bytes:
        """Read `size` bytes; none when the front-end left before the first byte of a message."""
        data = b""
        while len(data) < size:
            piece = await self._receive_some(size - len(data), fds, begun=begun or bool(data))
            if piece:
                data += piece
            elif begun or data:
                raise ProtocolError(
                    f"the front-end left in the middle of {what}, {len(data)} of {size} bytes came"
                )
            else:
                break
        return data

    async def _receive_some(self, size: int, fds: FdSet, *, begun: bool) -> bytes:
        came = await receive(self._socket, size, MAX_DESCRIPTORS)
        fds.add(came.descriptors)
        if came.lost:
            raise ProtocolError(
                f"descriptors were lost: more than {MAX_DESCRIPTORS} came with one message,"
                " or this process can have no more"
            )
        if came.descriptors and begun:
            raise ProtocolError(
                "descriptors came in the middle of a message, not with its first byte"
            )
        return came.data
