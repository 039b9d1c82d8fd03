"""The control socket: takes clients, carries out what they ask, tells them of events.

QEMU's docs/interop/qmp-spec.rst. Commands of one client are carried out one after the other;
those of different clients at the same time, as far as the operator lets them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from typing import TYPE_CHECKING, Any, Self

from vhost_pvscsi.daemon.sockets import Listener, SocketSpec
from vhost_pvscsi.errors import VhostPvscsiError
from vhost_pvscsi.transports.rights import receive

from .access import Peer
from .descriptors import MAX_AT_A_TIME, ClientDescriptors
from .handlers import carry_out, version
from .session import RefusedError, Session
from .stream import Malformed, Overlong, Stream

if TYPE_CHECKING:
    from types import TracebackType

    from .operator import Operator
    from .publisher import Publisher
    from .spec import ControlSpec

log = logging.getLogger(__name__)

MAX_CLIENTS = 64
#: What may wait to be read by a client, in bytes, beside the last answer.
MAX_UNREAD = 1 << 20
#: How long a client may leave an answer unread, in seconds, before it is let go.
READ_DEADLINE = 30.0
#: How long commands and answers may take to end when the server does, in seconds.
END_DEADLINE = 5.0
_CHUNK = 1 << 16
#: How much of what a client asks goes into the log, in characters.
_LOGGED = 300


class Client:
    """One connection. Its task reads, carries out, answers."""

    def __init__(
        self,
        name: str,
        sock: socket.socket,
        writer: asyncio.StreamWriter,
        session: Session,
    ) -> None:
        """Read from `sock`, the writer's own duplicated: asyncio's streams drop descriptors."""
        self.name = name
        self.session = session
        self.busy = False  #: a command is being carried out
        self.ending = False  #: no other shall be
        self._writer = writer
        self._socket = sock
        self._descriptors = ClientDescriptors()
        self._answering = 0  #: bytes of the answer that is being sent
        writer.transport.set_write_buffer_limits(high=MAX_UNREAD)

    async def run(self, operator: Operator) -> None:
        """Serve it until it leaves, or is let go."""
        # A transport begins to read when its protocol has been told of it; in Python 3.11.2 even
        # if it was paused then. This step comes before the loop looks at the socket.
        transport = self._writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        stream = Stream()
        try:
            await self._answer({"QMP": {"version": version(), "capabilities": []}})
            while not self.ending and (data := await self._read()):
                for item in stream.feed(data):
                    # One that always has the next command ready lets others have their turn.
                    await asyncio.sleep(0)
                    self.busy = True
                    answer = await self._respond(operator, item)
                    await self._answer(answer)
                    self.busy = False
                    if self.ending or isinstance(item, Overlong):
                        return
        except TimeoutError:
            self.drop()
        except OSError as error:
            log.debug("%s: %s", self.name, error)
        finally:
            await self._close()

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event; a client that has left too much unread is let go instead."""
        if not self.session.negotiated or self._writer.is_closing():
            return
        # An answer may be long, and is read as fast as the client can: it is not held against it.
        unread = self._writer.transport.get_write_buffer_size()
        if unread > MAX_UNREAD + self._answering:
            self.drop()
        else:
            self._writer.write(_line(event))

    def drop(self) -> None:
        """Let a client go that does not read."""
        log.warning("%s: does not read what it is told: let go", self.name)
        self._writer.transport.abort()
        # The duplicate is the same connection.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    async def _read(self) -> bytes:
        received = await receive(self._socket, _CHUNK, MAX_AT_A_TIME)
        self._descriptors.take_in(received)
        return received.data

    async def _answer(self, message: dict[str, Any]) -> None:
        line = _line(message)
        self._answering = len(line)
        self._writer.write(line)
        async with asyncio.timeout(READ_DEADLINE):
            await self._writer.drain()
        self._answering = 0

    async def _respond(
        self, operator: Operator, item: dict[str, object] | Malformed
    ) -> dict[str, Any]:
        if isinstance(item, Malformed):
            return {"error": _error(RefusedError(item.problem))}
        # The id comes first and is sent back as it came, whatever it is.
        answer = {"id": item["id"]} if "id" in item else {}
        try:
            call = self.session.take(item)
            value: object = {}
            if call is not None:
                if not call.command.query:
                    asked = json.dumps(item.get("arguments", {}))[:_LOGGED]
                    log.info("%s: %s %s", self.name, call.command.name, asked)
                value = await carry_out(operator, call, self._descriptors)
        except VhostPvscsiError as error:
            return {**answer, "error": _error(error)}
        except Exception:
            log.exception("%s: %s", self.name, json.dumps(item)[:_LOGGED])
            return {**answer, "error": _error(RefusedError("internal error"))}
        return {**answer, "return": value}

    async def _close(self) -> None:
        """Send what waits to be read, as far as it is, and close."""
        self._descriptors.close()
        self._socket.close()
        self._writer.close()
        try:
            async with asyncio.timeout(END_DEADLINE):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()


