"""A LUN that is attached read-only says so in MODE SENSE."""

import pytest

from vhost_pvscsi.devices.absent import ABSENT_UNIT
from vhost_pvscsi.devices.presentation import PLAIN, Presentation
from vhost_pvscsi.identity import Address
from vhost_pvscsi.munge.table import REGISTRY
from vhost_pvscsi.scsi.request import Reply, Request, Status
from vhost_pvscsi.translation import Mapping


def munged(opcode, reply, shown):
    mapping = Mapping(1, 1, Address(0, 0, 0, 0), ABSENT_UNIT, (0,), shown)
    cdb = bytes([opcode]).ljust(16, b"\0")
    return REGISTRY.ours.outbound(Request(nexus="a", target=0, lun=0, cdb=cdb), reply, mapping)


@pytest.mark.parametrize(("opcode", "at"), [(0x1A, 2), (0x5A, 3)])
def test_the_bit_is_set_where_the_guest_may_not_write(opcode, at):
    data = bytes(16)
    assert munged(opcode, Reply(data=data), PLAIN).data == data
    told = munged(opcode, Reply(data=data), Presentation(protected=True)).data
    assert told == data[:at] + b"\x80" + data[at + 1 :]


@pytest.mark.parametrize("opcode", [0x1A, 0x5A])
def test_short_data_and_refusals_are_left(opcode):
    shown = Presentation(protected=True)
    assert munged(opcode, Reply(data=b"\x03\0"), shown).data == b"\x03\0"
    refusal = Reply(status=Status.CHECK_CONDITION)
    assert munged(opcode, refusal, shown) is refusal
