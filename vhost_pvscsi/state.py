"""The store: what operators did at run time, kept so that the next daemon has it too.

One file, versioned, replaced whole and on stable storage before anything is in force: after a
crash there is the old one or the new one.

A record holds against what was configured for the same thing when it was made. It says what the
operator wanted *instead of that*: who changes the configuration afterwards has spoken last, and
the record is void.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from .errors import AddressError, DeviceError
from .identity import Address

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

#: The layout of the file.
VERSION = 1
NAME = "attachments.json"

#: Largest file that is read, in bytes: every address of many hosts.
MAX_FILE = 64 << 20

#: What is kept of a host or a LUN: JSON, its layout is its owner's.
Value: TypeAlias = object


@dataclass(frozen=True, slots=True)
class Record:
    """What an operator wanted of one host or LUN."""

    wanted: Value | None  #: None: that it be gone
    configured: Value | None  #: what was configured then; None: nothing


@dataclass(frozen=True, slots=True)
class Records:
    """All of them: hosts by number, LUNs by address."""

    hosts: Mapping[int, Record]
    luns: Mapping[Address, Record]


NOTHING = Records({}, {})


class Store:
    """Keeps records; with no folder only as long as the daemon runs."""

    def __init__(self, folder: Path | None) -> None:
        """Read what is kept.

        A file that makes no sense is set aside, and nothing is known then.

        Raises:
            DeviceError: the file cannot be read, or a later version of this program wrote it.
        """
        self._path = folder / NAME if folder is not None else None
        self._records = _load(self._path) if self._path is not None else NOTHING

    @property
    def records(self) -> Records:
        """What is kept."""
        return self._records

    def keep(self, records: Records) -> None:
        """Put these in the place of those there are; they are on stable storage on return.

        Raises:
            OSError: they could not be written; what was kept before is kept still.
        """
        if self._path is not None and records != self._records:
            replace_file(self._path, json.dumps(_document(records)).encode() + b"\n")
        self._records = records


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole, in the place of the one there may be; on stable storage on return.

    Raises:
        OSError: it could not be written; the old one is still there.
    """
    fresh = path.with_suffix(".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
        os.fsync(fd)
    finally:
        os.close(fd)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_file(path: Path, most: int) -> bytes | None:
    """Read a file; None: there is none. Of one that is longer than `most` that and a byte more.

    Raises:
        DeviceError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DeviceError(f"{path}: {error.strerror}") from error


def _document(records: Records) -> dict[str, object]:
    return {
        "version": VERSION,
        "hosts": _as_json(records.hosts),
        "luns": _as_json(records.luns),
    }


def _as_json(records: Mapping[int, Record] | Mapping[Address, Record]) -> dict[str, object]:
    return {
        str(key): {"wanted": record.wanted, "configured": record.configured}
        for key, record in records.items()
    }


def _load(path: Path) -> Records:
    text = read_file(path, MAX_FILE)
    if text is None:
        return NOTHING
    try:
        held = json.loads(text)
        version = held["version"]
        if isinstance(version, int) and version > VERSION:
            raise DeviceError(
                f"{path}: is of version {version}, this program knows {VERSION}",
                hint="run the version that wrote it, or move it away and attach anew",
            )
        if version != VERSION:
            return _set_aside(path, f"version {version!r}")
        return _records(held)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return _set_aside(path, repr(error))
    except AddressError as error:
        return _set_aside(path, str(error))


def _records(held: Mapping[str, Mapping[str, Mapping[str, Value]]]) -> Records:
    return Records(
        {int(key): _record(value) for key, value in held["hosts"].items()},
        {Address.parse(key): _record(value) for key, value in held["luns"].items()},
    )


def _record(held: Mapping[str, Value]) -> Record:
    return Record(held["wanted"], held["configured"])


def _set_aside(path: Path, why: str) -> Records:
    aside = path.with_suffix(".damaged")
    number = 0
    while aside.exists():
        number += 1
        aside = path.with_suffix(f".damaged-{number}")
    path.rename(aside)
    log.error(
        "%s: is no store (%s): moved to %s, what was attached at run time is not known",
        path,
        why,
        aside.name,
    )
    return NOTHING
