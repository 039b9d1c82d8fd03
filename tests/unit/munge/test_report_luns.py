"""REPORT LUNS follows the table."""

import pytest

from vhost_pvscsi.devices.absent import ABSENT_UNIT
from vhost_pvscsi.identity import Address
from vhost_pvscsi.munge.report_luns import only_attached
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.request import Reply, Request
from vhost_pvscsi.translation import Mapping

UNIT_ALONE = Reply(data=bytes.fromhex("00000008000000000000000000000000"))


def munged(luns, *, select=0, allocation=1 << 20, reply=UNIT_ALONE):
    cdb = bytes([0xA0, 0, select, 0, 0, 0, *allocation.to_bytes(4, "big"), 0, 0])
    request = Request(nexus="a", target=7, lun=0, cdb=cdb.ljust(16, b"\0"))
    mapping = Mapping(0, 1, Address(0, 0, 7, 0), ABSENT_UNIT, tuple(luns))
    return only_attached(request, reply, mapping)


@pytest.mark.parametrize("luns", [[0], [3], [0, 5, 255, 256, 16383], range(31), range(257)])
def test_the_targets_luns_are_listed(luns):
    data = munged(luns).data
    assert int.from_bytes(data[:4], "big") == 8 * len(luns)
    listed = [int.from_bytes(data[at : at + 2], "big") for at in range(8, len(data), 8)]
    assert listed == [lun if lun < 256 else 0x4000 | lun for lun in luns]


def test_16384_luns_fit():
    data = munged(range(16384)).data
    assert len(data) == 8 + 8 * 16384


@pytest.mark.parametrize("allocation", [0, 1, 8, 15, 16, 24, 100])
def test_any_allocation_length_cuts_the_data_but_not_the_length(allocation):
    whole = munged(range(3)).data
    assert munged(range(3), allocation=allocation).data == whole[:allocation]


@pytest.mark.parametrize(
    ("select", "size"), [(0, 24), (1, 16), (2, 32), (0x10, 8), (0x11, 24), (0x12, 8)]
)
def test_select_report(select, size):
    assert len(munged([0, 1], select=select).data) == size


def test_a_refusal_is_left_as_it_is():
    refusal = sense.check_condition(sense.INVALID_FIELD_IN_CDB)
    assert munged([0], reply=refusal) is refusal
