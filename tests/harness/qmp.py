"""QMP for code that is not asynchronous: the `qemu.qmp` client on a loop of its own.

QEMU, docs/interop/qmp-spec.rst. The loop runs in a thread, so that events are
received at all times and tests of either kind, asyncio or not, may call.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from qemu.qmp import QMPClient

from .errors import GuestLostError

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine

_T = TypeVar("_T")


class Qmp:
    """One connection to a QEMU's monitor."""

    def __init__(self, channel: socket.socket, *, timeout: float = 20.0) -> None:
        self._timeout = timeout
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        self._client = QMPClient("guest")
        self._do(self._client.connect(channel), timeout, "QMP's greeting")

    def execute(self, command: str, /, **arguments: object) -> Any:
        """Carry out a QMP command; underscores in the arguments' names become dashes."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return self._do(self._client.execute(command, named), self._timeout, command)

    def wait_event(self, name: str, *, timeout: float) -> dict[str, Any]:
        """Return the next event of that name; others before it are dropped."""
        return self._do(self._next_event(name), timeout, f"event {name}")

    def close(self) -> None:
        """Drop the connection."""
        try:
            # QEMU may have closed its end already, or be dead: either is an end.
            asyncio.run_coroutine_threadsafe(self._client.disconnect(), self._loop).exception(5.0)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5.0)
            self._loop.close()

    async def _next_event(self, name: str) -> dict[str, Any]:
        while True:
            event = await self._client.events.get()
            if event["event"] == name:
                return dict(event)

    def _do(self, work: Coroutine[Any, Any, _T], timeout: float, what: str) -> _T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise GuestLostError(f"waited {timeout:g} s for {what}") from None
