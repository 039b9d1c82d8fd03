"""qmp-shell, as it comes with qemu.qmp, drives the control socket."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from .conftest import MakeDaemon

SHELL = Path(sysconfig.get_path("scripts")) / "qmp-shell"


def shell(control: Path, *lines: str) -> str:
    """Type these lines into a qmp-shell; what it showed."""
    done = subprocess.run(
        [str(SHELL), str(control)],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_qmp_shell_drives_it_as_it_stands(make_daemon: MakeDaemon, folder: Path) -> None:
    control = folder / "control"
    make_daemon([], "--control", str(control))
    shown = shell(
        control,
        "scsi-attach pdev=ram:1M,serial=SHELL vdev=0:0:1:0",
        "scsi-attach pdev=ram:1M vdev=0:0:1:0",
        "query-luns host=0",
        'fault-set vdev=0:0:1:0 rules=["opcode=read:hang"]',
        "scsi-detach vdev=0:0:2:0 force=true timeout=1",
        "nonsense",
    )
    assert "Welcome to the QMP" in shown
    assert "has 0:0:1:0 already" in shown
    assert "'serial': 'SHELL'" in shown or '"serial": "SHELL"' in shown, shown
    assert "has nothing at 0:0:2:0" in shown
    assert "CommandNotFound" in shown
    [lun] = Verbs(control).listed().values()
    assert (lun["serial"], lun["faults"]) == ("SHELL", 1)
