"""The verbs of the command line, typed at a daemon's control socket."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from .daemon import program
from .qmp import Qmp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TIMEOUT = 60.0


class Verbs:
    """Types verbs of `vhost-pvscsi`, each a program of its own, at one control socket."""

    def __init__(self, control: Path) -> None:
        self.control = control

    def __call__(self, *words: str, status: int = 0) -> str:
        """Type a verb, which must end with that status; what it printed, or its error."""
        done = subprocess.run(
            [str(program()), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
            env={**os.environ, "VHOST_PVSCSI_CONTROL": str(self.control)},
        )
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stderr}"
        return done.stderr if status else done.stdout

    def listed(self) -> dict[str, dict[str, Any]]:
        """Return what `scsi-list --json` says, by VDEV."""
        return {lun["vdev"]: lun for lun in json.loads(self("scsi-list", "--json"))}

    @contextmanager
    def client(self) -> Iterator[Qmp]:
        """Return the `qemu.qmp` client there, for what a program at a time would be slow at."""
        with closing(socket.socket(socket.AF_UNIX)) as channel:
            channel.connect(str(self.control))
            with closing(Qmp(channel)) as qmp:
                yield qmp
