"""INQUIRY and VPD page layouts (SPC-5 6.6, 7.7; SBC-4 6.6)."""

from vhost_pvscsi.scsi import capacity, pages
from vhost_pvscsi.scsi.pages import BlockLimits, Designator, DesignatorType, Provisioning


def test_standard_inquiry():
    data = pages.standard_inquiry(
        peripheral=0, vendor="VEND", product="PROD", revision="1", versions=(0x00A0, 0x05C0)
    )
    assert data[:8].hex() == "000007125b000002"
    assert data[8:36] == b"VEND    PROD            1   "
    assert data[36:58] == bytes(22)
    assert data[58:64].hex() == "00a005c00000"
    assert len(data) == 96


def test_a_unit_that_copies_says_so():
    names = {"vendor": "V", "product": "P", "revision": "1"}
    assert pages.standard_inquiry(peripheral=0, third_party_copy=True, **names)[5] == 0x08


def test_standard_inquiry_of_nothing_has_qualifier_3_and_type_1f():
    data = pages.standard_inquiry(peripheral=pages.NO_UNIT, vendor="", product="", revision="")
    assert data[0] == 0x7F


def test_text_is_filled_with_blanks_cut_and_never_fails():
    assert pages.text_field("ab", 4) == b"ab  "
    assert pages.text_field("abcdef", 4) == b"abcd"
    assert pages.text_field("é", 4) == b"?   "


def test_designators():
    assert Designator(DesignatorType.NAA, bytes(8)).pack().hex() == "01030008" + "00" * 8
    text = Designator(DesignatorType.T10_VENDOR, b"VEND", ascii=True)
    assert text.pack().hex() == "02010004" + b"VEND".hex()


def test_block_limits():
    data = BlockLimits(
        max_transfer=0x11,
        optimal_transfer=0x12,
        optimal_granularity=8,
        max_unmap_blocks=0x3FFFFF,
        max_unmap_descriptors=255,
        unmap_granularity=8,
        max_write_same=0x1234,
        max_compare_write=0x21,
    ).pack()
    assert len(data) == 60
    assert data[:2].hex() == "0121"  # WSNZ; COMPARE AND WRITE length
    assert data[2:4].hex() == "0008"
    assert data[4:12].hex() == "0000001100000012"
    assert data[16:24].hex() == "003fffff000000ff"
    assert data[24:32].hex() == "0000000880000000"  # UGAVALID
    assert data[32:40].hex() == "0000000000001234"
    assert data[40:] == bytes(20)


def test_provisioning_flags():
    assert Provisioning(unmap=True, write_same=True, reads_zeros=True).pack().hex() == "00e40200"
    assert Provisioning(unmap=True, write_same=True, reads_zeros=False).pack().hex() == "00e00200"
    assert Provisioning(unmap=False, write_same=False, reads_zeros=False).pack().hex() == "00000000"


def test_block_characteristics():
    # Neither product type, form factor nor zones; FUAB and VBULS.
    assert pages.block_characteristics(1).hex() == "0001000003" + "00" * 55


def test_extended_inquiry():
    assert pages.extended_inquiry(volatile_cache=True, most_sense=96).hex() == (
        "000101" + "00" * 6 + "60" + "00" * 50
    )
    assert pages.extended_inquiry(volatile_cache=False, most_sense=0).hex() == "000100" + "00" * 57


def test_standard_inquiry_says_removable_and_target_port_groups():
    data = pages.standard_inquiry(
        peripheral=0, vendor="", product="", revision="", removable=True, target_port_groups=1
    )
    assert data[:8].hex() == "008007125b100002"


def test_read_capacity():
    assert capacity.read_capacity_10(0x1FFF, 512).hex() == "00001fff00000200"
    assert capacity.read_capacity_10(1 << 33, 4096).hex() == "ffffffff00001000"
    data = capacity.read_capacity_16(
        0x1FF, 512, physical_exponent=3, provisioned=True, reads_zeros=True
    )
    assert data.hex() == "00000000000001ff000002000003c000" + "00" * 16
    plain = capacity.read_capacity_16(0x1FF, 512, reads_zeros=True)
    assert plain[12:16].hex() == "00000000"  # LBPRZ says nothing without LBPME
