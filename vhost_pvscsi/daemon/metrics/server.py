"""The metrics socket: takes clients, answers each one request. Off unless asked for."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

from vhost_pvscsi.daemon.control.handlers import version
from vhost_pvscsi.daemon.sockets import Listener, SocketSpec
from vhost_pvscsi.daemon.statistics import lun_statistics
from vhost_pvscsi.engine import LATENCY_BOUNDS
from vhost_pvscsi.errors import DeviceError

from .exposition import Exposition, HostStatistics, Snapshot
from .http import Answer, Exchange, Request, refusal
from .spec import LOCAL, TcpSpec, UnixSpec

if TYPE_CHECKING:
    from types import TracebackType

    from vhost_pvscsi.daemon.control.publisher import Publisher
    from vhost_pvscsi.daemon.inventory import Inventory

    from .spec import MetricsSpec

log = logging.getLogger(__name__)

MAX_CLIENTS = 32
#: How long a client may take to ask, in seconds.
REQUEST_DEADLINE = 5.0
#: How long an answer may take to be made and read, in seconds.
ANSWER_DEADLINE = 30.0
_PATH = "/metrics"
_CHUNK = 1 << 16


class MetricsServer:
    """A metrics socket, from `async with` to its end."""

    def __init__(self, inventory: Inventory, events: Publisher, spec: MetricsSpec) -> None:
        self._inventory = inventory
        self._events = events
        self._spec = spec
        self._connects: Counter[int] = Counter()
        self._exposition = Exposition()
        # Texts are made one at a time, and so of one snapshot in memory.
        self._making = asyncio.Lock()
        self._clients: set[asyncio.Task[None]] = set()
        self._undo = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            DeviceError: the address cannot be had.
        """
        async with contextlib.AsyncExitStack() as undo:
            self._events.listen(self._note)
            undo.callback(self._events.leave, self._note)
            undo.push_async_callback(self._end_clients)
            server = await self._listen(undo)
            undo.callback(server.close)
            self._undo = undo.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._undo.aclose()

    async def _listen(self, undo: contextlib.AsyncExitStack) -> asyncio.Server:
        if isinstance(self._spec, UnixSpec):
            spec = self._spec
            listener = Listener(SocketSpec(0, path=spec.path, group=spec.group, mode=spec.mode))
            undo.callback(listener.close)
            log.info("metrics at %s", self._spec)
            return await asyncio.start_unix_server(self._take, sock=listener.socket)
        try:
            server = await asyncio.start_server(self._take, self._spec.host, self._spec.port)
        except OSError as error:
            raise DeviceError(
                f"{self._spec}: metrics cannot be served there: {error.strerror or error}",
                hint=f"an address of this machine and a free port, for example {LOCAL}:9744",
            ) from error
        for listening in server.sockets:
            host, port, *_ = listening.getsockname()
            log.info("metrics at http://%s%s", TcpSpec(host, port), _PATH)
            if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
                log.warning("metrics at %s: whoever reaches that address can read them", host)
        return server

    def _note(self, event: dict[str, Any]) -> None:
        if event["event"] == "FRONTEND_CONNECTED":
            self._connects[event["data"]["host"]] += 1
        elif event["event"] == "HOST_DETACHED":
            # Another host of that number is another host.
            self._connects.pop(event["data"]["host"], None)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            log.debug("metrics: more than %d clients: one is turned away", MAX_CLIENTS)
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = Exchange()
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                asked = await _receive(reader, exchange)
            if asked is not None:
                async with asyncio.timeout(ANSWER_DEADLINE):
                    answer = asked if isinstance(asked, Answer) else await self._answer(asked)
                    for part in exchange.send(answer):
                        await _send(writer, part)
                    writer.close()
                    await writer.wait_closed()
        except (OSError, TimeoutError) as error:
            log.debug("metrics: a client is let go: %r", error)
        except Exception:
            # A bug of ours costs this client its answer, and nobody else anything.
            log.exception("metrics: a client is let go by a bug of ours")
        finally:
            writer.transport.abort()

    async def _answer(self, asked: Request) -> Answer:
        if asked.path != _PATH:
            return refusal(HTTPStatus.NOT_FOUND)
        if asked.method not in {"GET", "HEAD"}:
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, allow="GET, HEAD")
        async with self._making:
            snapshot = await self._snapshot()
            # In a thread: the event loop has its turn every few milliseconds meanwhile
            # (sys.getswitchinterval), and thousands of LUNs take longer than that.
            body, content_type = await asyncio.to_thread(
                self._exposition.render, snapshot, asked.accept
            )
        return Answer(HTTPStatus.OK, body, content_type)

    async def _snapshot(self) -> Snapshot:
        hosts = [
            HostStatistics(
                host.spec.host,
                host.adapter.session_id is not None,
                len(host.adapter.table),
                self._connects[host.spec.host],
            )
            for host in self._inventory.hosts
        ]
        luns = await lun_statistics(self._inventory.hosts)
        release = str(version()["package"]).rpartition(" ")[2]
        return Snapshot(release, hosts, luns, LATENCY_BOUNDS)

    async def _end_clients(self) -> None:
        clients = tuple(self._clients)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


async def _receive(reader: asyncio.StreamReader, exchange: Exchange) -> Request | Answer | None:
    """Read until there is a request, or what is none; None: the client left before."""
    while data := await reader.read(_CHUNK):
        if (asked := exchange.receive(data)) is not None:
            return asked
    return None


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    # In pieces: what a slow client has not read yet is held for all of them once, not for each.
    for start in range(0, len(data), _CHUNK):
        writer.write(data[start : start + _CHUNK])
        await writer.drain()
