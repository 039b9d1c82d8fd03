"""What is a name of a SCSI device, and what is a path."""

import pytest

from vhost_pvscsi.devices.lun_options import OnLoss
from vhost_pvscsi.devices.pdev import Kind, absolute_pdev, parse_lun
from vhost_pvscsi.discovery.names import By, DeviceName, match_name
from vhost_pvscsi.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "by", "value"),
    [
        ("1:0:2:3", By.ADDRESS, "1:0:2:3"),
        ("0:0:0:18446744073709551615", By.ADDRESS, "0:0:0:18446744073709551615"),
        ("wwn:0x5000C50015EA71AC", By.WWN, "5000c50015ea71ac"),
        ("serial:HU 19:487", By.SERIAL, "HU 19:487"),
        ("/dev/sg12", By.NODE, "/dev/sg12"),
        ("/dev/nst0", By.NODE, "/dev/nst0"),
        ("/dev/tape/by-id/scsi-1-nst", By.NODE, "/dev/tape/by-id/scsi-1-nst"),
        ("/dev/sch1", By.NODE, "/dev/sch1"),
        ("/dev/sr0", By.NODE, "/dev/sr0"),
        ("fd:7", By.DESCRIPTOR, "7"),
        ("fd:tape", By.DESCRIPTOR, "tape"),
    ],
)
def test_names_of_scsi_devices_are_forwarded(text, by, value):
    assert match_name(text) == DeviceName(by, value)
    spec = parse_lun(f"0:0:0:0={text}")
    assert (spec.kind, spec.device, spec.path) == (Kind.DEVICE, DeviceName(by, value), None)


@pytest.mark.parametrize(
    "text",
    [
        "/dev/sda", "/dev/sda1", "/dev/disk/by-id/wwn-0x5000c50015ea71ac", "/dev/nvme0n1",
        "disk.img", "./1:0:0:0", "1:0:0", "/dev/sg", "/srv/dev/sg0", "/dev/sg0/../../etc",
    ],
)  # fmt: skip
def test_paths_of_blocks_are_emulated(text):
    assert match_name(text) is None
    assert parse_lun(f"0:0:0:0={text}").kind is Kind.PATH


@pytest.mark.parametrize("text", ["/dev/sda", "/dev/disk/by-id/wwn-0x5000c50015ea71ac", "/dev/sg0"])
def test_forward_makes_a_path_a_device(text):
    spec = parse_lun(f"0:0:0:0={text},forward=on,on-loss=remove")
    assert (spec.kind, spec.device) == (Kind.DEVICE, DeviceName(By.NODE, text))
    assert spec.options.on_loss is OnLoss.REMOVE


def test_a_cd_can_be_behind_an_emulated_disk():
    assert parse_lun("0:0:0:0=/dev/sr0,forward=off").kind is Kind.PATH


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("wwn:12", "'12' is no WWN", "16 or 32 hexadecimal digits"),
        ("serial: ", "names nothing", "serial:TEXT"),
        ("fd:7a", "'7a' is no descriptor", "fd:N"),
        ("fd:", "'' is no descriptor", "fd:NAME"),
        ("1:0:0:0,forward=off", "forward=off is for block devices", "/dev/disk/by-id"),
        ("ram:1M,forward=on", "option 'forward' does not apply", "devices of the host"),
        ("disk.img,on-loss=remove", "option 'on-loss' does not apply", "are forwarded"),
        ("1:0:0:0,on-loss=panic", "'panic' is nothing that a LUN does", "offline, remove"),
        ("1:0:0:0,block-size=4096", "option 'block-size' does not apply", "its own"),
        ("1:0:0:0,cache=none", "option 'cache' does not apply", "block devices"),
    ],
)
def test_mistakes_name_the_value_and_what_would_be_right(text, message, hint):
    with pytest.raises(ConfigurationError) as caught:
        parse_lun(f"0:0:0:0={text}")
    assert message in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["1:0:0:0,ro", "serial:a/b", "/dev/sg0", "wwn:5000c50015ea71ac"])
def test_names_are_no_paths_to_be_made_absolute(tmp_path, text):
    assert absolute_pdev(text, tmp_path) == text
