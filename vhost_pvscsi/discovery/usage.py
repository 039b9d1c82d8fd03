"""Who uses devices: mounts, swap, open nodes, as /proc tells. Pure; `proc.py` reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .device import HostDevice, Usage

#: What stands for swap space among mount points.
SWAP = "[SWAP]"


@dataclass(frozen=True, slots=True)
class Opened:
    """A process that has a device open."""

    number: str  #: of the device, `b8:1` or `c21:0`
    process: str  #: NAME[PID]


@dataclass(frozen=True, slots=True)
class Uses:
    """What is in use, all of it."""

    mounts: Mapping[str, Sequence[str]] = field(default_factory=dict)  #: number -> where
    opened: Sequence[Opened] = ()
    exclusive: frozenset[str] = frozenset()  #: sg nodes opened with O_EXCL, `sg0`

    def of(self, device: HostDevice) -> Usage:
        """What of it concerns a device."""
        mounted = {at for number in device.numbers for at in self.mounts.get(number, ())}
        processes = {each.process for each in self.opened if each.number in device.numbers}
        return replace(
            device.usage,
            mounted=tuple(sorted(mounted)),
            processes=tuple(sorted(processes)),
            exclusive=device.nodes.sg.rpartition("/")[2] in self.exclusive,
        )


def read_mountinfo(text: str) -> list[tuple[str, str, str]]:
    """Read /proc/PID/mountinfo: device number of the file system, its source, mount point.

    The number is one of no device where a file system is made of several (btrfs).
    """
    found = []
    for line in text.splitlines():
        head, dash, tail = line.partition(" - ")
        before, after = head.split(), tail.split()
        if dash and len(before) >= 5 and len(after) >= 2:
            found.append((f"b{before[2]}", _plain(after[1]), _plain(before[4])))
    return found


def read_swaps(text: str) -> list[str]:
    """Read /proc/swaps: paths of what is swapped to."""
    return [_plain(line.split()[0]) for line in text.splitlines()[1:] if line.strip()]


def read_sg_debug(text: str) -> frozenset[str]:
    """Read /proc/scsi/sg/debug: nodes that somebody has opened with O_EXCL."""
    return frozenset(
        found[1] for found in re.finditer(r"device=(sg[0-9]+)\b.*\bexcl=1\b", text, re.ASCII)
    )


def _plain(text: str) -> str:
    # proc(5): space, tab, newline and backslash are written in octal.
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
