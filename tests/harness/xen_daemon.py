"""The back-end under test in the outer guest, beside the QEMU that emulates Xen."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from .daemon import program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .nested import OuterHost, OuterProcess

#: Paths in the outer guest.
SOCKET = Path("/run/vscsi0.sock")
CONTROL = Path("/run/control.sock")
#: What anything may need under two emulations on a busy machine. Python's start alone takes 10 s.
PATIENCE = 300.0


class OuterDaemon:
    """One `vhost-pvscsi serve`; it ends with the outer guest."""

    def __init__(
        self, host: OuterHost, luns: Sequence[str], *, options: Sequence[str] = ()
    ) -> None:
        self._host = host
        self._luns = tuple(luns)
        self._options = tuple(options)
        self._process: OuterProcess | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._host.check(f"rm -f {SOCKET} {CONTROL}")
        luns = [word for lun in self._luns for word in ("--lun", lun)]
        command = [str(program()), "serve", "--socket-path", str(SOCKET)]
        self._process = self._host.start(
            [*command, "--control", str(CONTROL), *self._options, *luns]
        )
        self.wait_for("listening on")

    def wait_for(self, text: str) -> None:
        """Wait until it has logged that text since its start."""
        assert self._process is not None
        self._host.wait_for_line(self._process, text, timeout=PATIENCE)

    def log(self) -> str:
        """Return what it has logged since its start."""
        assert self._process is not None
        return self._host.log(self._process)

    def kill(self) -> None:
        """End it without warning."""
        assert self._process is not None
        self._host.end(self._process, signal="KILL", timeout=PATIENCE)

    def tell(self, *words: str) -> str:
        """Run one of the program's verbs; return what it printed."""
        verb, *rest = words
        command = [str(program()), verb, "--control", str(CONTROL), *rest]
        return self._host.check(shlex.join(command), timeout=PATIENCE)
