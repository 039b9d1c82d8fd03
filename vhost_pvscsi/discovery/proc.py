"""Reads /proc for who uses devices. Nothing is opened but files of /proc."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from .usage import SWAP, Opened, Uses, read_mountinfo, read_sg_debug, read_swaps

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC = Path("/proc")


def uses(root: Path = PROC, *, processes: bool = True) -> Uses:
    """Look who uses what. Without `processes` open nodes are left out: they take longest.

    Of processes of other users only root sees what they have open.
    """
    mounts: dict[str, list[str]] = {}
    # Ours, and init's: in a container they differ.
    for who in ("self", "1"):
        for number, source, where in read_mountinfo(_text(root / who / "mountinfo")):
            for each in {number, number_of(source) if source.startswith("/dev/") else None}:
                if each is not None:
                    mounts.setdefault(each, []).append(where)
    for path in read_swaps(_text(root / "swaps")):
        if (found := number_of(path)) is not None:
            mounts.setdefault(found, []).append(SWAP)
    return Uses(
        mounts,
        tuple(_opened(root)) if processes else (),
        read_sg_debug(_text(root / "scsi/sg/debug")),
    )


def _opened(root: Path) -> Iterator[Opened]:
    for process in root.iterdir():
        if not process.name.isdigit():
            continue
        numbers = set(_numbers_of(process / "fd"))
        if numbers:
            name = _text(process / "comm").strip()
            yield from (Opened(number, f"{name}[{process.name}]") for number in sorted(numbers))


def _numbers_of(folder: Path) -> Iterator[str]:
    # ENOENT: it has ended; EACCES: it is another user's.
    with contextlib.suppress(OSError):
        for descriptor in folder.iterdir():
            with contextlib.suppress(OSError):
                if str(descriptor.readlink()).startswith("/dev/"):
                    number = number_of(str(descriptor))
                    if number is not None:
                        yield number


def number_of(path: str) -> str | None:
    """Find the number of a device, `b8:1` or `c21:0`, by a path to its node; None: it is none.

    stat(2) opens nothing.
    """
    try:
        found = Path(path).stat()
    except OSError:
        return None
    for letter, is_one in (("b", stat.S_ISBLK), ("c", stat.S_ISCHR)):
        if is_one(found.st_mode):
            return f"{letter}{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
