"""A Debian kernel package made ready for a quick boot: plain vmlinux, few modules."""

from __future__ import annotations

import lzma
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import elf
from .errors import RigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def extract_vmlinux(image: Path) -> bytes:
    """Return the ELF kernel inside a bzImage, for QEMU to start by PVH.

    Linux kernel, Documentation/arch/x86/boot.rst, "payload_offset": without the
    image's own decompressor a boot under TCG takes 2 to 3 seconds instead of 8.
    """
    data = image.read_bytes()
    if data[0x202:0x206] != b"HdrS":
        raise RigError(f"{image} is no bzImage")
    setup_sectors = data[0x1F1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)
    payload = data[(setup_sectors + 1) * 512 + offset :][:length]
    kernel = _decompress(payload, image)
    if not kernel.startswith(b"\x7fELF"):
        raise RigError(f"{image} does not hold an ELF kernel")
    return kernel


def _decompress(payload: bytes, image: Path) -> bytes:
    if payload.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(wbits=31).decompress(payload)
    # The kernel's build appends the size, which is no part of these two streams.
    if payload.startswith(b"\x02\x21\x4c\x18"):
        return _filter("lz4", payload[:-4])
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        return _filter("zstd", payload[:-4])
    raise RigError(f"{image} is compressed in a way that is not known here: {payload[:6].hex()}")


def _filter(program: str, payload: bytes) -> bytes:
    try:
        return subprocess.run(
            [program, "-dc"], input=payload, capture_output=True, check=True
        ).stdout
    except FileNotFoundError:
        raise RigError(
            f"no {program} to unpack the kernel with", hint=f"apt-get install {program}"
        ) from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace")
        raise RigError(f"{program} cannot unpack the kernel: {said}") from None


@dataclass(slots=True)
class ModuleSet:
    """Kernel modules and all that they depend on."""

    source: Path
    dependencies: dict[str, list[str]] = field(default_factory=dict)
    aliases: list[tuple[str, str]] = field(default_factory=list)
    _files: dict[str, Path] = field(default_factory=dict)
    _builtin: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._files = {_plain(path.stem): path for path in self.source.rglob("*.ko")}
        # Debian 13's kernels have them compressed.
        packed = self.source.rglob("*.ko.xz")
        self._files |= {_plain(path.name.partition(".")[0]): path for path in packed}
        builtin = (self.source / "modules.builtin").read_text().split()
        self._builtin = {_plain(line.rpartition("/")[2].removesuffix(".ko")) for line in builtin}

    def add(self, names: Iterable[str]) -> None:
        """Add modules by name, with what they need.

        Raises:
            RigError: the kernel has no such module.
        """
        waiting = [_plain(name) for name in names]
        while waiting:
            name = waiting.pop()
            if name in self.dependencies or name in self._builtin:
                continue
            if name not in self._files:
                raise RigError(f"the kernel has no module {name!r}")
            waiting += self._read(name)

    def _read(self, name: str) -> list[str]:
        self._files[name] = _unpacked(self._files[name])
        information = elf.module_information(self._files[name])
        needs = [_plain(other) for other in ",".join(information.get("depends", [])).split(",")]
        self.dependencies[name] = [other for other in needs if other]
        self.aliases += [(alias, name) for alias in information.get("alias", [])]
        soft = " ".join(information.get("softdep", [])).replace("pre:", "").replace("post:", "")
        # A soft dependency is one this kernel may lack.
        return self.dependencies[name] + [o for o in map(_plain, soft.split()) if o in self._files]

    def install(self, destination: Path) -> None:
        """Copy the modules to `destination` with the tables that modprobe reads."""
        for name in self.dependencies:
            target = destination / self._files[name].relative_to(self.source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._files[name], target)
        for table in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
            shutil.copyfile(self.source / table, destination / table)
        lines = (
            f"{self._where(n)}:{''.join(f' {self._where(o)}' for o in self._order(n))}\n"
            for n in self.dependencies
        )
        (destination / "modules.dep").write_text("".join(lines))
        aliases = (f"alias {alias} {name}\n" for alias, name in self.aliases)
        (destination / "modules.alias").write_text("".join(aliases))
        (destination / "modules.symbols").touch()

    def _where(self, name: str) -> str:
        return str(self._files[name].relative_to(self.source))

    def _order(self, name: str) -> list[str]:
        # modprobe loads from the end of the line: a module stands before what it needs.
        order: list[str] = []

        def visit(module: str) -> None:
            for other in self.dependencies[module]:
                if other in self.dependencies and other not in order:
                    visit(other)
                    order.append(other)

        visit(name)
        return order[::-1]


def _unpacked(module: Path) -> Path:
    if module.suffix != ".xz":
        return module
    plain = module.with_suffix("")
    plain.write_bytes(lzma.decompress(module.read_bytes()))
    return plain


def _plain(name: str) -> str:
    return name.replace("-", "_")
