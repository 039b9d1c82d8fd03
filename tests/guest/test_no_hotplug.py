"""A guest without hot-plug, which unit attentions tell and a scan of its own shows; REPORT LUNS."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.harness import scsi_view
from tests.harness.machine import Machine
from tests.harness.scsi_view import Place
from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon
    from tests.harness.evidence import Collector
    from tests.harness.machine import MachineSpec

pytestmark = pytest.mark.guest

FIRST, SECOND = Place(0, 0, 0), Place(0, 0, 3)
#: That of REPORT LUNS (SPC-5), should there be one.
WELL_KNOWN = "c101000000000000"


@pytest.fixture(scope="module")
def qemu_version() -> str:
    return "10"


@pytest.fixture(scope="module")
def daemon_options(short_folder: Path) -> list[str]:
    return ["--control", str(short_folder / "control")]


@pytest.fixture(scope="module")
def verb(daemon: Daemon, short_folder: Path) -> Verbs:
    return Verbs(short_folder / "control")


@pytest.fixture(scope="module")
def deaf(machine_spec: MachineSpec, evidence: Collector) -> Iterator[Machine]:
    """A guest whose adapter has no VIRTIO_SCSI_F_HOTPLUG."""
    spec = replace(machine_spec, extra=("-set", "device.scsi0.hotplug=off"))
    with Machine(spec) as machine, evidence.watch(machine):
        yield machine.boot()


def test_a_unit_attention_tells_and_a_scan_shows(deaf: Machine, verb: Verbs) -> None:
    node = scsi_view.disk(deaf, FIRST).generic
    deaf.console.check(f"sg_turs {node}")
    verb("scsi-attach", "ram:1M,serial=LATE", SECOND.vdev())
    assert scsi_view.places(deaf) == {FIRST}
    told = deaf.console.run(f"sg_turs --verbose {node}")
    assert "Reported luns data has changed" in told.output, told.output
    deaf.console.check(f"sg_turs {node}")
    deaf.console.check("echo 0 0 - > /sys/class/scsi_host/host0/scan")
    assert scsi_view.serials(deaf)[SECOND] == "LATE"

    verb("scsi-detach", SECOND.vdev())
    # It has not heard; who asks the LUN is told that there is none.
    asked = deaf.console.run(f"sg_turs --verbose {scsi_view.disk(deaf, SECOND).generic}")
    assert "Logical unit not supported" in asked.output, asked.output
    told = deaf.console.run(f"sg_turs --verbose {node}")
    assert "Reported luns data has changed" in told.output, told.output
    deaf.console.check(f"echo 1 > {SECOND.path()}/delete")
    assert scsi_view.places(deaf) == {FIRST}


def sg_luns(deaf: Machine, options: str) -> list[str]:
    node = scsi_view.disk(deaf, FIRST).generic
    told = deaf.console.check(f"sg_luns --quiet {options} {node}")
    # Where the list is cut short it says so in a line of its own.
    lines = [line.strip().replace(" ", "") for line in told.splitlines()]
    return [line for line in lines if re.fullmatch("[0-9a-f]{16}", line)]


def wire(lun: int) -> str:
    """A LUN's 8 bytes (SAM-5 4.7.7): peripheral addressing to 255, flat beyond."""
    return ((lun if lun < 256 else 0x4000 | lun) << 48).to_bytes(8, "big").hex()


@pytest.mark.parametrize("count", [1, 31, 257, pytest.param(2000, marks=pytest.mark.long)])
def test_sg_luns_agrees_with_the_map(deaf: Machine, verb: Verbs, count: int) -> None:
    there = len(verb.listed())
    with verb.client() as client:
        for lun in range(there, count):
            client.execute("scsi-attach", pdev="null:1M", vdev=f"0:0:0:{lun}")
    mine = [wire(lun) for lun in range(count)]
    room = f"--maxlen={8 + 8 * count + 8}"
    assert sg_luns(deaf, f"{room} --select=0") == mine
    assert sg_luns(deaf, f"{room} --select=1") == [WELL_KNOWN]
    assert sg_luns(deaf, f"{room} --select=2") == [*mine, WELL_KNOWN]
    # Cut short, the list's length still says how many there are.
    assert sg_luns(deaf, "--maxlen=24 --select=0") == mine[:2]
    node = scsi_view.disk(deaf, FIRST).generic
    told = deaf.console.check(f"sg_luns --maxlen=24 {node}")
    assert f"{8 * count}" in told, told
