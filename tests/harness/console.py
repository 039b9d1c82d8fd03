"""Commands in a guest, over a serial port of their own; the other end of images/guest/agent.c."""

from __future__ import annotations

import contextlib
import re
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import CommandFailedError, CommandTimeoutError, GuestLostError

if TYPE_CHECKING:
    import socket

#: How long an ended command may take to be gone.
_GRACE = 20.0
_READ_SIZE = 65536
#: What the kernel has in /proc/sys/kernel/random/boot_id.
_BOOT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Result:
    """What a command in the guest left."""

    status: int
    output: str


class GuestConsole:
    """Runs one shell command after the other in the guest."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._buffer = bytearray()
        self._transcript: list[str] = []
        self._gone = False

    def wait_ready(self, *, timeout: float) -> str:
        """Wait until the guest has booted; return the boot's own id."""
        deadline = time.monotonic() + timeout
        while True:
            # Before the agent speaks, firmware and a resetting machine leave noise on the line.
            line = self._line(deadline, "the guest to boot")
            _, said, boot_id = line.rpartition("ready ")
            if said and _BOOT_ID.fullmatch(boot_id):
                self._transcript.append(f"# booted, {boot_id}\n")
                return boot_id

    def run(self, command: str, *, timeout: float = 60.0) -> Result:
        """Run a command to its end, whatever its status.

        Raises:
            CommandTimeoutError: it took longer than `timeout` and was ended.
            GuestLostError: the guest is gone.
        """
        text = command.encode()
        self._transcript.append(f"$ {command}\n")
        self._say(b"run %d\n" % len(text) + text, command)
        output = bytearray()
        try:
            status = self._collect(output, time.monotonic() + timeout, command)
        except _DeadlineError:
            self._kill(output, command)
            said = output.decode(errors="replace")
            raise CommandTimeoutError(f"{command!r} took over {timeout:g} s:\n{said}") from None
        finally:
            self._transcript.append(output.decode(errors="replace"))
        self._transcript.append(f"-> {status}\n")
        return Result(status, output.decode(errors="replace"))

    def check(self, command: str, *, timeout: float = 60.0) -> str:
        """Run a command that must succeed; return what it printed.

        Raises:
            CommandFailedError: its status is not 0.
        """
        result = self.run(command, timeout=timeout)
        if result.status != 0:
            raise CommandFailedError(f"{command!r}: status {result.status}\n{result.output}")
        return result.output

    def wait_until(self, condition: str, *, timeout: float = 60.0) -> None:
        """Wait until a shell condition holds.

        What comes and goes in a file system is no event that a shell can wait for; it looks often.
        """
        self.check(f"until {condition}; do usleep 50000; done", timeout=timeout)

    def send(self, command: str) -> None:
        """Start a command whose end will not be seen, such as a reboot."""
        text = command.encode()
        self._transcript.append(f"$ {command}\n")
        self._say(b"run %d\n" % len(text) + text, command)

    def wait_gone(self, *, timeout: float) -> None:
        """Wait until it is said here that QEMU has ended, if it was not said before."""
        deadline = time.monotonic() + timeout
        while not self._gone:
            with contextlib.suppress(GuestLostError):
                self._line(deadline, "QEMU's end")
            if time.monotonic() > deadline:
                raise GuestLostError(f"waited {timeout:g} s for QEMU's end")

    def transcript(self) -> str:
        """Return all commands and answers so far."""
        return "".join(self._transcript)

    def close(self) -> None:
        """Drop the line."""
        self._channel.close()

    def _say(self, data: bytes, command: str) -> None:
        try:
            self._channel.sendall(data)
        except ConnectionError:
            raise GuestLostError(f"QEMU ended before {command!r}") from None

    def _kill(self, output: bytearray, command: str) -> None:
        self._say(b"kill\n", command)
        try:
            self._collect(output, time.monotonic() + _GRACE, command)
        except _DeadlineError:
            said = output.decode(errors="replace")
            raise GuestLostError(f"{command!r} cannot be ended:\n{said}") from None

    def _collect(self, output: bytearray, deadline: float, command: str) -> int:
        while True:
            word, _, value = self._line(deadline, command).partition(" ")
            if word == "exit":
                return int(value)
            if word != "out":
                raise GuestLostError(f"the agent said {word!r} during {command!r}")
            output += self._take(int(value), deadline, command)

    def _line(self, deadline: float, what: str) -> str:
        while (end := self._buffer.find(b"\n")) < 0:
            self._fill(deadline, what)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        if line.endswith(b"gone"):
            # Said in the agent's place, where its QEMU's end does not close the line.
            self._gone = True
            raise GuestLostError(f"QEMU ended, waiting for {what}")
        return line.decode(errors="replace")

    def _take(self, count: int, deadline: float, what: str) -> bytes:
        while len(self._buffer) < count:
            self._fill(deadline, what)
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _fill(self, deadline: float, what: str) -> None:
        left = max(0.0, deadline - time.monotonic())
        readable, _, _ = select.select([self._channel], [], [], left)
        if not readable:
            raise _DeadlineError(f"no answer in time, waiting for {what}")
        try:
            data = self._channel.recv(_READ_SIZE)
        except ConnectionError:
            data = b""
        if not data:
            raise GuestLostError(f"QEMU ended, waiting for {what}")
        self._buffer += data


class _DeadlineError(GuestLostError):
    pass
