"""REPORT LUNS data (SPC-5, SAM-5 4.7)."""

import pytest

from vhost_pvscsi.scsi.luns import encode_lun, is_selection, lun_list


@pytest.mark.parametrize(
    ("lun", "encoded"),
    [
        (0, "0000000000000000"),
        (1, "0001000000000000"),
        (255, "00ff000000000000"),
        (256, "4100000000000000"),
        (257, "4101000000000000"),
        (16383, "7fff000000000000"),
    ],
)
def test_luns_from_256_have_the_flat_space_flag(lun, encoded):
    assert encode_lun(lun).to_bytes(8, "big").hex() == encoded


@pytest.mark.parametrize("lun", [-1, 16384])
def test_a_lun_out_of_range_is_an_error_of_ours(lun):
    with pytest.raises(ValueError, match="0 to 16383"):
        encode_lun(lun)


def test_lists_are_sorted_and_begin_with_their_length():
    assert lun_list([300, 2, 0]).hex() == (
        "000000180000000000000000000000000002000000000000412c000000000000"
    )


@pytest.mark.parametrize("count", [1, 31, 257, 16384])
def test_any_number_of_luns_fits(count):
    data = lun_list(range(count))
    assert int.from_bytes(data[:4], "big") == 8 * count
    assert len(data) == 8 + 8 * count


@pytest.mark.parametrize(
    ("select", "listed"),
    [
        (0, ["0000", "0001"]),
        (1, ["c101"]),
        (2, ["0000", "0001", "c101"]),
        (0x10, []),
        (0x11, ["0000", "0001"]),
        (0x12, []),
    ],
)
def test_select_report_chooses_kinds_of_units(select, listed):
    assert is_selection(select)
    data = lun_list([0, 1], select)
    assert [data[at : at + 2].hex() for at in range(8, len(data), 8)] == listed


@pytest.mark.parametrize("select", [3, 0x0F, 0x13, 0xFF])
def test_other_selections_mean_nothing(select):
    assert not is_selection(select)
