"""The guest's file tree: programs out of Debian's packages, their libraries, our scripts."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from . import elf, foreign
from .errors import RigError
from .run import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .manifest import Manifest

SCRIPTS = Path(__file__).with_name("guest")

_FOLDERS = ("bin", "lib", "dev", "proc", "sys", "tmp", "run", "mnt", "etc", "root", "usr")
#: One folder of programs, reachable by all the paths that anything has compiled in.
_FOLDER_LINKS = {"sbin": "bin", "usr/bin": "../bin", "usr/sbin": "../bin", "usr/lib": "../lib"}


class GuestTree:
    """A root file system, filled step by step."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in _FOLDERS:
            (root / name).mkdir(parents=True, exist_ok=True)
        for name, target in _FOLDER_LINKS.items():
            (root / name).symlink_to(target)
        (root / "lib64").symlink_to("lib")
        (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
        (root / "etc" / "mtab").symlink_to("/proc/mounts")

    def add_programs(self, manifest: Manifest, unpacked: Path) -> None:
        """Take the programs the manifest names out of unpacked packages."""
        for package, patterns in manifest.programs.items():
            for pattern in patterns:
                found = [path for path in unpacked.glob(pattern) if not path.is_dir()]
                if not found:
                    raise RigError(f"package {package!r} has no file {pattern!r}")
                for path in found:
                    self.add_program(path)
        for name, target in manifest.links.items():
            (self.root / "bin" / name).symlink_to(target)
        self._add_applets(unpacked)
        self._add_libraries(unpacked)

    def add_program(self, path: Path, name: str | None = None) -> None:
        """Put one executable into /bin."""
        target = self.root / "bin" / (name or path.name)
        shutil.copyfile(path, target)
        target.chmod(0o755)

    def add_own(self) -> None:
        """Add our init, and the agent, compiled."""
        shutil.copyfile(SCRIPTS / "init", self.root / "init")
        (self.root / "init").chmod(0o755)
        agent = self.root / "bin" / "agent"
        compiler = ["cc", "-O2", "-Wall", "-static", "-s", "-o", str(agent)]
        run([*compiler, str(SCRIPTS / "agent.c")], hint="apt-get install gcc libc6-dev")

    def _add_applets(self, unpacked: Path) -> None:
        listed = run([*foreign.command(unpacked, "bin/busybox"), "--list"])
        for applet in listed.split():
            link = self.root / "bin" / applet
            if not link.exists() and not link.is_symlink():
                link.symlink_to("busybox")

    def _add_libraries(self, unpacked: Path) -> None:
        closure = elf.library_closure(self._programs(), foreign.library_folders(unpacked))
        for name, path in closure.items():
            shutil.copyfile(path, self.root / "lib" / name)
        loader = self.root / "lib" / foreign.LOADER
        loader.chmod(loader.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)

    def _programs(self) -> Iterable[Path]:
        for path in (self.root / "bin").iterdir():
            if not path.is_symlink() and elf.is_elf(path):
                yield path
