"""udevd out of Debian's packages, only unpacked, for a guest that plays a host.

It runs with the libraries of the host whose file system such a guest sees. `python -m images.udev`
unpacks it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import archive, build, cache, manifest
from .errors import RigError

if TYPE_CHECKING:
    from collections.abc import Callable

#: The rest of its closure is there wherever a Debian is.
_PACKAGES = frozenset({"udev", "libkmod2"})


def make(*, report: Callable[[str], None] = lambda _: None) -> Path:
    """Return the folder with its files, unpacked first if they are not there."""
    folder = cache.root() / "udev"
    stamp = cache.digest(files=(Path(__file__), manifest.PATH))
    with cache.lock("udev"):
        if not cache.is_current(folder, stamp):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            report("udev")
            plan = manifest.load()
            apt = build.private_apt(plan)
            wanted = apt.closure(["udev"], suite=plan.archive.suite)
            packages = [package for package in wanted if package.name in _PACKAGES]
            archive.unpack(apt.download(packages), folder)
            cache.complete(folder, stamp)
    return folder


def main() -> int:
    """Unpack it from the command line."""
    try:
        print(make(report=lambda step: print(step, file=sys.stderr)))
    except RigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
