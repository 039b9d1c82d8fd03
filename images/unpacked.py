"""Programs out of Debian's packages, only unpacked, each set in a folder of the cache."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import archive, build, cache, manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Programs:
    """Which packages: some that are wanted, and what is kept of all that they depend on."""

    name: str  #: of their folder in the cache
    wanted: tuple[str, ...]
    kept: tuple[str, ...]
    libraries: bool = True  #: whether all libraries are kept, too


def make(programs: Programs, *, report: Callable[[str], None] = lambda _: None) -> Path:
    """Return the folder with their files, unpacked first if they are not there."""
    folder = cache.root() / programs.name
    plan = manifest.load()
    stamp = cache.digest(repr(programs), plan.archive.suite)
    with cache.lock(programs.name):
        if not cache.is_current(folder, stamp):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            report(f"{programs.name}, packages")
            _unpack(programs, plan, folder)
            cache.complete(folder, stamp)
    return folder


def _unpack(programs: Programs, plan: manifest.Manifest, folder: Path) -> None:
    apt = build.private_apt(plan)
    libraries = ("lib", "zlib") if programs.libraries else ()
    packages = [
        package
        for package in apt.closure(programs.wanted, suite=plan.archive.suite)
        if package.name in programs.kept or package.name.startswith(libraries)
    ]
    debs = apt.download(packages)
    archive.unpack(debs, folder)
    lock = folder / f"{programs.name}.lock.json"
    lock.write_text(json.dumps(archive.lock_entries(packages, debs), indent=1) + "\n")
