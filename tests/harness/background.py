"""A command that runs in the guest beside the others."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from .machine import Machine

_PATIENCE = 120.0


class Background:
    """A shell command in the guest; as a context manager it is told to stop, and must end well.

    It finds in `$STOP` the name of a file that is there when it should end.
    """

    def __init__(self, machine: Machine, name: str, command: str) -> None:
        self._machine = machine
        self._base = f"/tmp/background-{name}"
        self._command = command

    def start(self) -> Self:
        """Start it."""
        base = self._base
        inner = f"export STOP={base}.stop; ({self._command}); echo $? > {base}.status"
        self._machine.console.check(
            f"rm -f {base}.*; setsid sh -c {shlex.quote(inner)} > {base}.out 2>&1 < /dev/null &"
        )
        return self

    def output(self) -> str:
        """Return what it has written so far."""
        return self._machine.console.check(f"cat {self._base}.out")

    def wait_for_more(self, lines: int) -> None:
        """Wait until it has written so many lines, or has ended."""
        count = f"$(wc -l < {self._base}.out)"
        self._machine.console.check(
            f"until [ {count} -ge {lines} ] || [ -s {self._base}.status ]; do sleep 0.05; done",
            timeout=_PATIENCE,
        )

    def wait(self) -> int:
        """Wait for its end; its exit status."""
        self._machine.console.check(
            f"until [ -s {self._base}.status ]; do sleep 0.05; done", timeout=_PATIENCE
        )
        return int(self._machine.console.check(f"cat {self._base}.status"))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: object, *_: object) -> None:
        self._machine.console.check(f"touch {self._base}.stop")
        if kind is None:
            status = self.wait()
            assert status == 0, f"{self._command}: status {status}\n{self.output()}"


def verifying(node: str) -> str:
    """Write a disk and verify it, a line for each round, until told to stop.

    It fails where it reads another thing than it has written.
    """
    fio = (
        f"fio --name=v --filename={node} --rw=randwrite --bs=4k"
        " --iodepth=8 --ioengine=io_uring --direct=1 --size=1m --verify=crc32c --do_verify=1"
        " --verify_fatal=1 --verify_dump=0 --minimal"
    )
    return f"until [ -e $STOP ]; do {fio} >/tmp/fio.out || exit 1; echo round; done"
