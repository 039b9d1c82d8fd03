"""The daemon: owns the engine, the units, the virtual hosts and their sockets."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.nonvolatile import StateDirectory
from vhost_pvscsi.engine import Engine

from .control.publisher import Publisher
from .control.server import ControlServer
from .inventory import Inventory
from .io_errors import IoErrors
from .operations import Operations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .metrics.spec import MetricsSpec
    from .options import ServeOptions

log = logging.getLogger(__name__)

#: How long commands in flight may take to end after SIGTERM, in seconds.
DRAIN_DEADLINE = 15.0


class Service:
    """Everything that `serve` starts, and its end."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
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
            publisher = Publisher()

            def tell(host: int, came: bool) -> None:
                publisher.publish("FRONTEND_CONNECTED" if came else "FRONTEND_LOST", host=host)

            inventory = Inventory(engine, state, tell, IoErrors(publisher).begin)
            undo.callback(inventory.close)
            # Nobody is served before all of it is there.
            hosts = [inventory.make_host(spec) for spec in options.sockets]
            for lun in options.luns:
                await inventory.attach_lun(lun)
            for host in hosts:
                inventory.open_socket(host)
            operations = Operations(inventory, publisher, self._stop.set)
            async with AsyncExitStack() as controls:
                for spec in options.controls:
                    await controls.enter_async_context(ControlServer(operations, publisher, spec))
                await _serve_metrics(inventory, publisher, options.metrics, controls)
                await self._wait([inventory.serve(host) for host in hosts])
            await self._drain(inventory)
        return 0

    async def _wait(self, accepting: list[asyncio.Task[None]]) -> None:
        """Wait until told to stop, or until the last passed connection has ended."""
        stopped = asyncio.create_task(self._stop.wait())
        waiting: set[asyncio.Task[bool]] = {stopped}
        if not self._options.controls:
            # Listening goes on for ever; connections that were passed may all end by themselves.
            # With a control socket others may come.
            waiting.add(asyncio.create_task(_all_done(accepting)))
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping: commands in flight are finished first")
        for task in waiting:
            task.cancel()

    async def _drain(self, inventory: Inventory) -> None:
        """Let every front-end go when its commands have ended; give up after the deadline."""
        try:
            async with asyncio.timeout(DRAIN_DEADLINE):
                await inventory.drain()
        except TimeoutError:
            log.error(  # noqa: TRY400
                "commands in flight did not end within %.0f s: giving up on them", DRAIN_DEADLINE
            )
            # The kernel still has guests' pages: threads that wait for it cannot be joined.
            logging.shutdown()
            os._exit(1)


async def _serve_metrics(
    inventory: Inventory, publisher: Publisher, specs: Sequence[MetricsSpec], until: AsyncExitStack
) -> None:
    if specs:
        # Here, so that a daemon that serves none does not carry what makes them.
        from .metrics.server import MetricsServer  # noqa: PLC0415

        for spec in specs:
            await until.enter_async_context(MetricsServer(inventory, publisher, spec))


async def _all_done(tasks: list[asyncio.Task[None]]) -> bool:
    await asyncio.wait(tasks)
    return True
