"""Child processes that cannot outlive us, and what they write."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG = 1
#: What a pipe holds, by default.
_AT_ONCE = 64 << 10
# Loaded here: between fork and exec there is no time for it.
_LIBC = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    # prctl(2): sent when the thread that started us ends, so children are started from
    # the main thread or one that lives as long.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(
    command: Sequence[str],
    *,
    stderr: int | IO[bytes],
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program without standard input that is killed when we die."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        pass_fds=tuple(descriptors),
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - see _die_with_parent
    )


def end(process: subprocess.Popen[bytes], *, timeout: float = 5.0) -> int:
    """Terminate a process, kill it if that does not help; return its exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


class LogPump:
    """Copies what a process writes into a file, and lets others wait for a line."""

    def __init__(self, source: IO[bytes], path: Path) -> None:
        self._source = source
        self._path = path
        self._lines: list[str] = []
        self._ended = False
        self._copied = 0  #: bytes
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._copy, name=f"log {path.name}", daemon=True)
        self._thread.start()

    def wait_for(self, wanted: Callable[[str], bool], *, count: int, timeout: float) -> bool:
        """Wait for `count` lines that are `wanted`; tell whether they came before the end."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while sum(map(wanted, self._lines)) < count:
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def follow(
        self, start: int, wanted: Callable[[str], bool], *, count: int, timeout: float
    ) -> list[str] | None:
        """Wait for `count` lines that are `wanted` from line `start` on; the lines up to then."""
        deadline = time.monotonic() + timeout
        position, found = start, 0
        with self._changed:
            while True:
                while position < len(self._lines):
                    found += wanted(self._lines[position])
                    position += 1
                    if found == count:
                        return self._lines[start:position]
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._changed.wait(left)

    def text(self) -> str:
        """Return all that was written so far."""
        with self._changed:
            return "".join(self._lines)

    def catch_up(self) -> None:
        """Wait until all that the writer has written before this call is in the file."""
        with self._changed:
            if self._ended:
                return
            waiting = struct.unpack("i", fcntl.ioctl(self._source, termios.FIONREAD, bytes(4)))[0]
            wanted = self._copied + waiting
            self._changed.wait_for(lambda: self._ended or self._copied >= wanted, timeout=5.0)

    def close(self) -> None:
        """Wait for the writer's end of file."""
        self._thread.join(5.0)

    def _copy(self) -> None:
        rest = b""
        ready = select.poll()
        ready.register(self._source, select.POLLIN)
        with self._source, self._path.open("ab", buffering=0) as copy:
            while not self._ended:
                ready.poll()
                # Read with the lock held: what is no more in the pipe is in the file then.
                with self._changed:
                    data = os.read(self._source.fileno(), _AT_ONCE)
                    copy.write(data)
                    self._copied += len(data)
                    *lines, rest = (rest + data).split(b"\n")
                    self._lines += (f"{line.decode(errors='replace')}\n" for line in lines)
                    if not data:
                        self._ended = True
                        self._lines += [rest.decode(errors="replace")] if rest else []
                    self._changed.notify_all()
