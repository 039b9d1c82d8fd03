"""GET LBA STATUS parameter data (SBC-4)."""

import pytest

from vhost_pvscsi.scsi import lba_status
from vhost_pvscsi.scsi.lba_status import Completion, LbaStatus, ProvisioningStatus

HOLE = ProvisioningStatus.DEALLOCATED


def test_header_and_descriptor():
    data = lba_status.parameter_data(
        [LbaStatus(0x123456789, 0x1000, HOLE)], Completion.CAPACITY, by_type=True
    )
    assert data.hex() == "0000001400000007" + "0000000123456789" + "00001000" + "01000000"
    empty = lba_status.parameter_data([], Completion.ALLOCATION_LENGTH, by_type=False)
    assert empty.hex() == "0000000400000002"


def test_more_blocks_than_32_bits_are_split():
    pieces = list(LbaStatus(7, 2 * 0xFFFFFFFF + 5, HOLE).split())
    assert [(piece.lba, piece.blocks) for piece in pieces] == [
        (7, 0xFFFFFFFF),
        (7 + 0xFFFFFFFF, 0xFFFFFFFF),
        (7 + 2 * 0xFFFFFFFF, 5),
    ]


@pytest.mark.parametrize(
    ("length", "descriptors"),
    [(0, 1), (8, 1), (24, 1), (25, 2), (40, 2), (0xFFFFFFFF, 1 << 28)],
)
def test_room(length, descriptors):
    assert lba_status.room(length) == descriptors
