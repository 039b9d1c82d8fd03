"""The back-end under test: `vhost-pvscsi serve`, started, watched, ended."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Self

from . import processes
from .errors import DaemonError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_START_TIMEOUT = 20.0
_STOP_TIMEOUT = 20.0


def program() -> Path:
    """Return the console script of the environment that runs us."""
    path = Path(sysconfig.get_path("scripts")) / "vhost-pvscsi"
    if not path.exists():
        raise DaemonError(f"{path} is missing: install the package into this environment")
    return path


class Daemon:
    """One `vhost-pvscsi serve`; a context manager that ends it."""

    def __init__(
        self,
        folder: Path,
        *,
        sockets: Sequence[Path],
        luns: Sequence[str],
        options: Sequence[str] = (),
        descriptors: Sequence[int] = (),
        launcher: Sequence[str] = (),
    ) -> None:
        self.sockets = tuple(sockets)
        self._descriptors = tuple(descriptors)
        self._launcher = tuple(launcher)
        self._log_path = folder / "daemon.log"
        self._arguments = [
            *(word for path in self._socket_words() for word in ("--socket-path", path)),
            *(word for number in descriptors for word in ("--fd", str(number))),
            *(word for lun in luns for word in ("--lun", lun)),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._log: processes.LogPump | None = None

    @property
    def socket(self) -> Path:
        """Where its first virtual host listens."""
        return self.sockets[0]

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return self._running().pid

    def command_line(self) -> list[str]:
        """Return the command that starts it."""
        return [*self._launcher, str(program()), "serve", *self._arguments]

    def start(self) -> Self:
        """Start it and wait until it listens on every socket.

        Raises:
            DaemonError: it ended, or does not listen in time.
        """
        self._process = processes.start(
            self.command_line(), stderr=subprocess.PIPE, descriptors=self._descriptors
        )
        assert self._process.stderr is not None
        self._log = processes.LogPump(self._process.stderr, self._log_path)
        wanted = len(self.sockets) + len(self._descriptors)
        if not self._log.wait_for(_says_listening, count=wanted, timeout=_START_TIMEOUT):
            processes.end(self._process)
            raise DaemonError(
                f"waited {_START_TIMEOUT:g} s for {wanted} sockets of "
                f"{shlex.join(self.command_line())}:\n{self._log.text()}"
            )
        return self

    def wait_for_line(self, text: str, *, count: int = 1, timeout: float = _START_TIMEOUT) -> None:
        """Wait until it has logged `count` lines with that text since its start.

        Raises:
            DaemonError: it has not in time.
        """
        self._running()
        assert self._log is not None
        if not self._log.wait_for(lambda line: text in line, count=count, timeout=timeout):
            raise DaemonError(f"waited {timeout:g} s for the log line {text!r}:\n{self.log()}")

    def lines_until(
        self, text: str, *, start: int = 0, count: int = 1, timeout: float = _START_TIMEOUT
    ) -> list[str]:
        """Wait until it has logged `count` lines with that text; the lines from `start` to then.

        Lines are counted from its last start.

        Raises:
            DaemonError: it has not in time.
        """
        self._running()
        assert self._log is not None
        lines = self._log.follow(start, lambda line: text in line, count=count, timeout=timeout)
        if lines is None:
            raise DaemonError(f"waited {timeout:g} s for the log line {text!r}:\n{self.log()}")
        return lines

    def stop(self) -> None:
        """Ask it to end, as an administrator would.

        Raises:
            DaemonError: it does not end in time, or not with exit status 0.
        """
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise DaemonError(f"it did not end within {_STOP_TIMEOUT:g} s:\n{self.log()}") from None
        finally:
            self._process = None
        if status != 0:
            raise DaemonError(f"it ended with exit status {status}:\n{self.log()}")

    def wait(self, timeout: float) -> int:
        """Wait until it ends by itself; its exit status.

        Raises:
            DaemonError: it does not.
        """
        try:
            status = self._running().wait(timeout)
        except subprocess.TimeoutExpired:
            raise DaemonError(f"it did not end by itself within {timeout:g} s") from None
        self._process = None
        return status

    def kill(self) -> None:
        """End it without warning."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def log(self) -> str:
        """Return all that it has logged until now, over all its starts."""
        if self._log is not None:
            self._log.catch_up()
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def evidence(self) -> dict[str, str]:
        """Return what a failed test should leave of this daemon."""
        command = shlex.join(self.command_line()) + "\n"
        return {"daemon.log": self.log(), "daemon-command.sh": command}

    def _socket_words(self) -> list[str]:
        # One socket is host 0 and needs no number.
        if len(self.sockets) == 1:
            return [str(self.sockets[0])]
        return [f"{number}={path}" for number, path in enumerate(self.sockets)]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise DaemonError("the daemon is not running")
        return self._process

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        if kind is None:
            self.stop()
        else:
            processes.end(self._process)


class LogReader:
    """Reads a daemon's log piece by piece, from its last start on."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._read = 0

    def until(self, text: str, *, count: int = 1) -> list[str]:
        """Wait for `count` more lines with that text; all lines that are new, to the last one.

        Raises:
            DaemonError: they have not come in time.
        """
        lines = self._daemon.lines_until(text, start=self._read, count=count)
        self._read += len(lines)
        return lines


def _says_listening(line: str) -> bool:
    return "listening on" in line or "connected on" in line
