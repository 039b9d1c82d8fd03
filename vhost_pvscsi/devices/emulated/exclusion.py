"""One command alone on a unit's blocks: COMPARE AND WRITE (decision 0011)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Exclusion:
    """Many commands share the blocks, or one has them alone.

    It orders commands of the long road among themselves, first come first served but for those
    that share and wait, which come before the next that is alone. Those of the short road know
    nothing of it: `shut` (True) keeps them out and returns when none is in flight, `shut` (False)
    lets them in again. A write that nobody excludes costs the short road nothing.
    """

    def __init__(self, shut: Callable[[bool], Awaitable[None]]) -> None:
        self._shut = shut
        self._turn = asyncio.Lock()
        self._sharing = 0
        self._open = asyncio.Event()
        self._open.set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def alone(self) -> bool:
        """Whether a command has the blocks alone, or waits until it has."""
        return not self._open.is_set()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Take part; waits while a command is alone."""
        while self.alone:
            await self._open.wait()
        self._sharing += 1
        self._idle.clear()
        try:
            # A task is cancelled here only before the engine's run began or after it ended: what
            # runs is ended by the engine itself (worker.rs, `end_early`).
            yield
        finally:
            self._sharing -= 1
            if not self._sharing:
                self._idle.set()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Have the blocks alone; waits until all others are through."""
        async with self._turn:
            self._open.clear()
            try:
                await self._shut(True)
                await self._idle.wait()
                yield
            finally:
                await self._shut(False)
                self._open.set()
