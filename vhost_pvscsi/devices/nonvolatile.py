"""Nonvolatile memory of units: what guests save, in a folder of the operator's choice.

One JSON file per unit, named by its NAA identifier. A file is replaced whole, never written
into: after a crash there is the old one or the new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.errors import ConfigurationError, DeviceBusyError, DeviceError
from vhost_pvscsi.state import read_file, replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: The layout of the files; another number is another program's, or a later version's.
VERSION = 1

#: Largest file that is read: what guests can save is bounded far below.
MAX_FILE = 1 << 20

_LOCK = ".lock"

#: What a section holds: JSON, its layout is its owner's.
Section: TypeAlias = object


class UnitMemory:
    """The nonvolatile memory of one unit: sections by name."""

    def __init__(self, path: Path, sections: Mapping[str, Section]) -> None:
        self._path = path
        self._sections = dict(sections)
        self._writing = asyncio.Lock()

    @property
    def path(self) -> Path:
        """Its file, for messages."""
        return self._path

    def section(self, name: str) -> Section | None:
        """What is kept under a name, None where nothing is."""
        return self._sections.get(name)

    async def keep(self, name: str, value: Section | None) -> None:
        """Keep a section; None forgets it. It is on stable storage when this returns.

        Raises:
            OSError: it could not be written; what was kept before is kept still.
        """
        async with self._writing:
            sections = {known: old for known, old in self._sections.items() if known != name}
            if value is not None:
                sections[name] = value
            if sections == self._sections:
                return
            # The caller may be cancelled; the file and `_sections` must agree all the same.
            writing = asyncio.ensure_future(asyncio.to_thread(_replace, self._path, sections))
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                with contextlib.suppress(OSError):
                    await writing
                    self._sections = sections
                raise
            self._sections = sections


class StateDirectory:
    """The folder of all units' memories. One daemon has it at a time."""

    def __init__(self, path: Path) -> None:
        """Open it; a folder that is missing is made.

        Raises:
            DeviceError: it cannot be made or written to.
            DeviceBusyError: another daemon has it.
        """
        self.path = path
        self._units: set[bytes] = set()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DeviceError(
                f"state directory {path}: {error.strerror}",
                hint="a folder that can be written to",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise DeviceBusyError(
                f"state directory {path}: another daemon has it",
                hint="give each daemon a folder of its own",
            ) from error

    def unit(self, naa: bytes) -> UnitMemory:
        """Open the memory of the unit with that NAA identifier; an unknown one is empty.

        Raises:
            ConfigurationError: another unit goes by that identifier.
            DeviceError: there is a file that cannot be read or is not ours.
        """
        if naa in self._units:
            raise ConfigurationError(
                f"two LUNs have the NAA identifier {naa.hex()}",
                hint="what guests save is kept by it: wwn= gives each its own",
            )
        self._units.add(naa)
        path = self.path / f"{naa.hex()}.json"
        return UnitMemory(path, _load(path))

    def release(self, naa: bytes) -> None:
        """Forget that a unit of that identifier is there; its file stays."""
        self._units.discard(naa)

    def close(self) -> None:
        """Let another daemon have it."""
        os.close(self._lock)


def _load(path: Path) -> dict[str, Section]:
    text = read_file(path, MAX_FILE)
    if text is None:
        return {}
    try:
        held = json.loads(text) if len(text) <= MAX_FILE else None
    except ValueError:
        held = None
    if isinstance(held, dict) and held.get("version") == VERSION:
        sections = held.get("sections")
        if isinstance(sections, dict):
            return sections
    raise DeviceError(
        f"{path}: is not a unit's state as this program writes it",
        hint="move it away, and the unit starts with nothing saved",
    )


def _replace(path: Path, sections: Mapping[str, Section]) -> None:
    text = json.dumps({"version": VERSION, "sections": sections}, indent=1, sort_keys=True)
    replace_file(path, text.encode() + b"\n")
