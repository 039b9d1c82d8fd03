"""What is answered where nothing is attached."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhost_pvscsi.devices.absent import ABSENT_TARGET, ABSENT_UNIT
from vhost_pvscsi.scsi.request import Request, Service, Status


async def ask(cdb, unit=ABSENT_UNIT):
    if isinstance(cdb, str):
        cdb = bytes.fromhex(cdb).ljust(16, b"\0")
    return await unit.execute(Request(nexus="a", target=0, lun=3, cdb=cdb))


async def test_inquiry_says_that_nothing_can_be_there():
    reply = await ask("12 00 00 00 24 00")
    assert reply.status is Status.GOOD
    assert (reply.data[0], len(reply.data)) == (0x7F, 36)


async def test_vpd_has_only_the_list_of_itself():
    assert (await ask("12 01 00 00 24 00")).data.hex() == "7f00000100"
    assert (await ask("12 01 83 00 24 00")).sense[12:14].hex() == "2400"


async def test_request_sense_says_it_in_its_data():
    reply = await ask("03 00 00 00 ff 00")
    assert reply.status is Status.GOOD
    assert (reply.data[2], reply.data[12:14].hex()) == (5, "2500")
    assert (await ask("03 01 00 00 ff 00")).data[:4].hex() == "72052500"


async def test_report_luns_is_answered():
    assert (await ask("a0 00 00 000000 00000010 0000")).data == bytes(8)
    assert (await ask("a0 00 05 000000 00000010 0000")).sense[12:14].hex() == "2400"


@pytest.mark.parametrize("cdb", ["00", "28", "25", "1a 00 3f 00 ff 00", "ff"])
async def test_others_are_not_supported(cdb):
    reply = await ask(cdb)
    assert (reply.status, reply.sense[2]) == (Status.CHECK_CONDITION, 5)
    assert reply.sense[12:14].hex() == "2500"


async def test_an_absent_target_is_the_transports_matter():
    assert (await ask("12", ABSENT_TARGET)).service is Service.ABSENT_TARGET


@given(cdb=st.binary(min_size=1, max_size=32))
async def test_any_cdb_gets_a_proper_reply(cdb):
    reply = await ask(cdb)
    assert reply.service is Service.COMPLETE
    assert (reply.status is Status.GOOD) == (not reply.sense)
