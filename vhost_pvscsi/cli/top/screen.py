"""The live table: a whole terminal, until somebody has seen enough."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import ExitStack, suppress

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from vhost_pvscsi.errors import ControlError

from .history import ASCII, BLOCKS, History
from .keyboard import Keyboard
from .rates import Order, Report
from .table import Look, draw, remember, room_for_luns, unseen
from .watch import Watch, check, reports_for_ever

_STDIN = 0
_KEYS = "q quits, s sorts"


def levels_for(console: Console) -> str:
    """The characters that graphs can be made of there."""
    return BLOCKS if console.encoding.lower().startswith("utf") else ASCII


class Screen:
    """What is seen, and what keys do to it."""

    def __init__(self, watch: Watch, order: Order, limit: int | None) -> None:
        self._watch = watch
        self._order = order
        self._limit = limit
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._keyboard = Keyboard(_STDIN, self._key)
        self._history = History()
        self._report: Report | None = None
        self._trouble: ControlError | None = None
        self._done = asyncio.Event()

    async def run(self) -> None:
        """Show it until `q`, or a signal that ends.

        Raises:
            ControlError: there was no daemon to begin with.
        """
        # What cannot be watched is said in the terminal as it is, not on a screen that vanishes.
        await check(self._watch)
        loop = asyncio.get_running_loop()
        watching = asyncio.create_task(self._take_reports())
        ended = asyncio.create_task(self._done.wait())
        with ExitStack() as undo:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, self._done.set)
                undo.callback(loop.remove_signal_handler, number)
            loop.add_signal_handler(signal.SIGWINCH, self._refresh)
            loop.add_signal_handler(signal.SIGTSTP, self._suspend)
            undo.enter_context(self._keyboard)
            undo.enter_context(self._live)
            self._refresh()
            await asyncio.wait({watching, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching  # a bug in there must not end as if nothing was

    async def _take_reports(self) -> None:
        async for told in reports_for_ever(self._watch):
            if isinstance(told, ControlError):
                self._trouble = told
            else:
                self._trouble = None
                self._report = told
                remember(self._history, told)
            self._refresh()

    def _key(self, key: str) -> None:
        if key in "qQ":
            self._done.set()
        elif key == "s":
            orders = list(Order)
            self._order = orders[(orders.index(self._order) + 1) % len(orders)]
            self._refresh()

    def _suspend(self) -> None:
        """Ctrl-Z: give the terminal back, stop, and take it again when told to go on."""
        self._live.stop()
        self._keyboard.give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._keyboard.take()
        self._live.start()
        self._refresh()

    def _refresh(self) -> None:
        self._live.update(self._draw(), refresh=True)

    def _draw(self) -> Group:
        size = self._console.size
        lines = [self._headline(size.width)]
        if self._report is None:
            return Group(*lines)
        room = room_for_luns(size.height, len(self._report.hosts))
        most = room if self._limit is None else min(room, self._limit)
        look = Look(size.width, self._order, levels_for(self._console))
        table = draw(self._report, self._history, look, luns=most, height=size.height)
        others = unseen(self._report, most)
        end = Text(f"{others} other LUNs" if others else "", "dim", no_wrap=True)
        return Group(*lines, table, end)

    def _headline(self, width: int) -> Text:
        if self._trouble is not None:
            text = f"no daemon: {self._trouble}; trying again every {self._watch.interval:g} s"
            return Text(text[:width], "bold red", no_wrap=True)
        told = "waiting for the first interval"
        if self._report is not None:
            busy = sum(lun.rates.iops > 0 for lun in self._report.luns)
            told = f"{len(self._report.luns)} LUNs, {busy} busy, by {self._order.value}"
        clock = time.strftime("%H:%M:%S")
        text = f"top {clock} every {self._watch.interval:g} s: {told} ({_KEYS})"
        return Text(text[:width], "bold", no_wrap=True)
