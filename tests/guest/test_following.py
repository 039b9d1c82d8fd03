"""Devices of the host that go away under a guest and come back, and rules that attach them.

The host is a guest (tests/harness/scsi_host.py); back-end and front-end run in it. Its simulated
adapters have the same names whatever their numbers (vpd_use_hostno=0): the one that is added anew
is the one that went, at another address.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.harness import images, inside
from tests.harness.followed import TEST_UNIT_READY, Followed
from tests.harness.frontend import BAD_TARGET, CHECK_CONDITION, GOOD, OK
from tests.harness.scsi_host import ScsiHost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.evidence import Collector

pytestmark = pytest.mark.guest

RULE = """
[[auto-attach]]
type = "tape"
product = "scsi_*"
vdev = "0:0:1{n}:0"
"""
DISK, REMOVED, PULLED, RULED = 1, 2, 3, 10  # targets
READ, INQUIRY = "28000000000000000800", "12000000ff00"
NOT_READY_OFFLINE, POWERED_ON = (2, 0x04, 0x12), (6, 0x29, 0x00)
OUT_OF_RANGE, CAPACITY_CHANGED = (5, 0x21, 0x00), (6, 0x2A, 0x09)
KIND_DISK, KIND_TAPE = 0, 1


@pytest.fixture(scope="module")
def followed(evidence: Collector) -> Iterator[Followed]:
    with ScsiHost(images.scsi_host()) as host, evidence.watch(host):
        host.boot()
        host.load_scsi_debug(dev_size_mb=8, delay=0, vpd_use_hostno=0)
        yield Followed.start(host, RULE)


def test_a_disk_goes_under_io_and_comes_back_elsewhere(followed: Followed) -> None:
    host = followed.host
    before = host.add_simulated(ptype=KIND_DISK)
    followed.tell("scsi-attach", before, f"0:0:{DISK}:0")
    followed.hear("LUN_ATTACHED")
    followed.settle(DISK)
    names = followed.ask(DISK, INQUIRY, data_in=255).data
    page = followed.ask(DISK, "12018300ff00", data_in=255).data
    assert followed.ask(DISK, READ, data_in=4096).good
    assert followed.listed(DISK)["device"] == before
    # Under way when it goes: they come to some end, and none is lost.
    host.set_simulated(delay=100)
    for tag in range(1, 9):
        host.inside.call(inside.submit, DISK, 0, bytes.fromhex(READ), data_in=4096, tag=tag)
    host.remove_simulated()
    lost = followed.hear("DEVICE_LOST")
    assert lost == {
        "vdev": f"0:0:{DISK}:0",
        "pdev": before,
        "device": before,
        "on-loss": "offline",
    }
    for tag in range(1, 9):
        host.inside.call(inside.wait, tag)
    host.set_simulated(delay=0)
    for cdb, length in ((TEST_UNIT_READY, 0), (READ, 4096), ("1a003f00ff00", 255)):
        told = followed.ask(DISK, cdb, data_in=length)
        assert (told.response, told.status, told.sense_code) == (
            *(OK, CHECK_CONDITION, NOT_READY_OFFLINE),
        )
    # It is known all the same: without a command, since there is nobody to ask.
    assert followed.ask(DISK, INQUIRY, data_in=255).data[:36] == names[:36]
    assert followed.ask(DISK, "12018300ff00", data_in=255).data == page
    sense = followed.ask(DISK, "03000000fc00", data_in=252)
    assert (sense.data[2] & 0xF, sense.data[12], sense.data[13]) == NOT_READY_OFFLINE
    assert followed.listed(DISK)["state"] == "lost"
    after = host.add_simulated(ptype=KIND_DISK)
    assert after != before
    assert followed.hear("DEVICE_RETURNED") == {
        "vdev": f"0:0:{DISK}:0",
        "pdev": before,
        "device": after,
    }
    assert POWERED_ON in followed.settle(DISK)
    assert followed.listed(DISK)["state"] == "running"
    data = bytes(range(256)) * 16
    assert followed.ask(DISK, "2a" + READ[2:], data_out=data).good
    assert followed.ask(DISK, READ, data_in=4096).data == data
    node = host.node(after)
    straight = host.inside.call(inside.direct, node, bytes.fromhex(READ), data_in=4096)
    assert straight.data == data
    followed.tell("scsi-detach", f"0:0:{DISK}:0")
    host.remove_simulated()


def test_a_lun_is_removed_with_its_device_and_comes_with_it(followed: Followed) -> None:
    host = followed.host
    before = host.add_simulated(ptype=KIND_DISK)
    followed.tell("scsi-attach", f"{host.node(before)},on-loss=remove", f"0:0:{REMOVED}:0")
    followed.hear("LUN_ATTACHED")
    followed.settle(REMOVED)
    host.remove_simulated()
    assert followed.hear("DEVICE_LOST")["on-loss"] == "remove"
    assert followed.hear("LUN_DETACHED") == {"vdev": f"0:0:{REMOVED}:0"}
    assert followed.ask(REMOVED, TEST_UNIT_READY).response == BAD_TARGET
    missing = followed.listed(REMOVED)
    assert (missing["state"], "has gone" in missing["problem"]) == ("missing", True)
    after = host.add_simulated(ptype=KIND_DISK)
    assert followed.hear("DEVICE_RETURNED")["device"] == after
    followed.settle(REMOVED)
    assert followed.ask(REMOVED, READ, data_in=4096).status == GOOD
    followed.tell("scsi-detach", f"0:0:{REMOVED}:0")
    host.remove_simulated()


def test_a_disk_that_grows_does_so_under_a_guest_whose_blocks_go_by_the_block_device(
    followed: Followed,
) -> None:
    host = followed.host
    address = host.add_simulated(ptype=KIND_DISK)
    followed.tell("scsi-attach", f"{address},road=block", f"0:0:{DISK}:0")
    followed.hear("LUN_ATTACHED")
    followed.settle(DISK)
    beyond = "28" + f"00{(16 << 20) // 512:08x}00000800"  # the disk has 8 MiB
    assert followed.ask(DISK, beyond, data_in=4096).sense_code == OUT_OF_RANGE
    host.set_simulated(virtual_gb=1)
    host.shell(f"echo 1 >/sys/class/scsi_device/{address}/device/rescan")
    assert followed.hear("LUN_RESIZED") == {
        "vdev": f"0:0:{DISK}:0",
        "blocks": (1 << 30) // 512,
        "block-size": 512,
    }
    assert CAPACITY_CHANGED in followed.settle(DISK)
    assert followed.ask(DISK, beyond, data_in=4096).good
    capacity = followed.ask(DISK, "25" + "00" * 9, data_in=8).data
    assert int.from_bytes(capacity[:4], "big") == (1 << 30) // 512 - 1
    followed.tell("scsi-detach", f"0:0:{DISK}:0")
    host.remove_simulated()
    host.set_simulated(virtual_gb=0)


def test_a_rule_attaches_a_tape_whenever_it_comes(followed: Followed) -> None:
    host = followed.host
    for _ in range(2):
        address = host.add_simulated(ptype=KIND_TAPE)
        told = followed.hear("LUN_ATTACHED")
        assert told["vdev"] == f"0:0:{RULED}:0"
        followed.settle(RULED)
        assert followed.ask(RULED, INQUIRY, data_in=255).data[0] == KIND_TAPE
        assert followed.listed(RULED)["device"] == address
        host.remove_simulated()
        followed.hear("LUN_DETACHED")
        assert followed.ask(RULED, TEST_UNIT_READY).response == BAD_TARGET


@pytest.mark.long
def test_a_lun_whose_device_has_gone_can_be_detached(followed: Followed) -> None:
    host = followed.host
    for _ in range(2):
        address = host.add_simulated(ptype=KIND_DISK)
        followed.tell("scsi-attach", address, f"0:0:{DISK}:0")
        followed.settle(DISK)
        host.remove_simulated()
        followed.hear("DEVICE_LOST")
        followed.tell("scsi-detach", f"0:0:{DISK}:0")
        assert followed.ask(DISK, TEST_UNIT_READY).response == BAD_TARGET


@pytest.mark.long
def test_devices_says_where_each_is_attached(followed: Followed) -> None:
    host = followed.host
    tape = host.add_simulated(ptype=KIND_TAPE)
    followed.hear("LUN_ATTACHED")
    followed.tell("scsi-attach", "/dev/sda,ro", f"0:0:{DISK}:0")
    told = {each["hctl"]: each for each in json.loads(followed.tell("devices", "--json"))}
    assert told[tape]["attached"] == [f"0:0:{RULED}:0"]
    assert told["0:0:0:0"]["attached"] == [f"0:0:{DISK}:0"], "an emulated disk on it"
    assert told["0:0:1:0"]["attached"] == []
    [process] = told[tape]["in-use"]["processes"]
    assert process.startswith("vhost-pvscsi")


@pytest.mark.long
def test_a_disk_is_pulled_out_and_put_in_elsewhere(followed: Followed) -> None:
    # The last test here: its disk ends where others do not look for it.
    host = followed.host
    followed.tell("scsi-attach", "serial:RIG-DISK-0", f"0:0:{PULLED}:0")
    followed.hear("LUN_ATTACHED")
    followed.settle(PULLED)
    data = bytes(range(256)) * 16
    assert followed.ask(PULLED, "2a" + READ[2:], data_out=data).good
    read = bytes.fromhex(READ)
    for tag in range(1, 9):
        host.inside.call(inside.submit, PULLED, 0, read, data_in=4096, tag=tag)
    host.pull_disk()
    assert followed.hear("DEVICE_LOST")["device"] == "0:0:0:0"
    for tag in range(1, 9):
        host.inside.call(inside.wait, tag)
    told = followed.ask(PULLED, READ, data_in=4096)
    assert (told.status, told.sense_code) == (CHECK_CONDITION, NOT_READY_OFFLINE)
    host.push_disk(scsi_id=5)
    assert followed.hear("DEVICE_RETURNED")["device"] == "0:0:5:0"
    assert POWERED_ON in followed.settle(PULLED)
    assert followed.ask(PULLED, READ, data_in=4096).data == data
    followed.tell("scsi-detach", f"0:0:{PULLED}:0")
