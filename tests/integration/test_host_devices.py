"""LUNs of SCSI devices that this host has not got; tests/guest/test_following.py has some."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.daemon import Daemon, program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.evidence import Collector

NOBODYS = "wwn:5000c50015ea71ac"
CONFIG = f"""
[[control]]
path = "control"
[[host]]
number = 0
socket-path = "0.sock"
[[lun]]
vdev = "0:0:1:0"
pdev = "{NOBODYS}"
on-loss = "remove"
[[auto-attach]]
serial = "nobody's"
vdev = "0:0:{{n}}:1"
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VHOST_PVSCSI_CONTROL": str(folder / "control")}
    return subprocess.run(
        [program(), *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("pdev", [NOBODYS, "serial:nobody's", "99:0:0:0", "/dev/sg999"])
def test_a_device_that_is_not_there_is_told(folder: Path, pdev: str) -> None:
    done = run(folder, "serve", "--socket-path", "s", "--lun", f"0:0:0:0={pdev}")
    assert done.returncode == 1
    first, hint = done.stderr.splitlines()
    assert first == f"error: {pdev}: there is no such SCSI device on this host"
    assert hint.startswith("hint: there is ")
    assert not (folder / "s").exists()


def test_a_lun_that_comes_and_goes_with_its_device_is_waited_for(
    folder: Path, evidence: Collector
) -> None:
    config = folder / "c.toml"
    config.write_text(CONFIG)
    daemon = Daemon(folder, sockets=[], luns=[], options=["--config", str(config)])
    with evidence.watch(daemon), daemon:
        daemon.wait_for_line("listening on")
        daemon.wait_for_line("following devices by events of")
        daemon.wait_for_line("LUN 0:0:1:0")
        for _ in range(2):
            [lun] = json.loads(run(folder, "scsi-list", "--json").stdout)
            assert (lun["vdev"], lun["state"], lun["pdev"]) == ("0:0:1:0", "missing", NOBODYS)
            assert "no such SCSI device" in lun["problem"]
            # It is tried again, and still not there.
            assert "failed" in run(folder, "reload").stdout
        assert run(folder, "scsi-detach", "0:0:1:0").returncode == 0
        assert json.loads(run(folder, "scsi-list", "--json").stdout) == []


def test_mistakes_in_rules_are_told_by_check_config(folder: Path) -> None:
    config = folder / "c.toml"
    config.write_text(CONFIG + "[[auto-attach]]\ntype = 'streamer'\nvdev = '0:0:{x}:0'\n")
    done = run(folder, "check-config", "c.toml")
    assert done.returncode == 2
    assert done.stderr.splitlines()[::2] == [
        "error: c.toml:15: [[auto-attach]] type 'streamer' is not known",
        "error: c.toml:16: [[auto-attach]] vdev '0:0:{x}:0': {x} is not known",
    ]
