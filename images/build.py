"""Build the guest: `python -m images.build [--refresh]`.

Makes `vmlinux`, `vmlinuz` and `initramfs.cpio` from Debian's packages as manifest.toml says,
and `guest.lock.json`, which names every package in its version and digest. A second
call finds all of it done. Nothing is installed, and root is not needed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import archive, cache, cpio, fio, kernel, manifest
from .errors import RigError
from .guest_tree import SCRIPTS, GuestTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from .archive import Package

_HERE = Path(__file__).parent
#: All that decides what comes out.
_INPUTS = (
    *(_HERE / name for name in ("build.py", "kernel.py", "guest_tree.py", "cpio.py", "elf.py")),
    manifest.PATH,
    *SCRIPTS.iterdir(),
)


@dataclass(frozen=True, slots=True)
class GuestImage:
    """A built guest."""

    kernel: Path
    initramfs: Path
    #: The same kernel as a boot loader wants it, a bzImage.
    bzimage: Path


def build(*, refresh: bool = False, report: Callable[[str], None] = lambda _: None) -> GuestImage:
    """Return the guest, made first if it is not there or its inputs changed."""
    folder = cache.root() / "guest"
    stamp = cache.digest(files=_INPUTS)
    with cache.lock("guest"):
        if refresh or not cache.is_current(folder, stamp):
            _Builder(folder, report).build(refresh=refresh)
            cache.complete(folder, stamp)
    return GuestImage(folder / "vmlinux", folder / "initramfs.cpio", folder / "vmlinuz")


def private_apt(plan: manifest.Manifest, *, refresh: bool = False) -> archive.PrivateApt:
    """Return the private apt of the cache, ready to be asked."""
    apt = archive.PrivateApt(cache.root() / "apt", plan.archive)
    with cache.lock("apt"):
        apt.prepare(refresh=refresh)
    return apt


class _Builder:
    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        self._folder = folder
        self._plan = manifest.load()
        self._report = report
        self._lock: list[dict[str, str]] = []

    def build(self, *, refresh: bool) -> None:
        work = self._folder / "work"
        shutil.rmtree(self._folder, ignore_errors=True)
        work.mkdir(parents=True)
        self._report("package lists")
        apt = private_apt(self._plan, refresh=refresh)
        unpacked = self._unpack(apt, work)
        program = self._build_fio(apt)
        self._report("guest tree")
        tree = GuestTree(work / "tree")
        tree.add_programs(self._plan, unpacked)
        tree.add_program(program)
        tree.add_own()
        self._add_kernel(unpacked, tree)
        self._report("initramfs")
        with (self._folder / "initramfs.cpio").open("wb") as out:
            cpio.write(tree.root, out)
        lock = self._folder / "guest.lock.json"
        lock.write_text(json.dumps(self._lock, indent=1) + "\n")
        shutil.rmtree(work)

    def _unpack(self, apt: archive.PrivateApt, work: Path) -> Path:
        wanted = (self._plan.kernel_package, *self._plan.programs)
        packages = [
            package
            for package in apt.closure(wanted, suite=self._plan.archive.suite)
            if package.name in self._plan.programs or _is_part(package)
        ]
        self._report(f"{len(packages)} packages")
        debs = apt.download(packages)
        self._lock = archive.lock_entries(packages, debs)
        archive.unpack(debs, work / "unpacked")
        return work / "unpacked"

    def _build_fio(self, apt: archive.PrivateApt) -> Path:
        tarball = apt.download_source(self._plan.fio_source, suite=self._plan.archive.suite)
        digest = archive.sha256(tarball)
        self._lock.append({"source": tarball.name, "sha256": digest})
        stamp = cache.digest(digest, *self._plan.fio_configure)
        folder = cache.root() / "fio"
        if not cache.is_current(folder, stamp):
            self._report(f"{tarball.name}, compiling")
            fio.build(tarball, self._plan.fio_configure, folder / "fio")
            cache.complete(folder, stamp)
        return folder / "fio"

    def _add_kernel(self, unpacked: Path, tree: GuestTree) -> None:
        self._report("kernel")
        image = next((unpacked / "boot").glob("vmlinuz-*"))
        (self._folder / "vmlinux").write_bytes(kernel.extract_vmlinux(image))
        shutil.copyfile(image, self._folder / "vmlinuz")
        release = image.name.removeprefix("vmlinuz-")
        modules = kernel.ModuleSet(unpacked / "lib" / "modules" / release)
        modules.add(self._plan.kernel_modules)
        destination = tree.root / "lib" / "modules" / release
        destination.mkdir(parents=True)
        modules.install(destination)


def _is_part(package: Package) -> bool:
    # Of what the programs depend on only libraries are needed, and the kernel itself.
    return package.name.startswith("lib") or package.name.startswith("linux-image-6")


def main() -> int:
    """Build from the command line."""
    parser = argparse.ArgumentParser(description="Build the guest's kernel and initramfs.")
    parser.add_argument("--refresh", action="store_true", help="ask the archive for newer packages")
    options = parser.parse_args()
    try:
        image = build(refresh=options.refresh, report=lambda step: print(step, file=sys.stderr))
    except RigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(image.kernel, image.initramfs, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
