"""Mode pages and headers (SPC-5 7.5, SBC-4 6.5)."""

from vhost_pvscsi.scsi import mode
from vhost_pvscsi.scsi.mode import DPO_FUA, WRITE_PROTECTED, ModeData


def test_pages_are_as_the_standard_lays_them_out():
    assert mode.error_recovery().default.hex() == "010a80000000000000000000"
    cached = mode.caching(write_cache=True, switchable=True)
    assert cached.default.hex() == "081204" + "00" * 17
    assert mode.caching(write_cache=False, switchable=True).default.hex() == "0812" + "00" * 18
    assert mode.control().default.hex() == "0a0a021000000000ffff0000"
    assert mode.control_extension(most_sense=96).default.hex() == "4a01001c000060" + "00" * 25
    assert mode.informational_exceptions().default.hex() == "1c0a08" + "00" * 9


def test_only_what_is_changeable_is_taken_over():
    cached = mode.caching(write_cache=True, switchable=True)
    assert cached.mask.hex() == "081204" + "00" * 17
    assert cached.merged(b"\xff" * 20).hex() == "081204" + "00" * 17
    assert cached.merged(bytes(20)).hex() == "081200" + "00" * 17
    fixed = mode.caching(write_cache=True, switchable=False)
    assert fixed.mask.hex() == "0812" + "00" * 18
    assert fixed.merged(bytes(20)) == fixed.default


def test_headers_have_length_flags_and_descriptor_length():
    data = ModeData(WRITE_PROTECTED | DPO_FUA, descriptor=bytes(8), pages=b"\x0a\x00")
    assert data.pack_6()[:4].hex() == "0d009008"
    assert data.pack_10()[:8].hex() == "0010009000000008"
    long = ModeData(DPO_FUA, descriptor=bytes(16), pages=b"")
    assert long.pack_10()[:8].hex() == "0016001001000010"


def test_block_descriptors():
    assert mode.short_block_descriptor(0x1000, 512).hex() == "0000100000000200"
    assert mode.short_block_descriptor(1 << 40, 4096).hex() == "ffffffff00001000"
    assert mode.long_block_descriptor(1 << 40, 4096).hex() == "00000100000000000000000000001000"


def test_pages_are_chosen_by_code_and_subpage():
    first, second, extended = b"\x01\x01\x22", b"\x0a\x01\x11", b"\x4a\x01\x00\x01\x33"
    pages = {(0x0A, 0): second, (0x0A, 1): extended, (0x01, 0): first}
    assert mode.choose_pages(pages, 0x3F, 0) == first + second
    assert mode.choose_pages(pages, 0x3F, 0xFF) == first + second + extended
    assert mode.choose_pages(pages, 0x0A, 0) == second
    assert mode.choose_pages(pages, 0x0A, 0xFF) == second + extended
    assert mode.choose_pages(pages, 0x0A, 1) == extended
    assert mode.choose_pages(pages, 0x3F, 1) is None
    assert mode.choose_pages(pages, 0x08, 0) is None
