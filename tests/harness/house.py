"""House: engine, units and one virtual host in this process, for tests that turn gates.

The same code as in the daemon, without its command line; a front-end runs in a thread.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Self, TypeVar

from vhost_pvscsi.adapter import Adapter
from vhost_pvscsi.daemon.units import Units
from vhost_pvscsi.devices.pdev import parse_lun
from vhost_pvscsi.engine import Engine, Gate, GateReason

from .frontend import FrontEnd
from .peer import Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from vhost_pvscsi.devices.changer.changer import MediumChanger
    from vhost_pvscsi.devices.changer.state import Moved
    from vhost_pvscsi.devices.presentation import Presentation
    from vhost_pvscsi.devices.unit import AttachableUnit, LogicalUnit
    from vhost_pvscsi.identity import Address

_Result = TypeVar("_Result")


class House:
    """One virtual host with LUNs; an async context manager."""

    def __init__(self, luns: Sequence[str], *, threads: int = 2, io_uring: bool = True) -> None:
        self._luns = [parse_lun(text) for text in luns]
        self._threads = threads
        self._io_uring = io_uring
        self._serving: list[asyncio.Task[None]] = []
        self._listening: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self.engine = Engine(self._threads, io_uring=self._io_uring)
        self.units = Units(self.engine, self)
        self.adapter = Adapter(self.engine, 0, self._peers)
        self._places = [(self.units.make(lun), lun.address) for lun in self._luns]
        for lun, (unit, _) in zip(self._luns, self._places, strict=True):
            await self.adapter.attach(lun.address, unit, lun.options.presentation)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A test that failed early may have left a socket to which nobody came.
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        await self.adapter.drain()
        await asyncio.gather(*self._serving)
        self.adapter.close()
        self.units.close()
        await self.engine.close()

    def reached_by(self, _nexus: str) -> list[tuple[LogicalUnit, Presentation]]:
        """All units: there is one host."""
        return [(mapping.unit, mapping.presentation) for mapping in self.adapter.table]

    async def renew(self, unit: AttachableUnit) -> None:
        """Tell the engine's map that another medium is behind a unit."""
        for _, address in self._peers(unit):
            await self.adapter.renew(address)

    def attached_at(self, address: Address) -> tuple[LogicalUnit, Presentation] | None:
        """What is attached at an address."""
        table = self.adapter.table
        return next(((m.unit, m.presentation) for m in table if m.address == address), None)

    def cartridge_moved(self, changer: MediumChanger, moved: Moved) -> None:
        """Nobody is told."""

    def _peers(self, unit: object) -> list[tuple[Adapter, Address]]:
        table = self.adapter.table
        return [(self.adapter, mapping.address) for mapping in table if mapping.unit is unit]

    def plug(self) -> socket.socket:
        """Connect; the front-end's end of the socket."""
        ours, theirs = socket.socketpair()
        self._serving.append(asyncio.create_task(self.adapter.serve(ours)))
        return theirs

    def listen(self, path: Path) -> None:
        """Serve the first front-end that connects to `path`."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)

        async def take() -> None:
            with listener:
                sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            self._serving.append(asyncio.create_task(self.adapter.serve(sock)))

        self._listening.append(asyncio.create_task(take()))

    async def connect(self, *, request_queues: int = 1) -> FrontEnd:
        """Connect a front-end that has heard the unit attentions of all LUNs."""
        sock = self.plug()

        def start() -> FrontEnd:
            front_end = FrontEnd(Peer(sock), request_queues=request_queues).start()
            for _, address in self._places:
                front_end.ready(address.target, address.lun)
            return front_end

        return await asyncio.to_thread(start)

    def gate(self, position: int) -> Gate:
        """The gate of the LUN at that position."""
        mapping = list(self.adapter.table)[position]
        return self.adapter.gate(mapping.id)

    async def on_long_road(self, position: int, act: Callable[[], _Result]) -> _Result:
        """Run `act` in a thread while that LUN's gate is shut."""
        gate = self.gate(position)
        await gate.close(GateReason.TEST)
        try:
            return await asyncio.to_thread(act)
        finally:
            gate.open(GateReason.TEST)

    def short_road(self, session: int) -> int:
        """Commands that workers have finished by themselves."""
        return sum(sum(row[1:4]) for row in self.engine.counters(session))

    def long_road(self, session: int) -> int:
        """Commands that went up to Python."""
        return sum(row[4] for row in self.engine.counters(session))
