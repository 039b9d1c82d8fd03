"""Reads what sysfs has on devices. These files send no command: the kernel knows already."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from vhost_pvscsi.identity import HostAddress

from .facts import INQUIRY, NODE_CLASSES, Facts

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSFS = Path("/sys")

#: Of a SCSI device; what it said of itself is read by the kernel when it comes.
_SCSI = ("type", "vendor", "model", "rev", "state", "wwid", *INQUIRY.values())
#: Of another block device: virtio-blk, NVMe, and what others have of the same names.
_BLOCK = (
    *("serial", "wwid", "device/model", "device/serial", "device/firmware_rev", "device/wwid"),
    *("dm/name", "dm/uuid"),
)

#: VPD pages have a length of two bytes (SPC-5 7.7.2).
_MOST = 4 + 0xFFFF


def scsi_facts(root: Path = SYSFS) -> Iterator[Facts]:
    """Read all SCSI devices, by address."""
    with contextlib.suppress(FileNotFoundError):
        names = {
            address: entry.name
            for entry in (root / "bus/scsi/devices").iterdir()
            if (address := HostAddress.match(entry.name)) is not None
        }
        for address in sorted(names):
            if (facts := scsi_device(names[address], root)) is not None:
                yield facts


def scsi_device(name: str, root: Path = SYSFS) -> Facts | None:
    """Read the SCSI device at an address; None: there is none, or it has just gone."""
    folder = root / "bus/scsi/devices" / name
    try:
        # kernfs gives numbers of what went to what comes only after all others.
        incarnation = folder.stat().st_ino
    except OSError:
        return None
    attributes = _attributes(folder, _SCSI)
    if "type" not in attributes:
        return None
    nodes: dict[str, list[str]] = {}
    numbers, holders, sectors = set(), set(), None
    for kind in NODE_CLASSES:
        for node in _entries(folder / kind):
            event = _event(node)
            if "DEVNAME" in event:
                nodes.setdefault(kind, []).append(event["DEVNAME"])
            numbers |= _numbers(node, "b" if kind == "block" else "c")
            if kind == "block":
                holders |= _holders(node)
                sectors = _number(node / "size")
    return Facts(
        name,
        attributes,
        nodes,
        sectors,
        numbers=sorted(numbers),
        holders=sorted(holders),
        incarnation=incarnation,
    )


def addresses(root: Path = SYSFS) -> frozenset[tuple[str, int]]:
    """Say which SCSI devices there are, and which incarnation of each; nothing is read of them."""
    found = set()
    for entry in _entries(root / "bus/scsi/devices"):
        with contextlib.suppress(OSError):
            found.add((entry.name, entry.stat().st_ino))
    return frozenset(found)


def block_facts(root: Path = SYSFS) -> Iterator[Facts]:
    """Read all block devices that have blocks and are no SCSI devices, by name."""
    for node in _entries(root / "block"):
        if HostAddress.match((node / "device").resolve().name) is not None:
            continue
        facts = _block(node)
        # Loop devices without a file, drives without a medium.
        if facts.sectors:
            yield facts


def block_device(path: str, root: Path = SYSFS) -> Facts | None:
    """Read the block device whose node a path leads to, if it is no partition; it is not opened.

    None: it leads to no such node.

    Raises:
        OSError: it leads nowhere.
    """
    found = Path(path).stat()
    if not stat.S_ISBLK(found.st_mode):
        return None
    number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    node = root / "block" / (root / "dev/block" / number).resolve().name
    return _block(node) if node.exists() else None


def is_mapped(path: str, root: Path = SYSFS) -> bool:
    """Whether a path leads to the node of a block device that device-mapper made.

    Raises:
        OSError: it leads nowhere.
    """
    facts = block_device(path, root)
    return facts is not None and "dm/name" in facts.attributes


def _block(node: Path) -> Facts:
    return Facts(
        node.name,
        _attributes(node, _BLOCK),
        sectors=_number(node / "size"),
        numbers=sorted(_numbers(node, "b")),
        holders=sorted(_holders(node)),
        incarnation=node.stat().st_ino,
    )


def node_of(path: str, root: Path = SYSFS) -> str | None:
    """Find the address of the SCSI device whose node a path leads to; it is not opened.

    None: it leads to no node of a SCSI device.

    Raises:
        OSError: it leads nowhere.
    """
    found = Path(path).stat()
    if not stat.S_ISCHR(found.st_mode) and not stat.S_ISBLK(found.st_mode):
        return None
    kind = "block" if stat.S_ISBLK(found.st_mode) else "char"
    number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    name = (root / "dev" / kind / number / "device").resolve().name
    return name if HostAddress.match(name) is not None else None


def _attributes(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    attributes = {}
    for name in names:
        # EINVAL, ENXIO: the device has not told it. ENODEV: it goes just now.
        with contextlib.suppress(OSError), (folder / name).open("rb") as file:
            attributes[name] = file.read(_MOST)
    return attributes


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _event(node: Path) -> dict[str, str]:
    text = _attributes(node, ("uevent",)).get("uevent", b"").decode("utf-8", "replace")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _with_partitions(node: Path) -> list[Path]:
    return [node, *(each for each in _entries(node) if (each / "partition").exists())]


def _numbers(node: Path, letter: str) -> set[str]:
    places = _with_partitions(node)
    told = (_attributes(place, ("dev",)).get("dev", b"").decode().strip() for place in places)
    return {f"{letter}{number}" for number in told if number}


def _holders(node: Path) -> set[str]:
    places = _with_partitions(node)
    return {holder.name for place in places for holder in _entries(place / "holders")}


def _number(path: Path) -> int | None:
    text = _attributes(path.parent, (path.name,)).get(path.name, b"").strip()
    return int(text) if text.isdigit() else None
