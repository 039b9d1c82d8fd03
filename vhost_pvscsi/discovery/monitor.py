"""Hears of devices that come, change or go."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from . import sysfs

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

log = logging.getLogger(__name__)

#: Between two looks at sysfs, in seconds: a container may hear of no event.
PAUSE = 2.0

#: There while udevd runs.
_UDEVD = Path("/run/udev/control")
_SUBSYSTEMS = ("scsi", "scsi_generic", "scsi_tape", "scsi_changer", "block")


class Monitor:
    """Calls `changed` whenever there may be other devices, from `async with` to its end.

    What has changed it does not say: who wants to know looks. So nothing is lost with an event.
    """

    def __init__(self, changed: Callable[[], None], pause: float = PAUSE) -> None:
        self._changed = changed
        self._pause = pause
        self._netlink: Any = None
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._netlink = _listen()
        if self._netlink is not None:
            asyncio.get_running_loop().add_reader(self._netlink.fileno(), self._hear)
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._netlink is not None:
            asyncio.get_running_loop().remove_reader(self._netlink.fileno())
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def _hear(self) -> None:
        try:
            while self._netlink.poll(timeout=0) is not None:
                pass
        except OSError as error:
            # ENOBUFS: some were lost, and a look is what makes up for them.
            log.debug("events of devices: %s", error)
        self._changed()

    async def _look(self) -> None:
        before = sysfs.addresses()
        while True:
            await asyncio.sleep(self._pause)
            now = await asyncio.to_thread(sysfs.addresses)
            if now != before:
                before = now
                self._changed()


def _listen() -> Any:
    """Open udev's events where udevd runs, else the kernel's; None: there are none to be had."""
    # Here: a daemon that has nothing to follow does not carry it.
    try:
        import pyudev  # noqa: PLC0415

        source = "udev" if _UDEVD.exists() else "kernel"
        monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source=source)
        for subsystem in _SUBSYSTEMS:
            monitor.filter_by(subsystem)
        monitor.start()
    except (ImportError, OSError) as error:
        log.warning("no events of devices: %s; looking every %g seconds instead", error, PAUSE)
        return None
    log.info("following devices by events of %s", "udev" if source == "udev" else "the kernel")
    return monitor
