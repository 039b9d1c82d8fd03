"""What is measured: loads, media and contenders, and the points they make."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1 << 10
MIB = 1 << 20

#: What qemu-storage-daemon's iothread polls by default (QEMU 7.2, iothread.c), in microseconds.
QEMU_POLL_US = 32


@dataclass(frozen=True, slots=True)
class Load:
    """What the front-end asks for."""

    rw: str
    block: int
    depth: int

    @property
    def name(self) -> str:
        return f"{self.rw} {self.block // KIB}k qd{self.depth}"


#: 4 KiB at random, shallow and deep, and 128 KiB in sequence.
LOADS = (
    Load("randread", 4 * KIB, 1),
    Load("randread", 4 * KIB, 32),
    Load("randwrite", 4 * KIB, 1),
    Load("randwrite", 4 * KIB, 32),
    Load("read", 128 * KIB, 8),
    Load("write", 128 * KIB, 8),
)


class Medium(enum.StrEnum):
    """What is behind the LUN."""

    NULL = "null"
    RAM = "ram"  #: the peer has no such thing; it gets a file on tmpfs
    FILE = "file"  #: a raw file that is in the page cache


@dataclass(frozen=True, slots=True)
class Store:
    """Where the media are."""

    size: int
    file: Path
    tmpfs: Path


@dataclass(frozen=True, slots=True)
class Contender:
    """One back-end in one setting."""

    name: str
    program: str
    ours: bool
    poll_us: int = 0

    @property
    def device(self) -> str:
        return "scsi" if self.ours else "blk"

    def command(self, medium: Medium, store: Store, fd: int) -> list[str]:
        """Its command line, to serve `medium` on the listening socket `fd`."""
        return self._our_command(medium, store, fd) if self.ours else self._peer(medium, store, fd)

    def _our_command(self, medium: Medium, store: Store, fd: int) -> list[str]:
        pdev = {
            Medium.NULL: f"null:{store.size}",
            Medium.RAM: f"ram:{store.size}",
            Medium.FILE: f"{store.file},cache=writeback",
        }[medium]
        poll = ["--poll-us", str(self.poll_us)] if self.poll_us else []
        return [self.program, "serve", "--fd", str(fd), "--lun", f"0:0:0:0={pdev}", *poll]

    def _peer(self, medium: Medium, store: Store, fd: int) -> list[str]:
        path = store.tmpfs if medium is Medium.RAM else store.file
        # No locks: the peer is killed, and its io_uring may hold the file a moment longer.
        file = f"driver=file,node-name=disk,filename={path},aio=io_uring,locking=off"
        null = f"driver=null-co,node-name=disk,size={store.size},read-zeroes=on"
        node = null if medium is Medium.NULL else file
        export = "type=vhost-user-blk,id=export,node-name=disk,iothread=io,writable=on"
        return [
            self.program,
            *("--blockdev", node),
            *("--object", f"iothread,id=io,poll-max-ns={self.poll_us * 1000}"),
            *("--export", f"{export},addr.type=fd,addr.str={fd}"),
        ]


def contenders(ours: dict[str, str], peer: str | None) -> list[Contender]:
    """Ours (by name: program) without and with polling, and the peer with and without.

    Ours does not poll unless told to; the peer's iothread polls unless told not to. The first
    of ours and the first peer are each other's opposite: both as they come.
    """
    found = [Contender(name, program, ours=True) for name, program in ours.items()]
    found += [
        Contender(f"{name} poll", program, ours=True, poll_us=QEMU_POLL_US)
        for name, program in ours.items()
    ]
    if peer is not None:
        found.insert(1, Contender("qsd", peer, ours=False, poll_us=QEMU_POLL_US))
        found.append(Contender("qsd nopoll", peer, ours=False))
    return found
