"""The guest with Debian's Bacula in it: director, storage, file daemon, console, btape.

The plain guest stays as small as it is: Bacula is an archive of its own, after the plain one.
`python -m images.bacula` makes it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import build, cache, command_line, cpio, elf, foreign, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable

_PACKAGES = ("bacula-common", "bacula-director", "bacula-sd", "bacula-fd", "bacula-console")
_CATALOG = ("bacula-director-sqlite3", "bacula-common-sqlite3", "sqlite3")
_BACULA = unpacked.Programs("bacula", (*_PACKAGES, *_CATALOG), (*_PACKAGES, *_CATALOG))

_PROGRAMS = ("bacula-dir", "bacula-sd", "bacula-fd", "bconsole", "btape", "bls")
_SCRIPTS = ("mtx-changer", "mtx-changer.conf")
#: Makes the catalog's tables; where the harness looks for it.
_TABLES = "usr/share/bacula-director/make_sqlite3_tables"


def make(*, report: Callable[[str], None] = lambda _: None) -> build.GuestImage:
    """Return that guest, made first if it is not there or its inputs changed."""
    plain = build.build(report=report)
    files = unpacked.make(_BACULA, report=report)
    folder = cache.root() / "guest-bacula"
    inputs = (Path(__file__), plain.initramfs, files / "bacula.lock.json")
    stamp = cache.digest(files=inputs)
    with cache.lock(folder.name):
        if not cache.is_current(folder, stamp):
            shutil.rmtree(folder, ignore_errors=True)
            _fill(folder / "tree", files)
            # One archive may follow another (Linux kernel, early-userspace/buffer-format.rst).
            with (folder / "initramfs.cpio").open("wb") as out:
                out.write(plain.initramfs.read_bytes())
                cpio.write(folder / "tree", out)
            shutil.rmtree(folder / "tree")
            cache.complete(folder, stamp)
    return build.GuestImage(plain.kernel, folder / "initramfs.cpio", plain.bzimage)


def _fill(tree: Path, files: Path) -> None:
    # The plain guest has one folder of programs and one of libraries; the rest are links to them.
    for name in ("bin", "lib/bacula", "etc/bacula/scripts", str(Path(_TABLES).parent)):
        (tree / name).mkdir(parents=True)
    programs = [*(files / "usr" / "sbin" / name for name in _PROGRAMS), files / "usr/bin/sqlite3"]
    scripts = [files / "etc/bacula/scripts" / name for name in _SCRIPTS]
    own = files / "usr" / "lib" / "bacula"
    folders = [own, *foreign.library_folders(files)]
    for path in programs:
        shutil.copy(path, tree / "bin" / path.name)
    for path in scripts:
        shutil.copy(path, tree / "etc/bacula/scripts" / path.name)
    shutil.copy(files / _TABLES, tree / _TABLES)
    for name, path in elf.library_closure(programs, folders).items():
        shutil.copy(path, tree / ("lib/bacula" if path.parent == own else "lib") / name)


def main() -> int:
    """Make it from the command line."""
    return command_line.run(make, lambda image: (image.kernel, image.initramfs))


if __name__ == "__main__":
    sys.exit(main())
