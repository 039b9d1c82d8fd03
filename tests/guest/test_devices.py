"""`vhost-pvscsi devices` on a host that has some, beside lsscsi and the devices themselves."""

from __future__ import annotations

import json
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import images
from tests.harness.daemon import program
from tests.harness.scsi_host import ScsiHost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.evidence import Collector

pytestmark = pytest.mark.guest

#: lsscsi's words for types, and ours.
LSSCSI = {"disk": "disk", "tape": "tape", "mediumx": "changer", "cd/dvd": "cd"}
TAPE, CHANGER = 1, 8


@pytest.fixture(scope="module")
def host(evidence: Collector) -> Iterator[ScsiHost]:
    with ScsiHost(images.scsi_host()) as made, evidence.watch(made):
        made.boot()
        made.load_scsi_debug(dev_size_mb=8)
        for kind in (0, TAPE, CHANGER):
            made.add_simulated(ptype=kind)
        yield made


def devices(host: ScsiHost) -> dict[str, dict[str, Any]]:
    told = json.loads(host.check(f"{program()} devices --json"))
    return {device["hctl"]: device for device in told if device["hctl"]}


_LOCATE = """
import json, sys
from vhost_pvscsi.devices.pdev import parse_lun
from vhost_pvscsi.discovery.listing import locate
from vhost_pvscsi.errors import VhostPvscsiError

def told(name):
    try:
        return str(locate(parse_lun(f"0:0:0:0={name}").device).address)
    except VhostPvscsiError as error:
        return error.told()

print(json.dumps([told(name) for name in sys.argv[1:]]))
"""


def locate(host: ScsiHost, *names: str) -> list[str]:
    """What the daemon takes names for: an address each, or an error."""
    # All at once: under emulation it is Python's start that takes the time.
    return list(json.loads(host.check(shlex.join([sys.executable, "-c", _LOCATE, *names]))))


def test_they_are_those_that_lsscsi_lists(host: ScsiHost) -> None:
    theirs = {}
    for line in host.shell("lsscsi -g").splitlines():
        found = re.fullmatch(
            r"\[([0-9:]+)\]\s+(\S+)\s+(.{8}) (.{16}) (.{4})\s+(\S+)\s+(\S+)\s*", line
        )
        assert found, line
        theirs[found[1]] = (LSSCSI[found[2]], *(text.strip() for text in found.groups()[2:]))
    ours = {}
    for hctl, device in devices(host).items():
        nodes = device["nodes"]
        [node] = [nodes[kind] for kind in ("sd", "sr", "st", "sch") if kind in nodes]
        names = (device["vendor"], device["product"], device["revision"])
        ours[hctl] = (device["type"], *names, node, nodes["sg"])
    assert ours == theirs
    assert {device[0] for device in ours.values()} == set(LSSCSI.values())


def test_names_and_sizes_are_what_the_devices_say(host: ScsiHost) -> None:
    for device in devices(host).values():
        node = device["nodes"]["sg"]
        serial = host.shell(f"sg_vpd --page=sn --raw {node} 2>/dev/null | tail -c +5 || true")
        # QEMU's CD has no such page.
        assert device["serial"] == (serial.strip("\0 \n") or None)
        if device["wwn"]:
            naa = host.shell(f"sg_vpd --page=di_lu --quiet {node}").lower()
            assert f"0x{device['wwn']}" in naa
        if device["type"] == "disk":
            bytes_told = host.shell(f"sg_readcap --long {node}")
            blocks = re.search(r"Number of logical blocks=(\d+)", bytes_told)
            assert blocks
            assert device["size"] == int(blocks[1]) * 512


def test_no_command_is_sent_to_any_device(host: ScsiHost) -> None:
    count = "cat /sys/bus/scsi/devices/*:*:*:*/iorequest_cnt"
    before = host.shell(count)
    host.check(f"{program()} devices --links")
    assert host.shell(count) == before
    # And that is a count that a command changes.
    host.shell("sg_turs /dev/sg0 || true")
    assert host.shell(count) != before


def test_who_uses_a_device_is_told(host: ScsiHost) -> None:
    found = {device["type"]: device for device in devices(host).values()}
    tape = found["tape"]["nodes"]["sg"]
    node = found["disk"]["nodes"]["sd"]
    assert found["disk"]["in-use"]["mounted"] == []
    host.shell(f"mkswap {node} && swapon {node}")
    host.shell(f"sleep 600 <{tape} >/dev/null 2>&1 & echo $! >/run/sleeper")
    try:
        now = devices(host)
    finally:
        host.shell(f"kill $(cat /run/sleeper); swapoff {node}")
    assert now[found["disk"]["hctl"]]["in-use"]["mounted"] == ["[SWAP]"]
    [process] = now[found["tape"]["hctl"]]["in-use"]["processes"]
    assert re.fullmatch(r"\w+\[\d+\]", process)


def test_each_of_its_names_means_a_device(host: ScsiHost) -> None:
    wanted = {}
    for hctl, device in devices(host).items():
        nodes = dict(device["nodes"])
        if "sd" in nodes:
            wanted[f"{nodes.pop('sd')},forward=on"] = hctl
        wanted |= dict.fromkeys((hctl, device["pdev"], *nodes.values()), hctl)
    assert dict(zip(wanted, locate(host, *wanted), strict=True)) == wanted


def test_other_names_are_told_what_there_is(host: ScsiHost) -> None:
    there = devices(host)
    [tape] = [device for device in there.values() if device["type"] == "tape"]
    link = "/dev/tape/by-id/scsi-1-nst"
    host.shell(f"mkdir -p /dev/tape/by-id && ln -sf {tape['nodes']['nst']} {link}")
    unknown = ["9:9:9:9", "wwn:5000c500ffffffff", "serial:nobody", "/dev/sg77"]
    linked, other, *errors = locate(host, link, "/dev/null,forward=on", *unknown)
    assert linked == tape["hctl"]
    assert "/dev/null: is no node of a SCSI device" in other
    for name, error in zip(unknown, errors, strict=True):
        first, hint = error.splitlines()
        assert first == f"error: {name}: there is no such SCSI device on this host"
        assert hint.startswith("hint: there is ")
        assert all(hctl in hint for hctl in there)
