"""What clients of a running daemon are spared."""

from __future__ import annotations

import subprocess
import sys

from click.testing import CliRunner

from vhost_pvscsi.__main__ import LATE, main


def test_a_client_reads_nothing_of_the_daemon() -> None:
    asked = """
import sys
from vhost_pvscsi.__main__ import main
main(["scsi-list", "--help"], standalone_mode=False)
print(*(name for name in sys.modules if "daemon" in name or "_engine" in name))
"""
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("Usage: ")
    assert done.stdout.endswith("\n\n"), done.stdout.splitlines()[-1]


def test_what_comes_late_is_offered_like_the_others() -> None:
    offered = CliRunner().invoke(main, ["--help"]).output
    for name in LATE:
        assert f"\n  {name} " in offered
        assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0
    wrong = CliRunner().invoke(main, ["serv"])
    assert (wrong.exit_code, "No such command 'serv'" in wrong.output) == (2, True)
