"""The engine's side of one front-end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ProtocolError, RingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from . import _engine
    from .rings import PvscsiSetup, RingSetup
    from .wire.vhost_user import MemoryRegion


class Session:
    """The engine's side of one front-end: its memory and its rings."""

    def __init__(
        self, core: _engine.Engine, id_: int, done: Callable[[int], Awaitable[int]]
    ) -> None:
        """Take what `Engine.add_session` gave; `done` waits for one of the engine's tickets."""
        self.id = id_
        self._core = core
        self._done = done

    async def set_memory(self, regions: Sequence[tuple[MemoryRegion, int]]) -> None:
        """Replace guest memory by these regions, each with its descriptor (kept by the caller).

        Returns when nothing touches the old memory any more.

        Raises:
            ProtocolError: a region is empty, wraps, overlaps, lies about its size or cannot
                be mapped.
        """
        rows = [(r.guest_address, r.size, r.user_address, r.offset, fd) for r, fd in regions]
        try:
            ticket = self._core.set_memory(self.id, rows)
        except (ValueError, OSError) as error:
            raise ProtocolError(f"memory table: {error}") from error
        await self._done(ticket)

    async def start_ring(self, ring: RingSetup) -> None:
        """Start a ring, enabled.

        Raises:
            ProtocolError: size, alignment or an address is not possible.
        """
        try:
            ticket = self._core.start_ring(
                self.id,
                ring.index,
                ring.kind,
                ring.size,
                ring.descriptor,
                ring.available,
                ring.used,
                ring.base,
                ring.event_idx,
                ring.indirect,
                ring.kick_fd,
                ring.call_fd,
            )
        except (ValueError, OSError) as error:
            raise ProtocolError(f"ring {ring.index}: {error}") from error
        await self._done(ticket)

    async def start_pvscsi(self, ring: PvscsiSetup) -> None:
        """Start a pvSCSI ring as ring 0, enabled.

        Raises:
            ProtocolError: what the front-end shared cannot be used.
            RingError: what the guest gave cannot be a ring.
        """
        table, area = ring.table, ring.area
        try:
            ticket = self._core.start_pvscsi(
                self.id,
                ring.granted,
                ring.place,
                (table.fd, table.offset, table.size, ring.domain) if table else None,
                (area.fd, area.offset, area.size) if area else None,
                ring.segments,
                ring.kick_fd,
                ring.call_fd,
            )
        except (ValueError, OSError, OverflowError) as error:
            raise ProtocolError(f"pvSCSI ring: {error}") from error
        except RuntimeError as error:
            raise RingError(f"pvSCSI ring: {error}") from error
        await self._done(ticket)

    async def set_enabled(self, index: int, enabled: bool) -> None:
        """A disabled ring keeps its place but is not drained."""
        await self._done(self._core.set_enabled(self.id, index, enabled))

    def set_call(self, index: int, call_fd: int) -> None:
        """Change where a running ring's guest is notified; -1: nowhere.

        Raises:
            ProtocolError: the descriptor is no eventfd.
        """
        try:
            self._core.set_call(self.id, index, call_fd)
        except (ValueError, OSError) as error:
            raise ProtocolError(f"ring {index}: {error}") from error

    async def stop_ring(self, index: int) -> int:
        """Take no more, let all that was taken end; the next available index."""
        return await self._done(self._core.stop_ring(self.id, index))

    async def push_event(self, index: int, data: bytes) -> bool:
        """Fill one buffer of an event ring, waiting until the guest puts one there.

        False where it was not told: the ring stops or is broken, another event waits there, or
        the buffer is shorter than the event.
        """
        return bool(await self._done(self._core.push_event(self.id, index, data)))

    def complete_control(self, token: int, data: bytes) -> None:
        """Answer a request of a control ring."""
        self._core.complete_control(token, data)

    async def close(self) -> None:
        """Stop every ring and unmap the memory."""
        await self._done(self._core.end_session(self.id))
