"""The whole of QEMU with the patches of qemu-device/, for whoever changes those.

`python -m images.patched_qemu` prints where it is; two cores have it in a quarter of an hour.
"""

from __future__ import annotations

import bz2
import os
import re
import shutil
import sys
import tomllib
from typing import TYPE_CHECKING

from . import cache, command_line, qemu_device
from .run import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PROGRAM = "qemu-system-x86_64"
_FIRMWARE = ("/usr/share/qemu", "/usr/share/seabios", "/usr/lib/ipxe/qemu")
#: No more than the Xen guest of the rig needs, and each warning an error, as in a git checkout.
_CONFIGURE = (
    "--target-list=x86_64-softmmu",
    "--without-default-features",
    "--enable-kvm",
    "--disable-tcg",
    "--disable-user",
    "--disable-tools",
    "--disable-guest-agent",
    "--disable-docs",
    "--disable-install-blobs",
    "--enable-werror",
    f"--firmwarepath={':'.join(_FIRMWARE)}",
)
_HINT = "apt-get install gcc ninja-build patch perl pkg-config libfdt-dev libglib2.0-dev"


def make(*, report: Callable[[str], None] = lambda _: None) -> Path:
    """Return the program, built first if it is not there or the patches changed."""
    tarball = qemu_device.source_tarball()
    patches = sorted((qemu_device.FOLDER / "patches").glob("*.patch"))
    folder = cache.root() / "qemu-patched"
    source, build = folder / "source", folder / "build"
    stamp = cache.digest(tarball.name, *_CONFIGURE, files=patches)
    with cache.lock("qemu-patched"):
        if not cache.is_current(folder, stamp):
            shutil.rmtree(folder, ignore_errors=True)
            source.mkdir(parents=True)
            build.mkdir()
            report(f"source of {tarball.name}")
            run(["tar", "-xf", str(tarball), "-C", str(source), "--strip-components=1"])
            _complete(source)
            for patch in patches:
                run(["patch", "-p1", "--fuzz=0", "-i", str(patch)], folder=source, hint=_HINT)
            run([str(source / "configure"), *_CONFIGURE], folder=build, hint=_HINT)
            report("QEMU, compiling")
            run(["ninja", f"-j{os.cpu_count()}", _PROGRAM], folder=build)
            _bring_firmware(build / "qemu-bundle")
            cache.complete(folder, stamp)
    return build / _PROGRAM


def _complete(source: Path) -> None:
    """Put back what `configure` wants and Debian took out of QEMU's tarball."""
    wheels = source / "python" / "wheels"
    tools = tomllib.loads((source / "pythondeps.toml").read_text())["meson"]
    wanted = [f"{name}=={tool['installed']}" for name, tool in tools.items()]
    run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels), *wanted])
    blobs = source / "pc-bios"
    for name in re.findall(r"'(edk2-\S+\.fd)'", (blobs / "meson.build").read_text()):
        (blobs / f"{name}.bz2").write_bytes(bz2.compress(b""))


def _bring_firmware(bundle: Path) -> None:
    """Show it the firmware that the host's QEMU has, where a QEMU that is not installed looks."""
    for name in _FIRMWARE:
        link = bundle / name.removeprefix("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(name)


def main() -> int:
    """Build it from the command line."""
    return command_line.run(make)


if __name__ == "__main__":
    sys.exit(main())
