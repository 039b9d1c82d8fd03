"""The rig for QEMU's emulated Xen: a guest with KVM, and the Xen guest that runs in it.

QEMU emulates Xen under KVM only. Where the host has none, an outer guest under TCG has: its
processor has SVM, its kernel KVM_XEN. Both guests are the plain one (build.py) with another
kernel and other modules. `python -m images.xen` makes them.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import archive, build, cache, cpio, kernel, manifest
from .errors import RigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_HERE = Path(__file__).parent
_INPUTS = (Path(__file__), _HERE / "kernel.py", _HERE / "cpio.py", manifest.PATH)


@dataclass(frozen=True, slots=True)
class NestedGuests:
    """Both guests, built."""

    outer: build.GuestImage
    inner: build.GuestImage


def make(*, report: Callable[[str], None] = lambda _: None) -> NestedGuests:
    """Return the two guests, made first if they are not there or their inputs changed."""
    plain = build.build(report=report)
    folder = cache.root() / "xen"
    stamp = cache.digest(files=(*_INPUTS, plain.initramfs))
    with cache.lock("xen"):
        if not cache.is_current(folder, stamp):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _Builder(folder, report).build(plain)
            cache.complete(folder, stamp)
    packed = folder / "vmlinuz"
    return NestedGuests(
        build.GuestImage(folder / "vmlinux", folder / "outer.cpio", packed),
        # Started by PVH it would be another kind of guest: one without a Xen platform device.
        build.GuestImage(packed, folder / "inner.cpio", packed),
    )


class _Builder:
    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        self._folder = folder
        self._plan = manifest.load()
        self._report = report

    def build(self, plain: build.GuestImage) -> None:
        self._report("Xen guest, kernel")
        work = self._folder / "work"
        self._unpack(work)
        image = next((work / "boot").glob("vmlinuz-*"))
        (self._folder / "vmlinux").write_bytes(kernel.extract_vmlinux(image))
        shutil.copyfile(image, self._folder / "vmlinuz")
        modules = next((work / "lib" / "modules").iterdir())
        self._initramfs("outer", plain, modules, self._plan.xen.outer_modules)
        self._initramfs("inner", plain, modules, self._plan.xen.inner_modules)
        shutil.rmtree(work)

    def _unpack(self, work: Path) -> None:
        apt = build.private_apt(self._plan)
        wanted = [self._plan.xen.kernel_package]
        packages = [
            package
            for package in apt.closure(wanted, suite=self._plan.xen.suite)
            # The kernel itself, not the meta package.
            if package.name.startswith("linux-image-6")
        ]
        debs = apt.download(packages)
        archive.unpack(debs, work)
        lock = self._folder / "xen.lock.json"
        lock.write_text(json.dumps(archive.lock_entries(packages, debs), indent=1) + "\n")

    def _initramfs(
        self, name: str, plain: build.GuestImage, modules: Path, wanted: Sequence[str]
    ) -> None:
        """Write the plain guest's tree and, behind it, the modules of this kernel.

        Linux kernel, early-userspace/buffer-format.rst: archives may follow one another.
        """
        chosen = kernel.ModuleSet(modules)
        chosen.add(wanted)
        tree = self._folder / "work" / name
        target = tree / "lib" / "modules" / modules.name
        target.mkdir(parents=True)
        chosen.install(target)
        with (self._folder / f"{name}.cpio").open("wb") as out:
            out.write(plain.initramfs.read_bytes())
            cpio.write(tree, out)


def main() -> int:
    """Make them from the command line."""
    try:
        guests = make(report=lambda step: print(step, file=sys.stderr))
    except RigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(guests.outer.kernel, guests.outer.initramfs, guests.inner.initramfs, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
