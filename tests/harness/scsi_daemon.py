"""The back-end under test in the guest that is a host with SCSI devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .daemon import program
from .xen_daemon import CONTROL, PATIENCE, OuterDaemon

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .nested import OuterHost

__all__ = ["CONTROL", "PATIENCE", "SOCKET", "ScsiDaemon"]

#: Where it listens, in that guest.
SOCKET = Path("/run/scsi0.sock")


class ScsiDaemon(OuterDaemon):
    """One `vhost-pvscsi serve` with one virtual host; it ends with the guest."""

    def __init__(
        self,
        host: OuterHost,
        luns: Sequence[str],
        *,
        options: Sequence[str] = (),
        opened: Mapping[int, str] | None = None,
    ) -> None:
        """Prepare one with LUNs, VDEV=PDEV[,OPTION...] each.

        `opened` are nodes, by descriptor, that whoever starts it opens for it.
        """
        super().__init__(host)
        opening = "".join(f" {number}<>{node}" for number, node in (opened or {}).items())
        self._opener = ["sh", "-c", f'exec "$@"{opening}', "sh"] if opened else []
        self._words = [*options, *(word for lun in luns for word in ("--lun", lun))]

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._host.check(f"rm -f {SOCKET} {CONTROL}")
        command = [str(program()), "serve", "--socket-path", str(SOCKET), "--control", str(CONTROL)]
        self._process = self._host.start([*self._opener, *command, *self._words])
        self.wait_for("listening on")
