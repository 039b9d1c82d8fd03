"""A program in a terminal: what it writes, the keys it gets, how it leaves the terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from typing import TYPE_CHECKING, Self

from .errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

DEADLINE = 30.0

#: What a terminal is told, beside text (ECMA-48): control sequences, and single characters.
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>78]")
ENTER_SCREEN, LEAVE_SCREEN, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


class Terminal:
    """A program that has a terminal of its own, of so many columns and lines."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        columns: int = 80,
        lines: int = 24,
    ) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            try:
                # Not before it has its size: the parent writes a byte then.
                os.read(0, 1)
                os.execvpe(command[0], list(command), dict(environment))
            finally:
                os._exit(127)
        self.resize(columns, lines)
        self.modes = termios.tcgetattr(self._master)
        os.write(self._master, b"\n")
        self.written = ""  #: everything, as it came
        self._seen = 0
        self._ended = False

    def resize(self, columns: int, lines: int) -> None:
        """Change its size; the program gets SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def wait_for(self, text: str, *, without: str | None = None) -> str:
        """Wait until something new has that text; all that is new, without control sequences.

        Raises:
            HarnessError: it does not come in time.
        """
        deadline = time.monotonic() + DEADLINE
        while True:
            new = _SEQUENCE.sub("", self.written[self._seen :])
            if text in new and (without is None or without not in new):
                self._seen = len(self.written)
                return new
            if without is not None and without in new:
                self._seen = len(self.written)
            if not self._read(deadline):
                raise HarnessError(f"waited {DEADLINE:g} s for {text!r}; there was {new[-2000:]!r}")

    def wait(self) -> int:
        """Wait until the program has ended; its exit status."""
        deadline = time.monotonic() + DEADLINE
        while self._read(deadline):
            pass
        if not self._ended:
            raise HarnessError(f"it did not end within {DEADLINE:g} s")
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def left_modes(self) -> list[object]:
        """How the terminal is set now (termios(3))."""
        return termios.tcgetattr(self._master)

    def _read(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        if self._ended or left <= 0 or not select.select([self._master], [], [], left)[0]:
            return False
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # EIO: nobody has the other end any more
            data = b""
        self._ended = not data
        self.written += data.decode("utf-8", "replace")
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._master)
