"""Devices of a host in a guest, asked through the back-end there and without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import inside
from .frontend import GOOD, Response
from .scsi_daemon import SOCKET, ScsiDaemon

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .scsi_host import ScsiHost


@dataclass(slots=True)
class Forwarding:
    """The host, the back-end, and where each device is."""

    host: ScsiHost
    daemon: ScsiDaemon
    addresses: dict[int, str]  #: by target: h:c:t:l
    nodes: dict[int, str]  #: by target: SG nodes

    def ask(
        self, target: int, cdb: str, *, data_out: bytes = b"", data_in: int = 0, piece: int = 0
    ) -> Response:
        """Send a command through the back-end; the CDB in hexadecimal digits."""
        return self.host.inside.call(
            inside.scsi,
            target,
            0,
            bytes.fromhex(cdb),
            data_out=data_out,
            data_in=data_in,
            piece=piece,
        )

    def direct(
        self, target: int, cdb: str, *, data_out: bytes = b"", data_in: int = 0
    ) -> inside.Direct:
        """Send a command to the device itself."""
        return self.host.inside.call(
            inside.direct,
            self.nodes[target],
            bytes.fromhex(cdb),
            data_out=data_out,
            data_in=data_in,
        )

    def submit(self, target: int, cdb: str, *, tag: int, data_in: int = 0) -> None:
        """Send a command and do not wait for its end."""
        self.host.inside.call(
            inside.submit, target, 0, bytes.fromhex(cdb), data_in=data_in, tag=tag
        )

    def wait(self, tag: int) -> Response:
        """Wait for its end."""
        return self.host.inside.call(inside.wait, tag)

    def is_done(self, tag: int) -> bool:
        """Whether it has come."""
        return self.host.inside.call(inside.is_done, tag)

    def tmf(self, function: int, target: int, tag: int = 0) -> int:
        """Ask for task management."""
        return self.host.inside.call(inside.tmf, function, target, 0, tag)

    def connect(self) -> None:
        """Connect the front-end, and hear what there is to hear at first."""
        self.host.inside.call(inside.connect, str(SOCKET))
        self._hear(self.nodes)

    def connect_to(self, *targets: int) -> None:
        """Connect the front-end, and hear what these targets have to tell at first."""
        self.host.inside.call(inside.connect, str(SOCKET))
        self._hear(targets)

    def _hear(self, targets: Iterable[int]) -> None:
        for target in targets:
            for _ in range(6):
                if self.ask(target, "00" * 6).status == GOOD:
                    break
