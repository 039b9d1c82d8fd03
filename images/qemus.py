"""The QEMUs to test with: the host's own where it is the right one, else unpacked.

Debian lets one QEMU be installed at a time, and each release has one version. The
other is unpacked from its packages with all libraries and run by its own loader.
`python -m images.qemus 10` unpacks (if need be) and prints the command.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import archive, cache, elf, foreign, manifest
from .build import private_apt
from .errors import RigError
from .run import run

if TYPE_CHECKING:
    from collections.abc import Callable

_PROGRAM = "qemu-system-x86_64"
_VERSION = re.compile(r"version (\d+(?:\.\d+)+)")


@dataclass(frozen=True, slots=True)
class Qemu:
    """One QEMU: how to start it."""

    version: str
    command: tuple[str, ...]
    #: The binary, which the command starts by itself or by a loader.
    program: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def release(self) -> tuple[int, ...]:
        """The version as numbers, to be compared."""
        return tuple(int(part) for part in self.version.split("."))


def host() -> Qemu | None:
    """Return the QEMU that the host has, if any."""
    path = shutil.which(_PROGRAM)
    return at(Path(path)) if path else None


def at(program: Path) -> Qemu:
    """Return the QEMU that is this program.

    Raises:
        RigError: it is none, or does not start.
    """
    return _ask((str(program),), program, {})


def find(version: str, *, report: Callable[[str], None] = lambda _: None) -> Qemu:
    """Return the QEMU whose version begins with `version`, unpacked first if need be.

    Raises:
        RigError: the manifest names no such version, or it does not start.
    """
    own = host()
    if own and _matches(own.version, version):
        return own
    return unpacked(version, report=report)


def unpacked(version: str, *, report: Callable[[str], None] = lambda _: None) -> Qemu:
    """Return that QEMU out of its packages, whatever the host has.

    Raises:
        RigError: the manifest names no such version, or it does not start.
    """
    plan = manifest.load()
    if version not in plan.qemu_suites:
        raise RigError(
            f"no QEMU {version!r} is to be had",
            hint=f"the manifest has {', '.join(plan.qemu_suites)}",
        )
    root = _unpacked(plan, version, report)
    program = f"usr/bin/{_PROGRAM}"
    command = (*foreign.command(root, program), *_firmware(root))
    # Its accelerator is a module, which it would seek beside the loader that started it.
    modules = root / "usr" / "lib" / "x86_64-linux-gnu" / "qemu"
    found = _ask(command, root / program, {"QEMU_MODULE_DIR": str(modules)})
    if not _matches(found.version, version):
        raise RigError(f"QEMU {version} was asked for, {found.version} was unpacked")
    return found


def _matches(version: str, wanted: str) -> bool:
    return f"{version}.".startswith(f"{wanted}.")


def _ask(command: tuple[str, ...], program: Path, environment: dict[str, str]) -> Qemu:
    text = run([*command, "--version"], environment=environment)
    if not (match := _VERSION.search(text)):
        raise RigError(f"{shlex.join(command)} --version does not tell its version: {text!r}")
    return Qemu(match[1], command, program, environment)


def _firmware(root: Path) -> tuple[str, ...]:
    folders = ("usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu")
    return tuple(word for folder in folders for word in ("-L", str(root / folder)))


def _unpacked(plan: manifest.Manifest, version: str, report: Callable[[str], None]) -> Path:
    folder = cache.root() / f"qemu-{version}"
    stamp = cache.digest(version, plan.qemu_suites[version], *plan.qemu_wanted, *plan.qemu_kept)
    with cache.lock(f"qemu-{version}"):
        if not cache.is_current(folder, stamp):
            report(f"QEMU {version}, packages")
            _unpack(plan, plan.qemu_suites[version], folder)
            cache.complete(folder, stamp)
    return folder


def _unpack(plan: manifest.Manifest, suite: str, folder: Path) -> None:
    apt = private_apt(plan)
    packages = [
        package
        for package in apt.closure(plan.qemu_wanted, suite=suite)
        if package.name in plan.qemu_kept or package.name.startswith(("lib", "zlib"))
    ]
    debs = apt.download(packages)
    shutil.rmtree(folder, ignore_errors=True)
    archive.unpack(debs, folder)
    # Tells now, and by name, which library is missing.
    elf.library_closure([folder / "usr" / "bin" / _PROGRAM], foreign.library_folders(folder))
    lock = folder / "qemu.lock.json"
    lock.write_text(json.dumps(archive.lock_entries(packages, debs), indent=1) + "\n")


def main() -> int:
    """Unpack from the command line."""
    if len(sys.argv) != 2:
        print("usage: python -m images.qemus VERSION", file=sys.stderr)
        return 2
    try:
        qemu = find(sys.argv[1], report=lambda step: print(step, file=sys.stderr))
    except RigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(shlex.join([*(f"{k}={v}" for k, v in qemu.environment.items()), *qemu.command]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
