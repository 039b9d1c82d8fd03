"""Our device for QEMU (qemu-device/), built for the QEMU of the rig for emulated Xen.

`python -m images.qemu_device` prints how to start that QEMU with the device in it. Headers
come from the source package of the same version; nothing of QEMU is compiled.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import archive, build, cache, command_line, elf, foreign, manifest, qemus
from .run import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from .qemus import Qemu

FOLDER = cache.TREE / "qemu-device"
#: What the device includes, and what makes the rest of it: 13 MB of 450.
_HEADERS = ("include", "host/include", "linux-headers", "qapi", "scripts", "VERSION")
#: What its functional tests stand on.
_FUNCTIONAL = ("python/qemu", "tests/functional/qemu_test")
_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")


@dataclass(frozen=True, slots=True)
class DeviceModule:
    """A QEMU, and the module that brings the device into it; no module if it was built in."""

    qemu: Qemu
    module: Path | None

    @property
    def environment(self) -> dict[str, str]:
        """What to add to QEMU's environment."""
        preloaded = {"LD_PRELOAD": str(self.module)} if self.module else {}
        return {**self.qemu.environment, **preloaded}

    @property
    def paste_line(self) -> str:
        """How to start it, as words of a shell that `env` takes too."""
        words = (f"{name}={value}" for name, value in self.environment.items())
        return shlex.join([*words, *self.qemu.command])


def make(*, report: Callable[[str], None] = lambda _: None) -> DeviceModule:
    """Return the module, built first if it is not there or its sources changed."""
    plan = manifest.load()
    tarball = source_tarball()
    # qemu_10.0.2+ds.orig.tar.xz
    version = tarball.name.partition("_")[2].partition("+")[0]
    qemu = qemus.find(plan.xen_host.qemu_version, report=report)
    if qemu.version != version:
        qemu = qemus.unpacked(plan.xen_host.qemu_version, report=report)
    folder = cache.root() / "qemu-device"
    sources = [path for path in FOLDER.iterdir() if path.is_file()]
    stamp = cache.digest(tarball.name, archive.sha256(qemu.program), files=sources)
    with cache.lock("qemu-device"):
        if not cache.is_current(folder, stamp):
            report(f"device for QEMU {qemu.version}")
            _compile(folder, qemu, _source(tarball, "qemu-headers", _HEADERS), _headers(plan))
            cache.complete(folder, stamp)
    return DeviceModule(qemu, folder / "xen-vscsi.so")


def source_tarball() -> Path:
    """Return the source of the QEMU that emulates Xen, fetched first if it is not there."""
    plan = manifest.load()
    return build.private_apt(plan).download_source(plan.device_source, suite=plan.xen_host.suite)


def functional_tests() -> list[Path]:
    """Return the folders of Python packages that a functional test in QEMU's tree imports."""
    tarball = source_tarball()
    with cache.lock("qemu-device"):
        tree = _source(tarball, "qemu-functional", _FUNCTIONAL)
    return [(tree / name).parent for name in _FUNCTIONAL]


def _source(tarball: Path, name: str, parts: tuple[str, ...]) -> Path:
    folder = cache.root() / name
    stamp = cache.digest(tarball.name, *parts)
    if not cache.is_current(folder, stamp):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        top = run(["tar", "-tf", str(tarball)]).partition("/")[0]
        wanted = [f"{top}/{part}" for part in parts]
        run(["tar", "-xf", str(tarball), "-C", str(folder), "--strip-components=1", *wanted])
        cache.complete(folder, stamp)
    return folder


def _headers(plan: manifest.Manifest) -> Path:
    apt = build.private_apt(plan)
    folder = cache.root() / "qemu-headers-of-libraries"
    packages = [
        package
        for package in apt.closure(plan.device_headers, suite=plan.archive.suite)
        if package.name in plan.device_headers
    ]
    stamp = cache.digest(*map(str, packages))
    if not cache.is_current(folder, stamp):
        shutil.rmtree(folder, ignore_errors=True)
        archive.unpack(apt.download(packages), folder)
        cache.complete(folder, stamp)
    return folder


def _compile(folder: Path, qemu: Qemu, source: Path, headers: Path) -> None:
    usr = headers / "usr" / "include"
    glib = headers / _LIBRARIES / "glib-2.0" / "include"
    shutil.rmtree(folder, ignore_errors=True)
    # fmt: off
    run([
        "make", "-C", str(FOLDER), f"-j{os.cpu_count()}",
        f"QEMU={qemu.program}",
        f"QEMU_RUN={shlex.join(qemu.command)}",
        f"SOURCE={source}",
        f"BUILD={folder}",
        f"GLIB_CFLAGS=-I{usr} -I{usr / 'glib-2.0'} -I{glib}",
        f"LIBRARIES={' '.join(_libraries(qemu))}",
    ], hint="apt-get install gcc libc6-dev make binutils python3")
    # fmt: on


def _libraries(qemu: Qemu) -> list[str]:
    own = (Path("/lib/x86_64-linux-gnu"), Path("/usr") / "lib" / "x86_64-linux-gnu")
    # Below usr/bin of an unpacked one.
    folders = foreign.library_folders(qemu.program.parents[2])
    closure = elf.library_closure([qemu.program], [*folders, *own])
    return [str(path) for path in closure.values()]


def main() -> int:
    """Build from the command line."""
    return command_line.run(make, lambda made: (made.paste_line,))


if __name__ == "__main__":
    sys.exit(main())
