"""What the control socket needs of the daemon: hosts and LUNs that come and go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vhost_pvscsi.devices.changer.changer import MediumChanger
    from vhost_pvscsi.engine import LunCounters
    from vhost_pvscsi.identity import Address


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A virtual host, as an operator sees it."""

    number: int
    socket: str  #: its path, or "fd N"
    connected: bool  #: whether a front-end is
    luns: int  #: how many it has
    problem: str | None = None  #: why it should be there and is not


@dataclass(frozen=True, slots=True)
class LunStatus:
    """A LUN, as an operator sees it."""

    address: Address
    pdev: str
    type: str  #: "disk", "tape", "cd"; of a forwarded one as its device
    blocks: int
    block_size: int  #: bytes
    read_only: bool
    serial: str
    naa: str  #: hexadecimal digits
    #: "running", "detaching", "offline"; "lost": its device has gone; "missing": it should be there
    #: and is not
    state: str
    faults: int  #: fault rules that are set
    denied: int  #: commands that its policy has refused
    problem: str | None = None  #: why it is missing
    #: Of a SCSI device that is forwarded: its h:c:t:l on the host; a multipath device's node.
    device: str | None = None
    guest_state: str | None = None  #: what a pvSCSI guest made of it: transports.base.GuestState
    medium: str | None = None  #: of a drive: the file that is in it
    loaded: bool | None = None  #: of a drive: whether a guest can use what is in it


@dataclass(frozen=True, slots=True)
class Size:
    """How large a LUN is."""

    blocks: int
    block_size: int  #: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What reading the configuration again did to one thing."""

    what: str  #: "host 1", "LUN 0:0:1:0", "threads"
    done: str
    problem: str | None = None  #: why it could not be done


@dataclass(frozen=True, slots=True)
class LunStatistics:
    """What a LUN has done since it was attached."""

    address: Address
    pdev: str
    attachment: int  #: a number that no other attachment of this daemon's life has
    counters: LunCounters
    denied: int  #: commands that its policy has refused


class Operator(Protocol):
    """Carries out what clients ask.

    What a person could put right is a `VhostPvscsiError` with a hint; anything else is a bug.
    """

    async def attach_host(
        self, number: int, options: Mapping[str, object], *, transient: bool
    ) -> None: ...

    async def detach_host(self, number: int, *, force: bool, patience: float) -> None: ...

    async def attach(
        self, address: Address, pdev: str, *, transient: bool, passed: int | None = None
    ) -> None: ...

    async def detach(self, address: Address, *, force: bool, patience: float) -> None: ...

    async def resize(self, address: Address) -> Size: ...

    async def insert_medium(
        self, address: Address, path: Path, *, force: bool, transient: bool
    ) -> None: ...

    async def eject_medium(self, address: Address, *, force: bool, transient: bool) -> None: ...

    def hosts(self) -> list[HostStatus]: ...

    def luns(self, host: int | None = None) -> list[LunStatus]: ...

    def changer(self, address: Address) -> MediumChanger: ...

    async def set_faults(self, address: Address, rules: Sequence[str]) -> None: ...

    def faults(self, address: Address) -> list[dict[str, object]]: ...

    def stats(self) -> list[dict[str, object]]: ...

    async def lun_stats(self, host: int | None = None) -> list[LunStatistics]: ...

    async def reload(self, *, forget: bool) -> list[Change]: ...

    def stop(self) -> None: ...
