"""Packages of tests/packages, installed into a folder as pip does it, with no index."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGES = Path(__file__).parents[1] / "packages"
_TIMEOUT = 120.0


def install(name: str, folder: Path) -> None:
    """Build a package and install it below `folder`, which goes into $PYTHONPATH then."""
    options = ("--no-index", "--no-build-isolation", "--no-deps", "--quiet")
    command = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *options)
    subprocess.run(
        [*command, "--target", str(folder), str(PACKAGES / name)],
        check=True,
        timeout=_TIMEOUT,
        stdin=subprocess.DEVNULL,
    )
