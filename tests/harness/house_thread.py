"""A house in a thread of its own, for tests that are not asynchronous: who generate input."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from vhost_pvscsi.engine import GateReason

from .house import House

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from .frontend import FrontEnd

_Result = TypeVar("_Result")


class HouseThread:
    """One house with LUNs, and its guest; a context manager."""

    def __init__(self, luns: Sequence[str], *, io_uring: bool) -> None:
        self.house = House(luns, io_uring=io_uring)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="house")
        self.guest: FrontEnd

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait(self.house.__aenter__())
        self.guest = self.wait(self.house.connect())
        return self

    def __exit__(self, *_: object) -> None:
        self.guest.close()
        self.wait(self.house.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Have something done in the house's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def short(self) -> int:
        """Commands that workers have finished by themselves."""
        session = self.house.adapter.session_id
        return 0 if session is None else self.house.short_road(session)

    def shut(self, position: int) -> None:
        """Have all commands of the LUN at that position come by the long road."""
        self.wait(self.house.gate(position).close(GateReason.TEST))

    def open(self, position: int) -> None:
        """Undo `shut`."""

        async def turn() -> None:
            self.house.gate(position).open(GateReason.TEST)

        self.wait(turn())
