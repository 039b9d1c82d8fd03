"""A control socket without a daemon, on a loop of its own; and a client that sends any bytes."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

from vhost_pvscsi.daemon.control.publisher import Publisher
from vhost_pvscsi.daemon.control.server import ControlServer
from vhost_pvscsi.daemon.control.spec import ControlSpec

from .operator import PaperOperator

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE = 10.0


class ControlThread:
    """A server in a thread, for programs that are asked in the thread of the test."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.spec = ControlSpec(path, read_only=read_only)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._ready = threading.Event()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self.events = Publisher()
        self.operator = PaperOperator(self.events)
        async with ControlServer(self.operator, self.events, self.spec) as self.server:
            self._ready.set()
            await self._end.wait()

    def do(self, call: Any, *arguments: Any, **named: Any) -> None:
        """Have something called in the server's own thread."""
        self._loop.call_soon_threadsafe(lambda: call(*arguments, **named))

    def wait_for_listeners(self, count: int) -> None:
        """Wait until so many clients are told of events."""

        async def wait() -> None:
            asking = await RawClient.negotiated(self.spec.path)  # is one of them itself
            async with asyncio.timeout(DEADLINE):
                while self.server.listeners <= count:
                    await asking.ask(execute="query-version")
            await asking.close()

        asyncio.run_coroutine_threadsafe(wait(), self._loop).result()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(DEADLINE), "the control socket did not come up"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the control socket did not end"


class RawClient:
    """A QMP client that can do it wrong; nothing is negotiated by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, path: Path) -> Self:
        reader, writer = await asyncio.open_unix_connection(path, limit=16 << 20)
        return cls(reader, writer)

    @classmethod
    async def negotiated(cls, path: Path) -> Self:
        client = await cls.connect(path)
        await client.receive()
        assert await client.ask(execute="qmp_capabilities") == {"return": {}}
        return client

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self) -> Any:
        """Return the next message; None at the end."""
        async with asyncio.timeout(DEADLINE):
            line = await self._reader.readline()
        return json.loads(line) if line else None

    async def ask(self, **message: object) -> Any:
        self.send(json.dumps(message).encode())
        return await self.receive()

    def shut_down(self) -> None:
        self.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()
