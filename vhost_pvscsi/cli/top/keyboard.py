"""Keys as they are typed, without waiting for Enter."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
import tty
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    #: What termios.tcgetattr gives.
    Modes = list[Any]


class Keyboard:
    """The terminal at a descriptor in cbreak mode, from `with` to its end; none: it does nothing.

    Signals that keys send (Ctrl-C, Ctrl-Z) are sent still.
    """

    def __init__(self, fd: int, on_key: Callable[[str], None]) -> None:
        self._fd = fd
        self._on_key = on_key
        self._modes: Modes | None = None  #: as they were before

    def take(self) -> None:
        """Begin to hear keys."""
        if os.isatty(self._fd):
            self._modes = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd, termios.TCSANOW)
            asyncio.get_running_loop().add_reader(self._fd, self._read)

    def give_back(self) -> None:
        """Leave the terminal as it was."""
        if self._modes is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._modes)
            self._modes = None

    def _read(self) -> None:
        try:
            typed = os.read(self._fd, 64)
        except OSError:
            typed = b""
        if not typed:
            # The terminal is gone; SIGHUP says so too.
            asyncio.get_running_loop().remove_reader(self._fd)
        for key in typed.decode("ascii", "replace"):
            self._on_key(key)

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give_back()
