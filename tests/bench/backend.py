"""One back-end process on one core, and what it weighs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .series import Contender, Load, Medium, Store

#: The front-end's memory, by the name it gives its memfd; not the back-end's own weight.
GUEST_MEMORY = "/memfd:vhost-pvscsi-guest"

#: How long a back-end may take to end after SIGTERM.
END_SECONDS = 20


class BenchError(Exception):
    """A measurement could not be made; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a measurement takes, in seconds."""

    measured: float
    ramp: float
    idle: float = 0.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Which side runs where."""

    back_end: int
    front_end: int

    @staticmethod
    def choose() -> Cores:
        """Two different cores, where there are two."""
        usable = sorted(os.sched_getaffinity(0))
        return Cores(usable[0], usable[-1])


@contextlib.contextmanager
def running_on(core: int) -> Iterator[None]:
    """Let what is started in here inherit one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class BackEnd:
    """A running back-end."""

    process: subprocess.Popen[bytes]
    socket_path: Path

    def resident_kib(self) -> int:
        """Its resident memory without the front-end's; 0 when it has ended."""
        try:
            text = Path(f"/proc/{self.process.pid}/smaps").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return resident_kib(text)


def resident_kib(smaps: str) -> int:
    """Sum the Rss lines of all mappings but the front-end's memory."""
    total, counted = 0, True
    for line in smaps.splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            counted = GUEST_MEMORY not in line
        elif counted and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


@contextlib.contextmanager
def serving(contender: Contender, medium: Medium, store: Store, cores: Cores) -> Iterator[BackEnd]:
    """Start a back-end on a socket that is bound before; end it, ours by SIGTERM."""
    with (
        tempfile.TemporaryDirectory(prefix="vhost-pvscsi-bench-") as directory,
        tempfile.TemporaryFile() as errors,
    ):
        path = Path(directory) / "socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(1)
            command = contender.command(medium, store, listener.fileno())
            with running_on(cores.back_end):
                process = subprocess.Popen(
                    command, pass_fds=[listener.fileno()], stdout=errors, stderr=errors
                )
        # Our copy of the listener is closed: if the back-end dies, a front-end's connection
        # ends instead of waiting in a backlog that nobody accepts from.
        try:
            yield BackEnd(process, path)
            if contender.ours:
                stop(process, command)
            else:
                # QEMU 7.2's sometimes hangs when SIGTERM meets a front-end that leaves.
                process.kill()
                process.wait()
        except BaseException as error:
            process.kill()
            process.wait()
            errors.seek(0)
            error.add_note(f"{' '.join(command)}\n{errors.read().decode(errors='replace')}")
            raise


def stop(process: subprocess.Popen[bytes], command: list[str]) -> None:
    """End a back-end; it has to do so in time and with status 0."""
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{command[0]} did not end in {END_SECONDS} s after SIGTERM") from None
    if status != 0:
        raise BenchError(f"{command[0]} ended with status {status}")


def drive(
    front_end: Path,
    back_end: BackEnd,
    contender: Contender,
    load: Load,
    timing: Timing,
    cores: Cores,
    watch: Callable[[], object] | None = None,
    requests: int | None = None,
) -> dict[str, Any]:
    """Run the front-end once, for a time or for a number of requests.

    `watch` is called a few times a second meanwhile.
    """
    command = [
        str(front_end),
        *("--socket", str(back_end.socket_path)),
        *("--device", contender.device),
        *("--rw", load.rw),
        *("--bs", str(load.block)),
        *("--iodepth", str(load.depth)),
        *(("--requests", str(requests)) if requests else ("--seconds", str(timing.measured))),
        *("--ramp", str(0 if requests else timing.ramp)),
        *("--idle", str(timing.idle)),
        *("--cpu", str(cores.front_end)),
        *("--back-end-pid", str(back_end.process.pid)),
    ]
    deadline = timing.measured + timing.ramp + timing.idle + 60
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        out, err = _finish(process, deadline, watch)
    if process.returncode != 0:
        raise BenchError(f"front-end, {load.name}: {err.strip()}\n{' '.join(command)}")
    found: dict[str, Any] = json.loads(out)
    return found


def _finish(
    process: subprocess.Popen[str], deadline: float, watch: Callable[[], object] | None
) -> tuple[str, str]:
    slices = int(deadline / 0.25)
    for _ in range(slices):
        try:
            return process.communicate(timeout=0.25)
        except subprocess.TimeoutExpired:
            if watch is not None:
                watch()
    process.kill()
    raise BenchError(f"the front-end did not end in {deadline:.0f} s")
