"""Names of ours for a device of the host."""

from vhost_pvscsi.devices.forwarded.names import with_own_names
from vhost_pvscsi.devices.pdev import parse_lun
from vhost_pvscsi.devices.presentation import PLAIN, Presentation
from vhost_pvscsi.scsi.pages import DeviceType


def test_they_are_the_same_in_every_run_and_differ_by_device():
    one = with_own_names(PLAIN, DeviceType.TAPE, "wwn:5000c50015ea71ac")
    assert one == with_own_names(PLAIN, DeviceType.TAPE, "wwn:5000c50015ea71ac")
    other = with_own_names(PLAIN, DeviceType.TAPE, "wwn:5000c50015ea71ad")
    assert (one.serial, one.naa) != (other.serial, other.naa)
    assert one.product == "VIRTUAL TAPE"
    assert one.naa is not None
    assert "5000c50015ea71ac" not in one.naa.hex() + (one.serial or "")


def test_what_an_operator_says_counts():
    said = Presentation(vendor="ME", serial="S1", naa=b"\x50\0\0\0\0\0\0\1", protected=True)
    shown = with_own_names(said, DeviceType.CHANGER, "serial:9")
    assert (shown.vendor, shown.serial, shown.naa, shown.protected) == (
        *("ME", "S1", b"\x50\0\0\0\0\0\0\1", True),
    )
    assert shown.product == "VIRTUAL CHANGER"


def test_options():
    assert parse_lun("0:0:0:0=/dev/sg0,identity=own").options.own_identity
    assert not parse_lun("0:0:0:0=/dev/sg0,identity=host").options.own_identity
    assert parse_lun("0:0:0:0=/dev/sg0,reset=lun").options.reset_lun
    assert not parse_lun("0:0:0:0=/dev/sg0,reset=off").options.reset_lun
