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
from vhost_pvscsi.errors import ConfigurationError, VhostPvscsiError
from vhost_pvscsi.state import Store

from .announcements import Announcements
from .changes import Changes
from .control.publisher import Publisher
from .control.server import ControlServer
from .following.follower import Follower
from .following.places import Places
from .growth import Growth
from .inventory import Inventory
from .notify import READY, STOPPING, notify, reloading
from .operations import Operations, Reading
from .reload import populate
from .roster import Roster

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
            store = Store(state.path if state is not None else None)
            publisher = Publisher()
            announcements = Announcements(publisher)
            inventory = Inventory(engine, announcements, state)
            undo.callback(inventory.close)
            configured = options.configured(options.config)
            roster = Roster(configured, store, read_only=options.read_only)
            await roster.settle(configured)
            # Nobody is served before all of it is there.
            await populate(inventory, roster)
            if not inventory.hosts and not options.all_controls():
                raise ConfigurationError(
                    "nothing can be served: operators have detached every virtual host",
                    hint="--control PATH lets others be attached",
                )
            changes = Changes(inventory, roster, publisher, announcements)
            growth = Growth(inventory, publisher)
            places = Places(state.path if state is not None else None)
            follower = Follower(inventory, roster, changes, publisher, places=places)
            operations = Operations(
                inventory, roster, changes, growth, follower, self._read, self._stop.set
            )
            # What rules attach is there when the first guest comes.
            await follower.look()
            async with AsyncExitStack() as controls:
                await controls.enter_async_context(growth)
                await controls.enter_async_context(follower)
                for spec in options.all_controls():
                    await controls.enter_async_context(ControlServer(operations, publisher, spec))
                await _serve_metrics(inventory, publisher, options.metrics, controls)
                accepting = [inventory.serve(host) for host in inventory.hosts]
                self._reload_on_hangup(operations)
                notify(READY)
                await self._wait(accepting)
                notify(STOPPING)
            await self._drain(inventory)
        return 0

    def _read(self) -> Reading:
        """Read the configuration anew; what cannot change at run time is told."""
        options, before = self._options, self._options.config
        if options.read_config is None or before is None:
            return Reading(options.configured(None))
        now = options.read_config()
        plan = options.configured(now)
        names = sorted({*before.settings, *now.settings})
        changed = [
            name.replace("_", "-")
            for name in names
            if before.settings.get(name) != now.settings.get(name)
        ]
        if list(before.controls) != list(now.controls):
            changed.append("control")
        return Reading(plan, changed)

    def _reload_on_hangup(self, operations: Operations) -> None:
        """Read the configuration again on SIGHUP, as services do."""
        if self._options.config is None:
            return  # of a daemon in the foreground the end of its terminal is the end
        tasks: set[asyncio.Task[None]] = set()

        async def reload() -> None:
            notify(reloading())
            try:
                await operations.reload(forget=False)
            except VhostPvscsiError as error:
                log.error("reload: nothing was changed: %s", error.told())  # noqa: TRY400
            finally:
                notify(READY)

        def begin() -> None:
            task = asyncio.create_task(reload())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, begin)

    async def _wait(self, accepting: list[asyncio.Task[None]]) -> None:
        """Wait until told to stop, or until the last passed connection has ended."""
        stopped = asyncio.create_task(self._stop.wait())
        waiting: set[asyncio.Task[bool]] = {stopped}
        if not self._options.all_controls():
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
