"""Mode pages and headers (SPC-5 7.5, SBC-4 6.5)."""

from vhost_pvscsi.scsi import mode
from vhost_pvscsi.scsi.mode import ModeData, ModePage

PAGES = {ModePage.CONTROL: b"\x0a\x01\x11", ModePage.ERROR_RECOVERY: b"\x01\x01\x22"}


def test_pages_are_as_the_standard_lays_them_out():
    assert mode.error_recovery().hex() == "010a80000000000000000000"
    assert mode.caching(write_cache=True).hex() == "081204" + "00" * 17
    assert mode.caching(write_cache=False).hex() == "0812" + "00" * 18
    assert mode.control().hex() == "0a0a021000000000ffff0000"
    assert mode.informational_exceptions().hex() == "1c0a08" + "00" * 9


def test_nothing_is_changeable():
    assert mode.changeable(mode.caching(write_cache=True)).hex() == "0812" + "00" * 18


def test_headers_have_length_flags_and_descriptor_length():
    data = ModeData(write_protected=True, descriptor=bytes(8), pages=b"\x0a\x00")
    assert data.pack_6()[:4].hex() == "0d009008"
    assert data.pack_10()[:8].hex() == "0010009000000008"
    long = ModeData(write_protected=False, descriptor=bytes(16), pages=b"")
    assert long.pack_10()[:8].hex() == "0016001001000010"


def test_block_descriptors():
    assert mode.short_block_descriptor(0x1000, 512).hex() == "0000100000000200"
    assert mode.short_block_descriptor(1 << 40, 4096).hex() == "ffffffff00001000"
    assert mode.long_block_descriptor(1 << 40, 4096).hex() == "00000100000000000000000000001000"


def test_pages_are_chosen_by_code_and_subpage():
    everything = b"\x01\x01\x22\x0a\x01\x11"
    assert mode.select_pages(PAGES, 0x3F, 0) == everything
    assert mode.select_pages(PAGES, 0x3F, 0xFF) == everything
    assert mode.select_pages(PAGES, 0x0A, 0) == b"\x0a\x01\x11"
    assert mode.select_pages(PAGES, 0x0A, 0xFF) == b"\x0a\x01\x11"
    assert mode.select_pages(PAGES, 0x0A, 1) is None
    assert mode.select_pages(PAGES, 0x08, 0) is None
