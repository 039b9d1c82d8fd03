"""Run a program out of unpacked packages with their own libraries, not the host's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LOADER = "ld-linux-x86-64.so.2"
_LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64")


def library_folders(unpacked: Path) -> list[Path]:
    """Return the folders in which unpacked Debian packages keep their libraries."""
    return [unpacked / name for name in _LIBRARY_FOLDERS]


def command(unpacked: Path, program: str) -> list[str]:
    """Return the command that starts `program` of `unpacked` by its own dynamic loader."""
    loader = unpacked / "lib64" / LOADER
    # Debian's package has an absolute link there.
    if loader.is_symlink():
        loader = unpacked / "lib" / "x86_64-linux-gnu" / LOADER
    libraries = ":".join(str(folder) for folder in library_folders(unpacked))
    return [str(loader), "--library-path", libraries, str(unpacked / program)]
