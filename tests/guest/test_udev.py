"""Devices on a host on which udevd runs: its links, its names, its events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.harness import images
from tests.harness.followed import Followed, start_udevd
from tests.harness.scsi_host import ScsiHost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.evidence import Collector

pytestmark = pytest.mark.guest

DISK, TAPE = 1, 2  # targets, and the second is a type
LINK = "/dev/tape/by-id/scsi-333333330000007d0-nst"


@pytest.fixture(scope="module")
def followed(evidence: Collector) -> Iterator[Followed]:
    with ScsiHost(images.scsi_host()) as host, evidence.watch(host):
        host.boot()
        host.load_scsi_debug(dev_size_mb=8, delay=0, vpd_use_hostno=0)
        start_udevd(host, images.udev())
        yield Followed.start(host)


def test_links_are_udevs(followed: Followed) -> None:
    for device in json.loads(followed.tell("devices", "--json")):
        theirs = set()
        for node in device["nodes"].values():
            if not node.startswith("/dev/bsg/"):
                theirs |= set(followed.host.check(f"udevadm info -q symlink -r {node}").split())
        assert set(device["links"]) == theirs
        assert device["type"] != "disk" or any("/by-id/wwn-0x" in link for link in theirs)


def test_a_tape_is_attached_by_its_link_and_followed_by_udevs_events(followed: Followed) -> None:
    host = followed.host
    host.wait_for_line(followed.daemon, "listening on")
    before = host.add_simulated(ptype=1)
    host.check(f"SYSTEMD_IGNORE_CHROOT=1 udevadm settle && test -c {LINK}")
    followed.tell("scsi-attach", LINK, f"0:0:{TAPE}:0")
    followed.hear("LUN_ATTACHED")
    host.wait_for_line(followed.daemon, "following devices by events of udev")
    assert followed.listed(TAPE)["device"] == before
    followed.settle(TAPE)
    host.remove_simulated()
    assert followed.hear("DEVICE_LOST")["device"] == before
    after = host.add_simulated(ptype=1)
    told = followed.hear("DEVICE_RETURNED")
    assert (told["pdev"], told["device"]) == (LINK, after)
    followed.settle(TAPE)


@pytest.mark.long
def test_a_disk_by_id_is_emulated_unless_it_is_to_be_forwarded(followed: Followed) -> None:
    [link] = [
        link
        for device in json.loads(followed.tell("devices", "--json"))
        for link in device["links"]
        if device["hctl"] == "0:0:0:0" and "/by-id/wwn-" in link
    ]
    followed.tell("scsi-attach", link, f"0:0:{DISK}:0")
    assert followed.listed(DISK)["device"] is None
    followed.tell("scsi-detach", f"0:0:{DISK}:0")
    followed.tell("scsi-attach", f"{link},forward=on", f"0:0:{DISK}:0")
    assert followed.listed(DISK)["device"] == "0:0:0:0"
