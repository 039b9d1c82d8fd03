"""The fast front-end of `engine/bench`, for tests that want load rather than figures."""

from __future__ import annotations

import subprocess
from pathlib import Path

from . import processes
from .errors import HarnessError

_ROOT = Path(__file__).parents[2]

#: Longer than any test: the driver is ended by whoever started it.
_FOR_EVER = "3600"


def program() -> Path:
    """The program, as `cargo build --profile quick` leaves it."""
    path = _ROOT / "engine/target/quick/vhost-pvscsi-bench"
    if not path.exists():
        raise HarnessError(f"{path} is missing: cargo build --profile quick -p vhost-pvscsi-bench")
    return path


def start(socket: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start it; it goes on until `end`, unless `--requests` or `--seconds` is given."""
    command = [str(program()), "--socket", str(socket), "--ramp", "0"]
    if not {"--requests", "--seconds"} & set(options):
        command += ["--seconds", _FOR_EVER]
    return processes.start([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(process: subprocess.Popen[bytes]) -> None:
    """End it, whatever it is doing."""
    process.terminate()
    process.communicate()
