"""The daemon: owns the engine, the units, the virtual hosts and their sockets."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from vhost_pvscsi.adapter import Adapter
from vhost_pvscsi.devices.nonvolatile import StateDirectory
from vhost_pvscsi.engine import Engine

from .sockets import Listener
from .units import Units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vhost_pvscsi.devices.unit import AttachableUnit
    from vhost_pvscsi.identity import Address

    from .options import ServeOptions

log = logging.getLogger(__name__)

#: How long commands in flight may take to end after SIGTERM, in seconds.
DRAIN_DEADLINE = 15.0
#: Pause after a failed accept, in seconds, so that a lasting failure does not spin.
ACCEPT_PAUSE = 0.2


class Service:
    """Everything that `serve` starts, and its end."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._adapters: dict[int, Adapter] = {}
        self._places: list[tuple[AttachableUnit, Adapter, Address]] = []
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Serve until told to end; the exit status.

        Raises:
            VhostPvscsiError: a socket or a LUN cannot be had; nothing has been served then.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        options = self._options
        async with AsyncExitStack() as undo:
            engine = Engine(options.threads, io_uring=options.io_uring, poll_us=options.poll_us)
            undo.push_async_callback(engine.close)
            if options.io_uring and not engine.io_uring:
                log.warning("io_uring is not to be had here: threads that wait are used instead")
            state = None
            if options.state_directory is not None:
                state = StateDirectory(options.state_directory)
                undo.callback(state.close)
            units = Units(engine, state, self._reached_by)
            undo.callback(units.close)
            await self._attach_all(engine, units)
            undo.callback(self._close_adapters)
            listeners = []
            for spec in options.sockets:
                listeners.append(Listener(spec))
                undo.callback(listeners[-1].close)
            await self._serve(listeners)
        return 0

    async def _attach_all(self, engine: Engine, units: Units) -> None:
        for spec in self._options.sockets:
            self._adapters[spec.host] = Adapter(engine, spec.host, self._peers)
        for lun in self._options.luns:
            unit = units.make(lun)
            adapter = self._adapters[lun.address.host]
            self._places.append((unit, adapter, lun.address))
            await adapter.attach(lun.address, unit)

    def _close_adapters(self) -> None:
        for adapter in self._adapters.values():
            adapter.close()

    def _peers(self, unit: AttachableUnit) -> Iterator[tuple[Adapter, Address]]:
        return ((adapter, address) for known, adapter, address in self._places if known is unit)

    def _reached_by(self, nexus: str) -> Iterator[AttachableUnit]:
        return (unit for unit, adapter, _ in self._places if adapter.nexus == nexus)

    async def _serve(self, listeners: list[Listener]) -> None:
        """Take front-ends until told to stop, or until the last passed connection has ended."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._take_front_ends(one, group)) for one in listeners]
            for listener in listeners:
                what = "listening on" if listener.listening else "connected on"
                log.info("%s %s (virtual host %d)", what, listener.spec, listener.spec.host)
            stopped = asyncio.create_task(self._stop.wait())
            # Listening goes on for ever; connections that were passed may all end by themselves.
            ended = asyncio.create_task(_all_done(tasks))
            await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
            log.info("stopping: commands in flight are finished first")
            for task in (*tasks, stopped, ended):
                task.cancel()
            await self._drain()

    async def _take_front_ends(self, listener: Listener, group: asyncio.TaskGroup) -> None:
        adapter = self._adapters[listener.spec.host]
        if not listener.listening:
            await asyncio.shield(group.create_task(adapter.serve(listener.socket)))
            return
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener.socket)
            except OSError as error:
                # Out of descriptors, or the peer is gone already: the next one may do better.
                log.error("host %d: accept: %s", listener.spec.host, error)  # noqa: TRY400
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            group.create_task(adapter.serve(connection))

    async def _drain(self) -> None:
        """Let every front-end go when its commands have ended; give up after the deadline."""
        try:
            async with asyncio.timeout(DRAIN_DEADLINE):
                await asyncio.gather(*(adapter.drain() for adapter in self._adapters.values()))
        except TimeoutError:
            log.error(  # noqa: TRY400
                "commands in flight did not end within %.0f s: giving up on them", DRAIN_DEADLINE
            )
            # The kernel still has guests' pages: threads that wait for it cannot be joined.
            logging.shutdown()
            os._exit(1)


async def _all_done(tasks: list[asyncio.Task[None]]) -> bool:
    await asyncio.wait(tasks)
    return True
