"""What devices say of themselves may be anything, and udev may know better."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhost_pvscsi.discovery.facts import Facts, describe, hex_name


def tape(**attributes: bytes) -> Facts:
    return Facts("4:0:0:0", {"type": b"1\n", **attributes})


def udev(**properties: str) -> Facts:
    return Facts("4:0:0:0", {"type": b"1\n"}, properties=properties)


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_no_page_80h_and_no_name_does_harm(page, name):
    device = describe(tape(vpd_pg80=page, vendor=name, model=name, wwid=name, rev=name))
    assert device.type == "tape"
    assert (device.serial + device.vendor + device.product).isprintable()


def test_a_serial_number_is_without_its_padding():
    assert describe(tape(vpd_pg80=b"\1\x80\0\x0a  HU19487T")).serial == "HU19487T"


def test_a_page_80h_that_is_cut_short_gives_what_is_there():
    assert describe(tape(vpd_pg80=b"\1\x80\0\x0aHU1")).serial == "HU1"


#: As udevd of Debian 12 had them, of scsi_debug's tape (Linux 7.3).
RECORDED = {
    "DEVPATH": "/devices/pseudo_0/adapter1/host2/target2:0:0/2:0:0:0/scsi_tape/nst0",
    "DEVNAME": "/dev/nst0",
    "MAJOR": "9",
    "MINOR": "128",
    "SUBSYSTEM": "scsi_tape",
    "USEC_INITIALIZED": "15340155",
    "ID_SCSI": "1",
    "ID_VENDOR": "Linux",
    "ID_VENDOR_ENC": "Linux\\x20\\x20\\x20",
    "ID_MODEL": "scsi_debug",
    "ID_MODEL_ENC": "scsi_debug\\x20\\x20\\x20\\x20\\x20\\x20",
    "ID_REVISION": "0191",
    "ID_TYPE": "tape",
    "ID_SERIAL": "33333333000001770",
    "ID_SERIAL_SHORT": "3333333000001770",
    "ID_WWN": "0x3333333000001770",
    "ID_WWN_WITH_EXTENSION": "0x3333333000001770",
    "ID_TARGET_PORT": "300",
    "ID_SCSI_SERIAL": "6000",
    "ID_BUS": "scsi",
    "DEVLINKS": "/dev/tape/by-id/scsi-6000-nst /dev/tape/by-id/scsi-33333333000001770-nst",
}


def test_udev_knows_what_sysfs_of_an_old_kernel_lacks():
    device = describe(udev(**RECORDED))
    assert (device.serial, device.wwn) == ("6000", "3333333000001770")


@pytest.mark.parametrize(
    ("properties", "serial"),
    [
        ({"ID_BUS": "scsi", "ID_SERIAL_SHORT": "35000c50015ea71ac"}, ""),
        ({"ID_BUS": "scsi", "ID_SCSI_SERIAL": "HU1", "ID_SERIAL_SHORT": "350"}, "HU1"),
        ({"ID_BUS": "scsi", "SCSI_IDENT_SERIAL": "HU2", "ID_SCSI_SERIAL": "HU1"}, "HU2"),
        ({"ID_BUS": "ata", "ID_SERIAL_SHORT": "WD-1"}, "WD-1"),
        ({"ID_BUS": "usb", "ID_SERIAL_SHORT": "0123"}, "0123"),
    ],
)
def test_serial_numbers_of_udev(properties, serial):
    assert describe(udev(**properties)).serial == serial


def test_the_kernels_wwn_comes_before_udevs():
    facts = Facts(
        "4:0:0:0",
        {"type": b"0\n", "wwid": b"naa.5000c50015ea71ac\n"},
        properties={"ID_WWN": "0x5000c50015ea71ad"},
    )
    assert describe(facts).wwn == "5000c50015ea71ac"


def test_the_longer_wwn_of_udev_is_taken():
    facts = udev(ID_WWN="0x600140512345678", ID_WWN_WITH_EXTENSION="0x" + "6001405abcdef012" * 2)
    assert describe(facts).wwn == "6001405abcdef012" * 2


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("naa.5000c50015ea71ac", "5000c50015ea71ac"),
        ("eui.0025385b61b0a2f3", "0025385b61b0a2f3"),
        ("wwn-0x5000c50015ea71ac", "5000c50015ea71ac"),
        ("0X5000C50015EA71AC", "5000c50015ea71ac"),
        ("t10.ATA     WDC", ""),
        ("nvme.1234-abcd", ""),
        ("5000c5", ""),
        ("", ""),
    ],
)
def test_names_that_are_worldwide(text, digits):
    assert hex_name(text) == digits


def test_a_type_that_nobody_knows_is_a_number():
    assert describe(Facts("4:0:0:0", {"type": b"20\n"})).type == "zbc"
    assert describe(Facts("4:0:0:0", {"type": b"21\n"})).type == "type-15h"