class ControlServer:
    """A control socket, from `async with` to its end."""

    def __init__(self, operator: Operator, events: Publisher, spec: ControlSpec) -> None:
        self._operator = operator
        self._events = events
        self._spec = spec
        self._clients: dict[Client, asyncio.Task[None]] = {}
        self._undo = contextlib.AsyncExitStack()

    @property
    def listeners(self) -> int:
        """How many clients events are told."""
        return sum(client.session.negotiated for client in self._clients)

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            DeviceError: the path cannot be bound, or its mode or group not be set.
        """
        async with contextlib.AsyncExitStack() as undo:
            spec = self._spec
            listener = Listener(SocketSpec(0, path=spec.path, group=spec.group, mode=spec.mode))
            undo.callback(listener.close)
            self._events.listen(self._tell)
            undo.callback(self._events.leave, self._tell)
            undo.push_async_callback(self._end_clients)
            server = await asyncio.start_unix_server(self._take, sock=listener.socket)
            undo.callback(server.close)
            self._undo = undo.pop_all()
        log.info("control socket %s", self._spec)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._undo.aclose()

    def _take(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = f"{self._spec}: a client"
        try:
            peer = Peer.of(writer.get_extra_info("socket"))
            name = f"{self._spec}: process {peer.pid} of user {peer.uid}"
            if not peer.may_use(self._spec):
                refused = "is not for that user"
            elif len(self._clients) >= MAX_CLIENTS:
                refused = f"more than {MAX_CLIENTS} clients"
            else:
                refused = ""
                sock = writer.get_extra_info("socket").dup()
                sock.setblocking(False)
        except OSError as error:
            refused = str(error)
        if refused:
            log.warning("%s: refused: %s", name, refused)
            writer.close()
            return
        client = Client(name, sock, writer, Session(read_only=self._spec.read_only))
        task = asyncio.create_task(client.run(self._operator))
        self._clients[client] = task
        task.add_done_callback(lambda _: self._clients.pop(client, None))

    def _tell(self, event: dict[str, Any]) -> None:
        for client in tuple(self._clients):
            client.tell(event)

    async def _end_clients(self) -> None:
        """Let commands that have begun end, and answers be read; within the deadline."""
        for client, task in tuple(self._clients.items()):
            client.ending = True
            if not client.busy:
                task.cancel()
        tasks = set(self._clients.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=END_DEADLINE)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)


def _error(error: VhostPvscsiError) -> dict[str, str]:
    """Make QMP's error; `hint` is ours, and is in `desc` too for clients that do not know it."""
    kind = error.kind if isinstance(error, RefusedError) else "GenericError"
    if not error.hint:
        return {"class": kind, "desc": str(error)}
    return {"class": kind, "desc": f"{error} ({error.hint})", "hint": error.hint}


def _line(message: object) -> bytes:
    return json.dumps(message).encode() + b"\r\n"
