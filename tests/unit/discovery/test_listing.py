"""Devices as a guest's sysfs and /proc had them (recorded.json says of which guest)."""

from dataclasses import replace

import pytest

from tests.harness.recorded import lay_out
from vhost_pvscsi.discovery import proc, sysfs
from vhost_pvscsi.discovery.device import UNUSED, Nodes
from vhost_pvscsi.discovery.facts import describe
from vhost_pvscsi.discovery.names import match_name
from vhost_pvscsi.discovery.resolve import find
from vhost_pvscsi.errors import DeviceError
from vhost_pvscsi.identity import HostAddress


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return lay_out(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def devices(host):
    return {
        str(device.address or device.nodes.block): device
        for facts in [*sysfs.scsi_facts(host / "sys"), *sysfs.block_facts(host / "sys")]
        for device in [describe(facts)]
    }


def test_all_of_them_are_found_in_order(devices):
    assert {address: device.type for address, device in devices.items()} == {
        "0:0:0:0": "disk",
        "0:0:1:0": "cd",
        "1:0:0:0": "disk",
        "1:0:0:1": "disk",
        "2:0:0:0": "tape",
        "3:0:0:0": "changer",
        "/dev/vda": "block",
    }
    assert list(devices)[:-1] == sorted(list(devices)[:-1])


def test_a_disk_is_described(devices):
    disk = devices["0:0:0:0"]
    assert disk.address == HostAddress(0, 0, 0, 0)
    assert (disk.vendor, disk.product, disk.revision) == ("QEMU", "QEMU HARDDISK", "2.5+")
    assert (disk.serial, disk.wwn) == ("QMDISK1", "5000c50015ea71ac")
    assert disk.nodes == Nodes(sg="/dev/sg0", sd="/dev/sda", bsg="/dev/bsg/0:0:0:0")
    assert (disk.size, disk.state) == (64 << 20, "running")
    assert disk.steady_name == "wwn:5000c50015ea71ac"


def test_a_tape_has_two_nodes_that_people_use(devices):
    tape = devices["2:0:0:0"]
    assert (tape.nodes.sg, tape.nodes.st, tape.nodes.nst) == ("/dev/sg4", "/dev/st0", "/dev/nst0")
    assert tape.size is None
    assert tape.nodes.usual == "/dev/nst0"


def test_a_changer_and_a_cd_have_theirs(devices):
    assert devices["3:0:0:0"].nodes.sch == "/dev/sch0"
    assert devices["0:0:1:0"].nodes.sr == "/dev/sr0"


def test_who_tells_no_name_is_attached_by_its_address(devices):
    cd = devices["0:0:1:0"]
    assert (cd.serial, cd.wwn, cd.identity) == ("", "", None)
    assert cd.steady_name == "0:0:1:0"


def test_a_block_device_of_another_kind_is_described(devices):
    disk = devices["/dev/vda"]
    assert (disk.address, disk.serial, disk.size) == (None, "VIRTIO1", 64 << 20)
    assert disk.steady_name == "/dev/vda"


def test_a_mounted_partition_is_its_disks_use(host, devices):
    uses = proc.uses(host / "proc")
    assert uses.of(devices["1:0:0:0"]).mounted == ("/mnt/a b",)
    assert uses.of(devices["1:0:0:0"]).claimed
    assert str(uses.of(devices["1:0:0:0"])) == "mounted at /mnt/a b"
    assert uses.of(devices["1:0:0:1"]) == UNUSED


def test_identity_is_all_that_a_device_says_of_itself(devices):
    tape = devices["2:0:0:0"]
    elsewhere = replace(tape, address=HostAddress(9, 0, 0, 0), nodes=Nodes(sg="/dev/sg9"))
    assert elsewhere.identity == tape.identity
    assert replace(tape, wwn="").identity != tape.identity
    assert replace(tape, type="disk").identity != tape.identity
    assert replace(tape, product="another").identity != tape.identity


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("2:0:0:0", "2:0:0:0"),
        ("wwn:0x5000c50015ea71ac", "0:0:0:0"),
        ("wwn:naa.5000C50015EA71AC", "0:0:0:0"),
        ("serial:QMDISK1", "0:0:0:0"),
        ("/dev/nst0", "2:0:0:0"),
        ("/dev/st0", "2:0:0:0"),
        ("/dev/sch0", "3:0:0:0"),
        ("/dev/sr0", "0:0:1:0"),
        ("/dev/sg3", "1:0:0:1"),
        ("/dev/bsg/1:0:0:1", "1:0:0:1"),
    ],
)
def test_each_name_means_its_device(devices, name, address):
    assert find(match_name(name), list(devices.values())) == devices[address]


