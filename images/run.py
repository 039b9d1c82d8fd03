"""Run a helper program; what it said is shown only when it failed."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

from .errors import RigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def run(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    hint: str | None = None,
) -> str:
    """Run `command` to its end and return what it printed on its standard output.

    Raises:
        RigError: the program is missing or its exit status is not 0.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise RigError(
            f"program {command[0]!r} is missing",
            hint="images/packages.txt lists the Debian packages that the rig needs",
        ) from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-3000:]
        raise RigError(f"{shlex.join(command)}: exit status {done.returncode}\n{said}", hint=hint)
    return done.stdout
