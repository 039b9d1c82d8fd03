"""The guest in which QEMU emulates Xen, for hosts that cannot.

QEMU emulates Xen under KVM only. Where the host has no KVM, a guest under TCG has one: its
processor has SVM, and its kernel KVM_XEN. It is the plain guest (build.py) with another kernel
and other modules. `python -m images.xen_host` makes it.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import archive, build, cache, cpio, kernel, manifest
from .errors import RigError

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent
_INPUTS = (Path(__file__), _HERE / "kernel.py", _HERE / "cpio.py", manifest.PATH)


def make(*, report: Callable[[str], None] = lambda _: None) -> build.GuestImage:
    """Return that guest, made first if it is not there or its inputs changed."""
    plain = build.build(report=report)
    folder = cache.root() / "xen-host"
    stamp = cache.digest(files=(*_INPUTS, plain.initramfs))
    with cache.lock("xen-host"):
        if not cache.is_current(folder, stamp):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            report("Xen host, kernel")
            _build(folder, plain)
            cache.complete(folder, stamp)
    return build.GuestImage(folder / "vmlinux", folder / "initramfs.cpio", folder / "vmlinuz")


def _build(folder: Path, plain: build.GuestImage) -> None:
    plan = manifest.load()
    work = folder / "work"
    _unpack(folder, plan, work)
    image = next((work / "boot").glob("vmlinuz-*"))
    (folder / "vmlinux").write_bytes(kernel.extract_vmlinux(image))
    shutil.copyfile(image, folder / "vmlinuz")
    source = next((work / "lib" / "modules").iterdir())
    modules = kernel.ModuleSet(source)
    modules.add(plan.xen_host.kernel_modules)
    target = work / "tree" / "lib" / "modules" / source.name
    target.mkdir(parents=True)
    modules.install(target)
    # One archive may follow another (Linux kernel, early-userspace/buffer-format.rst).
    with (folder / "initramfs.cpio").open("wb") as out:
        out.write(plain.initramfs.read_bytes())
        cpio.write(work / "tree", out)
    shutil.rmtree(work)


def _unpack(folder: Path, plan: manifest.Manifest, work: Path) -> None:
    apt = build.private_apt(plan)
    packages = [
        package
        for package in apt.closure([plan.xen_host.kernel_package], suite=plan.xen_host.suite)
        # The kernel itself, not the meta package.
        if package.name.startswith("linux-image-6")
    ]
    debs = apt.download(packages)
    archive.unpack(debs, work)
    lock = folder / "xen-host.lock.json"
    lock.write_text(json.dumps(archive.lock_entries(packages, debs), indent=1) + "\n")


def main() -> int:
    """Make it from the command line."""
    try:
        image = make(report=lambda step: print(step, file=sys.stderr))
    except RigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(image.kernel, image.initramfs, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
