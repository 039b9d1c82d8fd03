"""What the control socket needs of the daemon: hosts and LUNs that come and go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vhost_pvscsi.engine import LunCounters
    from vhost_pvscsi.identity import Address


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A virtual host, as an operator sees it."""

    number: int
    socket: str  #: its path, or "fd N"
    connected: bool  #: whether a front-end is
    luns: int  #: how many it has


@dataclass(frozen=True, slots=True)
class LunStatus:
    """A LUN, as an operator sees it."""

    address: Address
    pdev: str
    type: str  #: "disk"
    blocks: int
    block_size: int  #: bytes
    read_only: bool
    serial: str
    naa: str  #: hexadecimal digits
    state: str  #: "running", "detaching" or "offline"
    faults: int  #: fault rules that are set


@dataclass(frozen=True, slots=True)
class LunStatistics:
    """What a LUN has done since it was attached."""

    address: Address
    pdev: str
    attachment: int  #: a number that no other attachment of this daemon's life has
    counters: LunCounters


class Operator(Protocol):
    """Carries out what clients ask.

    What a person could put right is a `VhostPvscsiError` with a hint; anything else is a bug.
    """

    async def attach_host(self, number: int, path: Path) -> None: ...

    async def detach_host(self, number: int, *, force: bool, patience: float) -> None: ...

    async def attach(self, address: Address, pdev: str) -> None: ...

    async def detach(self, address: Address, *, force: bool, patience: float) -> None: ...

    def hosts(self) -> list[HostStatus]: ...

    def luns(self, host: int | None = None) -> list[LunStatus]: ...

    async def set_faults(self, address: Address, rules: Sequence[str]) -> None: ...

    def faults(self, address: Address) -> list[dict[str, object]]: ...

    def stats(self) -> list[dict[str, object]]: ...

    async def lun_stats(self, host: int | None = None) -> list[LunStatistics]: ...

    def stop(self) -> None: ...