def test_a_link_of_udev_means_its_device(devices):
    link = "/dev/tape/by-id/scsi-33333333000001770-nst"
    there = [replace(devices["2:0:0:0"], links=(link,)), devices["3:0:0:0"]]
    assert find(match_name(link), there).address == HostAddress(2, 0, 0, 0)


@pytest.mark.parametrize("name", ["9:0:0:0", "wwn:5000c50015ea71ad", "serial:X", "/dev/sg9"])
def test_an_unknown_name_is_told_what_there_is(devices, name):
    with pytest.raises(DeviceError, match="there is no such SCSI device") as caught:
        find(match_name(name), list(devices.values()))
    assert name in str(caught.value)
    assert "2:0:0:0 tape /dev/nst0" in caught.value.hint
    assert "/dev/vda" not in caught.value.hint


def test_a_name_of_two_devices_is_refused(devices):
    disk = devices["0:0:0:0"]
    twin = replace(disk, address=HostAddress(5, 0, 0, 0))
    with pytest.raises(DeviceError, match=r"2 devices are called so: 0:0:0:0 .*5:0:0:0") as caught:
        find(match_name("serial:QMDISK1"), [disk, twin])
    assert "h:c:t:l" in caught.value.hint


def test_a_device_that_goes_while_it_is_read_is_not_there(host):
    assert sysfs.scsi_device("7:0:0:0", host / "sys") is None


def test_a_block_device_without_blocks_is_left_out(tmp_path):
    for name, sectors in (("loop0", 0), ("loop1", 8)):
        (tmp_path / "block" / name).mkdir(parents=True)
        (tmp_path / "block" / name / "size").write_text(f"{sectors}\n")
    assert [facts.name for facts in sysfs.block_facts(tmp_path)] == ["loop1"]


def made_of_paths(folder, uuid):
    node = folder / "block" / "dm-3"
    (node / "dm").mkdir(parents=True)
    (node / "size").write_text("2048\n")
    (node / "dm" / "name").write_text("mpathb\n")
    (node / "dm" / "uuid").write_text(f"{uuid}\n")
    (facts,) = sysfs.block_facts(folder)
    assert facts.incarnation
    return describe(facts)


def test_a_multipath_device_has_the_name_of_its_disk(tmp_path):
    disk = made_of_paths(tmp_path, "mpath-36001405aed0000000000000000000000")
    assert (disk.type, disk.product, disk.address) == ("multipath", "mpathb", None)
    assert disk.wwn == "6001405aed0000000000000000000000"
    assert disk.steady_name == f"wwn:{disk.wwn}"
    assert disk.commands_by == disk.place == disk.nodes.usual == "/dev/dm-3"


def test_a_multipath_device_of_no_naa_goes_by_its_node(tmp_path):
    disk = made_of_paths(tmp_path, "mpath-1LIO-ORG disk")
    assert (disk.type, disk.wwn, disk.steady_name) == ("multipath", "", "/dev/dm-3")
    assert made_of_paths(tmp_path / "eui", "mpath-2002538b4714022ac").wwn == "002538b4714022ac"


@pytest.mark.parametrize("uuid", ["LVM-abc", "part1-mpath-36001405aed0000000000000000000000", ""])
def test_another_device_of_device_mapper_takes_no_commands(tmp_path, uuid):
    volume = made_of_paths(tmp_path, uuid)
    assert (volume.type, volume.product, volume.wwn) == ("block", "mpathb", "")
    assert volume.commands_by == ""


def test_a_host_without_scsi_has_none(tmp_path):
    assert list(sysfs.scsi_facts(tmp_path)) == []
    assert list(sysfs.block_facts(tmp_path)) == []
