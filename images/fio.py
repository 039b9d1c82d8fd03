"""Build fio, static, from Debian's source package."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .run import run

if TYPE_CHECKING:
    from collections.abc import Sequence


def build(tarball: Path, configure: Sequence[str], output: Path) -> None:
    """Compile the fio of `tarball` and put the program at `output`."""
    with TemporaryDirectory(prefix="fio-") as name:
        folder = Path(name)
        # Not the tarfile module: its safe filter is younger than Debian 12's Python.
        run(["tar", "-xf", str(tarball), "-C", str(folder)])
        source = next(folder.iterdir())
        run(["./configure", *configure], folder=source)
        run(["make", "-j2", "fio"], folder=source, hint="apt-get install gcc make libc6-dev")
        run(["strip", "fio"], folder=source)
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source / "fio", output)
