"""sg3_utils, sdparm and ddpt on our disk and on QEMU's scsi-hd, in one guest.

What each command should do on either is in tests/guest/sg3/, one chapter a file, and for
people in docs/sg3_utils.md.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness import comparison
from tests.harness.comparison import Nodes

if TYPE_CHECKING:
    from tests.harness.comparison import Chapter, Trial
    from tests.harness.console import Result
    from tests.harness.machine import Machine, MachineSpec

pytestmark = pytest.mark.guest

CHAPTERS = [
    comparison.load(path) for path in sorted(Path(__file__).with_name("sg3").glob("*.toml"))
]
#: Targets; both adapters have a disk at each, but for the last, which is ours alone.
FIXED, REMOVABLE, SECOND = 0, 1, 2
SIZE = 64 << 20
#: A command that waits for something longer than this hangs.
DEADLINE = 30.0


@pytest.fixture(scope="module")
def qemu_version() -> str:
    # What scsi-hd answers is written down for this one.
    return "10"


@pytest.fixture(scope="module")
def machine_config() -> str:
    return "q35-beside-scsi-hd"


@pytest.fixture(scope="module")
def luns(short_folder: Path) -> list[str]:
    images = [disk_image(short_folder / f"ours{target}.img") for target in (0, 1, 2)]
    luns = [f"0:0:{number}:0={path},serial=OURS000{number}" for number, path in enumerate(images)]
    luns[REMOVABLE] += ",removable=on"
    return luns


@pytest.fixture(scope="module")
def daemon_options(short_folder: Path) -> list[str]:
    # Without it nothing can be saved: no mode page, no reservation, no identifying information.
    state = short_folder / "state"
    state.mkdir()
    return ["--state-directory", str(state)]


def disk_image(path: Path) -> Path:
    path.touch()
    os.truncate(path, SIZE)
    return path


@pytest.fixture(scope="module")
def machine_spec(machine_spec: MachineSpec, short_folder: Path) -> MachineSpec:
    extra: list[str] = []
    for target in (FIXED, REMOVABLE):
        path = disk_image(short_folder / f"other{target}.img")
        extra += ["-drive", f"if=none,id=other{target},format=raw,discard=unmap,file={path}"]
    return replace(machine_spec, extra=tuple(extra))


def nodes(guest: Machine, vendor: str, target: int) -> Nodes:
    listed = guest.console.check("lsscsi --generic")
    found = re.search(rf":0:{target}:0\].*{vendor} .*(/dev/sd\w+) +(/dev/sg\d+)", listed)
    assert found, listed
    return Nodes(disk=found[2], block=found[1])


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_each_command_does_what_is_written_of_it(guest: Machine, chapter: Chapter) -> None:
    ours, other = (nodes(guest, vendor, chapter.target) for vendor in ("VHPVSCSI", "QEMU"))
    if chapter.prepare:
        guest.console.check(chapter.prepare)
    wrong = []
    for trial in chapter.trials:
        mine = run(guest, trial, ours)
        its = None if trial.alone else run(guest, trial, other)
        if found := comparison.judge(trial, mine, ours, its, other):
            wrong.append(
                f"$ {trial.run}\n{mine.output}" + "".join(f"!! {text}\n" for text in found)
            )
    assert not wrong, "\n".join(wrong)


def run(guest: Machine, trial: Trial, where: Nodes) -> Result:
    return guest.console.run(where.fill(trial.run), timeout=DEADLINE)


@pytest.mark.parametrize("program", ["sg_vpd", "sg_logs"])
def test_every_page_that_is_listed_is_there(guest: Machine, program: str) -> None:
    """Page 0 of either kind is a header of four bytes and a list of codes (SPC-5)."""
    ours = nodes(guest, "VHPVSCSI", FIXED)
    dump = "tail -c +5 | hexdump -v -e '1/1 \"%02x \"'"
    codes = guest.console.check(f"{program} --page=0 --raw {ours.disk} | {dump}").split()
    assert "00" in codes
    for code in codes:
        command = f"{program} --page=0x{code} {ours.disk}"
        trial = comparison.Trial(command, alone=True)
        result = run(guest, trial, ours)
        assert not comparison.judge(trial, result, ours, None, ours), f"{command}\n{result.output}"


@pytest.mark.parametrize(
    "command",
    [
        "sg_xcopy if={one} of={two} bs=512 count=4096 skip=64 seek=128",
        "sg_xcopy if={one} of={two} bs=512 count=4096 skip=64 seek=128 id_usage=disable",
        "ddpt if={one} iflag=xcopy of={two} bs=512 count=4096 skip=64 seek=128",
    ],
)
def test_a_disk_copies_to_another(guest: Machine, command: str) -> None:
    one, two = (nodes(guest, "VHPVSCSI", target).disk for target in (FIXED, SECOND))
    guest.console.check(
        "set -e; head -c 2097152 /dev/urandom > /tmp/data;"
        f"sg_dd if=/tmp/data of={one} bs=512 seek=64 2>/dev/null;"
        f"sg_unmap --force --all=0,131072,4096 {two}; " + command.format(one=one, two=two),
        timeout=DEADLINE,
    )
    guest.console.check(
        f"sg_dd if={two} of=/tmp/back bs=512 skip=128 count=4096; cmp /tmp/data /tmp/back"
    )
