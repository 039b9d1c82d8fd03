"""The README's commands do what it says."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.guest

TREE = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: It runs this very test.
THE_TESTS = "./check"
TIMEOUT = 600.0


def blocks() -> list[str]:
    return [found[1] for found in BLOCK.finditer((TREE / "README.md").read_text())]


def test_readme_has_the_two_commands() -> None:
    commands = "\n".join(blocks()).split("\n")
    assert any(line.startswith("./demo") for line in commands)
    assert any(line.startswith(THE_TESTS) for line in commands)


@pytest.mark.parametrize("block", [block for block in blocks() if THE_TESTS not in block])
def test_readme_block_runs(block: str) -> None:
    with tempfile.TemporaryFile("w+") as output:
        # A group of its own, so that what a block left in the background ends with it.
        shell = subprocess.Popen(
            ["sh", "-euc", block],
            cwd=TREE,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = shell.wait(TIMEOUT)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
            shell.wait()
        output.seek(0)
        assert status == 0, output.read()[-5000:]
