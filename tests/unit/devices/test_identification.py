"""Names of units."""

import pytest

from vhost_pvscsi.devices.identification import derive_identity, parse_wwn
from vhost_pvscsi.errors import ConfigurationError


def test_identity_is_stable_and_different_for_different_sources():
    one, same, other = (derive_identity(f"file:/{name}") for name in "aab")
    assert one == same
    assert one.naa != other.naa
    assert one.serial != other.serial


def test_default_names_are_pinned():
    """A guest's /dev/disk/by-id must not change with a release."""
    identity = derive_identity("file:/srv/disk.img")
    assert identity.naa.hex() == "3f09c1f4843ab272"
    assert identity.serial == "72ee2613895eba8fcc7c"


def test_names_given_by_the_operator_win():
    identity = derive_identity("file:/a", serial="abc", wwn="0x5000C50015EA71AC")
    assert (identity.serial, identity.naa.hex()) == ("abc", "5000c50015ea71ac")


@pytest.mark.parametrize(
    "wwn", ["naa.5000c50015ea71ac", "50:00:c5:00:15:ea:71:ac", "6" + "0" * 31, "3000000000000001"]
)
def test_wwn_forms(wwn):
    assert len(parse_wwn(wwn)) in {8, 16}


@pytest.mark.parametrize("wwn", ["", "5000", "1" * 16, "6" * 16, "5" * 32, "500000000000000g"])
def test_bad_wwn(wwn):
    with pytest.raises(ConfigurationError, match="is not an NAA identifier") as caught:
        parse_wwn(wwn)
    assert "16 hexadecimal digits" in caught.value.hint


@pytest.mark.parametrize("serial", ["", "x" * 37, "é", "a\n"])
def test_bad_serial(serial):
    with pytest.raises(ConfigurationError, match="cannot be used") as caught:
        derive_identity("x", serial=serial)
    assert "36 printable" in caught.value.hint


def test_odd_paths_have_an_identity():
    assert derive_identity("file:/x\udce9").naa
