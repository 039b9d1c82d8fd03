"""`devices`: what is shown of the devices of tests/unit/discovery/recorded.json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.harness.control import ControlThread
from tests.harness.recorded import lay_out
from vhost_pvscsi.__main__ import main
from vhost_pvscsi.cli import completion, devices
from vhost_pvscsi.discovery import proc, sysfs
from vhost_pvscsi.discovery.facts import describe

if TYPE_CHECKING:
    from pathlib import Path

    from vhost_pvscsi.discovery.device import HostDevice


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HostDevice]:
    host = lay_out(tmp_path_factory.mktemp("host"))
    facts = [*sysfs.scsi_facts(host / "sys"), *sysfs.block_facts(host / "sys")]
    return {each.name: describe(each) for each in facts}


def test_a_forwarded_lun_is_found_by_its_devices_address(found: dict[str, HostDevice]) -> None:
    lun = {"vdev": "0:0:5:0", "pdev": "wwn:3333333000001770", "device": "2:0:0:0"}
    assert devices.attached(found["2:0:0:0"], [lun]) == ["0:0:5:0"]
    assert devices.attached(found["3:0:0:0"], [lun]) == []


def test_an_emulated_disk_is_found_by_its_node(found: dict[str, HostDevice]) -> None:
    # A node that any host has, in place of the disk's own.
    number = proc.number_of("/dev/null")
    assert number is not None
    lun = {"vdev": "0:0:5:0", "pdev": "/dev/null", "device": None}
    assert devices.attached(found["0:0:0:0"], [lun]) == []
    there = describe(sysfs.Facts("7:0:0:0", {"type": b"0"}, numbers=[number]))
    assert devices.attached(there, [lun]) == ["0:0:5:0"]


def test_the_table_has_a_row_for_each(found: dict[str, HostDevice]) -> None:
    told = [devices.describe(device, None) for device in found.values()]
    lines = devices.text(told, links=False).splitlines()
    assert lines[0].split() == [
        *("hctl", "type", "vendor", "product", "rev", "size", "sg", "node"),
        *("serial", "wwn", "in", "use"),
    ]
    assert lines[1].split()[:3] == ["0:0:0:0", "disk", "QEMU"]
    assert [line.split()[0] for line in lines[1:]][-2:] == ["3:0:0:0", "-"]


def test_links_stand_below_their_device(found: dict[str, HostDevice]) -> None:
    told = [devices.describe(device, ["0:0:0:0"]) for device in found.values()]
    told[0]["links"] = ["/dev/disk/by-id/a", "/dev/disk/by-id/b"]
    lines = devices.text(told, links=True).splitlines()
    assert lines[2:4] == ["    /dev/disk/by-id/a", "    /dev/disk/by-id/b"]
    assert "vir-hctl" in lines[0]


def test_every_kind_of_name_is_offered_to_be_completed(found: dict[str, HostDevice]) -> None:
    names = set(completion.names(found["2:0:0:0"]))
    assert names >= {"2:0:0:0", "wwn:3333333000001770", "serial:6000", "/dev/sg4", "/dev/nst0"}


def test_it_works_here_with_and_without_a_daemon(tmp_path: Path) -> None:
    control = tmp_path / "c"
    words = ["devices", "--json", "--control", str(control)]
    alone = CliRunner().invoke(main, words)
    assert (alone.exit_code, alone.stderr) == (0, "")
    assert {device["attached"] is None for device in json.loads(alone.stdout)} <= {True}
    with ControlThread(control):
        asked = CliRunner().invoke(main, words)
    assert (asked.exit_code, asked.stderr) == (0, "")
    assert all(device["attached"] == [] for device in json.loads(asked.stdout))


def test_a_socket_that_nobody_answers_is_told_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("")
    done = CliRunner().invoke(main, ["devices", "--control", str(tmp_path / "c")])
    assert done.exit_code == 0
    assert done.stderr.startswith(f"note: {tmp_path}/c: ")
