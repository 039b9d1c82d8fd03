"""A guest that plays a host: the plain guest (build.py) with another kernel and other modules."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import archive, build, cache, cpio, kernel, manifest

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent
_INPUTS = (Path(__file__), _HERE / "kernel.py", _HERE / "cpio.py", manifest.PATH)
#: The kernel itself, not the meta package that depends on it; Linux 7's is in several packages.
_KERNEL = re.compile(r"linux-(image|base|binary|modules)-[0-9]")


@dataclass(frozen=True, slots=True)
class HostGuest:
    """What such a guest is made of."""

    name: str  #: of its folder in the cache
    suite: str  #: that the kernel is taken from
    kernel_package: str  #: a meta package
    kernel_modules: tuple[str, ...]


def make(
    host: HostGuest,
    apt: Callable[[], archive.PrivateApt],
    *,
    report: Callable[[str], None] = lambda _: None,
) -> build.GuestImage:
    """Return that guest, made first if it is not there or its inputs changed."""
    plain = build.build(report=report)
    folder = cache.root() / host.name
    stamp = cache.digest(host.name, files=(*_INPUTS, plain.initramfs))
    with cache.lock(host.name):
        if not cache.is_current(folder, stamp):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            report(f"{host.name}, kernel")
            _build(folder, plain, host, apt())
            cache.complete(folder, stamp)
    return build.GuestImage(folder / "vmlinux", folder / "initramfs.cpio", folder / "vmlinuz")


def _build(folder: Path, plain: build.GuestImage, host: HostGuest, apt: archive.PrivateApt) -> None:
    work = folder / "work"
    _unpack(folder, host, apt, work)
    image = next(path for path in work.rglob("vmlinuz*") if path.is_file())
    (folder / "vmlinux").write_bytes(kernel.extract_vmlinux(image))
    shutil.copyfile(image, folder / "vmlinuz")
    modules_folder = next(work.glob("**/lib/modules"))
    source = next(modules_folder.iterdir())
    modules = kernel.ModuleSet(source)
    modules.add(host.kernel_modules)
    target = work / "tree" / "lib" / "modules" / source.name
    target.mkdir(parents=True)
    modules.install(target)
    # One archive may follow another (Linux kernel, early-userspace/buffer-format.rst).
    with (folder / "initramfs.cpio").open("wb") as out:
        out.write(plain.initramfs.read_bytes())
        cpio.write(work / "tree", out)
    shutil.rmtree(work)


def _unpack(folder: Path, host: HostGuest, apt: archive.PrivateApt, work: Path) -> None:
    packages = [
        package
        for package in apt.closure([host.kernel_package], suite=host.suite)
        if _KERNEL.match(package.name)
    ]
    debs = apt.download(packages)
    archive.unpack(debs, work)
    lock = folder / f"{host.name}.lock.json"
    lock.write_text(json.dumps(archive.lock_entries(packages, debs), indent=1) + "\n")
