"""HostDevice: a device of the host, as sysfs and udev describe it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vhost_pvscsi.identity import HostAddress

#: What is no SCSI device, and can be the block device behind an emulated disk.
BLOCK = "block"
#: A disk that is reached by several paths, by one block device of device-mapper.
MULTIPATH = "multipath"
#: How the UUID of its map begins; multipath-tools puts the WWID (scsi_id's) behind it.
MULTIPATH_UUID = "mpath-"


@dataclass(frozen=True, slots=True)
class Nodes:
    """Device nodes by the driver that made them, whole paths; "": there is none."""

    sg: str = ""
    sd: str = ""
    sr: str = ""
    st: str = ""  #: rewinds when it is closed
    nst: str = ""
    sch: str = ""
    bsg: str = ""
    block: str = ""  #: of block devices that are no SCSI devices

    def there(self) -> Iterator[tuple[str, str]]:
        """Give those that there are, each with its kind."""
        for kind in ("sg", "sd", "sr", "st", "nst", "sch", "bsg", "block"):
            if path := getattr(self, kind):
                yield kind, path

    @property
    def usual(self) -> str:
        """The one that people know the device by."""
        return self.sd or self.sr or self.nst or self.sch or self.block or self.sg


@dataclass(frozen=True, slots=True)
class Usage:
    """Who uses a device, as far as sysfs and /proc tell. A look at one moment."""

    mounted: tuple[str, ...] = ()  #: mount points of it and its partitions; "[SWAP]"
    holders: tuple[str, ...] = ()  #: block devices made of it: dm-0, md127
    processes: tuple[str, ...] = ()  #: who has a node of it open: NAME[PID]
    exclusive: bool = False  #: whether its sg node is opened with O_EXCL

    @property
    def claimed(self) -> bool:
        """Whether the host's own data would suffer if somebody else wrote to it."""
        return bool(self.mounted or self.holders or self.exclusive)

    def __str__(self) -> str:
        told = [
            *(f"mounted at {at}" if at.startswith("/") else "swap" for at in self.mounted),
            *(f"part of {holder}" for holder in self.holders),
            *(["open exclusively"] if self.exclusive else []),
            *(f"open by {process}" for process in self.processes),
        ]
        return ", ".join(told)


#: Nobody uses it, or nobody has looked.
UNUSED = Usage()


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device is recognised by when it comes back, wherever that is."""

    type: str
    vendor: str
    product: str
    name: str  #: `wwn:...` or `serial:...`


@dataclass(frozen=True, slots=True)
class HostDevice:
    """A device of the host."""

    address: HostAddress | None  #: None: it is no SCSI device
    type: str  #: "disk", "tape", "changer", "cd", ...; `BLOCK`; `MULTIPATH`
    vendor: str
    product: str
    revision: str
    serial: str  #: "": it has told none
    wwn: str  #: NAA or EUI-64, hexadecimal digits; "": it has none
    nodes: Nodes
    state: str = ""  #: as Linux sees it: "running", "offline"
    size: int | None = None  #: bytes; None: nothing to be told of its type, or no medium
    links: tuple[str, ...] = ()  #: /dev/disk/by-*/..., /dev/tape/by-*/...
    #: Device numbers of all its nodes and partitions, `b8:1` or `c21:0`.
    numbers: frozenset[str] = field(default=frozenset(), repr=False)
    #: What it said of itself when it came: whole VPD pages by their codes, None is the standard
    #: INQUIRY data. Linux reads some and no others.
    inquiry: Mapping[int | None, bytes] = field(default_factory=dict, repr=False, compare=False)
    #: Of its folder in sysfs: another one is another device, or the same come back.
    incarnation: int = field(default=0, repr=False)
    usage: Usage = field(default=UNUSED, compare=False)

    @property
    def name(self) -> str:
        """What messages call it."""
        if self.address is None:
            return self.nodes.usual
        return f"{self.address} ({self.nodes.usual or 'no node'})"

    @property
    def place(self) -> str:
        """Where it is on this host."""
        return self.nodes.block if self.address is None else str(self.address)

    @property
    def commands_by(self) -> str:
        """The node that takes SCSI commands, a whole path; "": there is none."""
        return self.nodes.block if self.type == MULTIPATH else self.nodes.sg

    @property
    def presence(self) -> tuple[HostAddress | None, int]:
        """What no other device has, nor this one when it has been away."""
        return self.address, self.incarnation

    @property
    def identity(self) -> Identity | None:
        """What it is recognised by; None: it has told nothing that others could not tell too."""
        if not self.wwn and not self.serial:
            return None
        name = f"wwn:{self.wwn}" if self.wwn else f"serial:{self.serial}"
        return Identity(self.type, self.vendor, self.product, name)

    def is_again(self, other: HostDevice) -> bool:
        """Whether this is that device, come back: by what both say of themselves.

        One that has no name of its own is recognised by its address, and what it is.
        """
        if self.identity is not None or other.identity is not None:
            return self.identity == other.identity
        return (self.address, self.type, self.vendor, self.product) == (
            *(other.address, other.type, other.vendor, other.product),
        )

    @property
    def steady_name(self) -> str:
        """The name by which it is best attached: one that stays when it moves, if it has any."""
        if self.type == MULTIPATH and self.wwn:
            return f"wwn:{self.wwn}"
        by_id = [link for link in self.links if "/by-id/" in link]
        if self.address is None:
            return next(iter(by_id), self.nodes.usual)
        if self.wwn:
            return f"wwn:{self.wwn}"
        return f"serial:{self.serial}" if self.serial else str(self.address)
