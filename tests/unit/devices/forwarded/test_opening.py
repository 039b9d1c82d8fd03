"""SG nodes that are none."""

from pathlib import Path

import pytest

from vhost_pvscsi.devices.forwarded.blocks import names_blocks, open_blocks
from vhost_pvscsi.devices.forwarded.opening import OpenDevice, open_multipath, open_sg
from vhost_pvscsi.devices.pdev import parse_lun
from vhost_pvscsi.discovery.listing import locate
from vhost_pvscsi.discovery.names import By, DeviceName
from vhost_pvscsi.errors import ConfigurationError, DeviceError
from vhost_pvscsi.scsi.pages import DeviceType


def test_a_node_that_is_not_there(tmp_path):
    with pytest.raises(DeviceError, match="No such file"):
        open_sg(tmp_path / "sg0")


@pytest.mark.parametrize("path", ["/dev/null", "/etc/passwd"])
def test_what_is_no_sg_node(path):
    with pytest.raises(ConfigurationError, match="is no SG node"):
        open_sg(Path(path))


@pytest.mark.parametrize("path", ["/dev/null", "/etc/passwd", "/dev/dm-no-such"])
def test_what_is_no_multipath_device(path):
    with pytest.raises(DeviceError, match="is no multipath device"):
        open_multipath(Path(path))


def test_a_timeout_is_seconds():
    assert parse_lun("0:0:0:0=/dev/sg0,timeout=90s").options.timeout == 90.0
    assert parse_lun("0:0:0:0=/dev/sg0,timeout=5").options.timeout == 5.0


@pytest.mark.parametrize("text", ["0", "0s", "-1", "1m", "99999999", "x", ""])
def test_what_is_no_timeout(text):
    with pytest.raises(ConfigurationError, match="timeout"):
        parse_lun(f"0:0:0:0=/dev/sg0,timeout={text}")


@pytest.mark.parametrize("option", ["timeout=9s"])
def test_emulated_disks_take_no_such_option(option):
    with pytest.raises(ConfigurationError, match="does not apply"):
        parse_lun(f"0:0:0:0=ram:1M,{option}")


@pytest.mark.parametrize("option", ["latency=5ms", "cache=none"])
def test_forwarded_devices_take_no_option_of_disks(option):
    with pytest.raises(ConfigurationError, match="does not apply"):
        parse_lun(f"0:0:0:0=/dev/sg0,{option}")


def test_guests_that_share_a_device_are_kept_apart():
    shared = parse_lun("0:0:0:0=/dev/sg0,share=on")
    assert shared.options.keeps_apart
    assert not parse_lun("0:0:0:0=/dev/sg0").options.keeps_apart
    assert parse_lun("0:0:0:0=/dev/sg0,reservations=own").options.keeps_apart
    with pytest.raises(ConfigurationError, match="what another holds"):
        parse_lun("0:0:0:0=/dev/sg0,share=on,reservations=device")


def test_a_block_device_is_told_by_its_node(tmp_path):
    blocks = [path for path in Path("/dev").iterdir() if path.is_block_device()]
    for path in blocks[:3]:
        (tmp_path / path.name).symlink_to(path)
        assert names_blocks(str(tmp_path / path.name))
    assert not names_blocks("/dev/null")
    assert not names_blocks("0:0:0:0")
    assert not names_blocks("wwn:5000c50015ea71ac")


def test_only_disks_have_blocks_of_their_own(tmp_path):
    tape = OpenDevice(tmp_path / "sg7", -1, -1, DeviceType.TAPE, 1, 4096, 0)
    with pytest.raises(ConfigurationError, match="road=block is for disks, and this is a tape"):
        open_blocks(tape, read_only=False)
    disk = OpenDevice(tmp_path / "sg7", -1, -1, DeviceType.DISK, 32, 4096, 512)
    with pytest.raises(DeviceError, match="sg7: has no block device"):
        open_blocks(disk, read_only=False)


def test_a_descriptor_that_was_passed_in_has_to_be_an_sg_nodes():
    with Path("/dev/null").open("r+b") as null:
        with pytest.raises(ConfigurationError, match=r"/proc/self/fd/\d+: is no SG node"):
            open_sg(Path("/dev/sg0"), passed=null.fileno())
        with pytest.raises(DeviceError, match=f"fd:{null.fileno()}: is no node of a SCSI device"):
            locate(DeviceName(By.DESCRIPTOR, str(null.fileno())))
    with pytest.raises(DeviceError, match="there is no such SCSI device on this host"):
        locate(DeviceName(By.DESCRIPTOR, "99999"))
    with pytest.raises(DeviceError, match="fd:tape: no descriptor of that name is there"):
        locate(DeviceName(By.DESCRIPTOR, "tape"))
