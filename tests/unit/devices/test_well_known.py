"""The REPORT LUNS well known logical unit."""

import pytest

from vhost_pvscsi.devices.well_known import WELL_KNOWN_UNIT
from vhost_pvscsi.scsi.request import Request, Status


async def ask(cdb):
    raw = bytes.fromhex(cdb).ljust(16, b"\0")
    return await WELL_KNOWN_UNIT.execute(Request(nexus="a", target=0, lun=0xC101, cdb=raw))


async def test_it_says_what_it_is():
    reply = await ask("12 00 00 00 60 00")
    assert reply.data[0] == 0x1E
    assert reply.data[16:32] == b"REPORT LUNS     "
    assert (await ask("12 01 00 00 ff 00")).data.hex() == "1e00000100"


async def test_it_is_ready_and_has_nothing_to_tell():
    assert (await ask("00 00")).status is Status.GOOD
    assert (await ask("03 00 00 00 12 00")).data[2] == 0


@pytest.mark.parametrize(
    ("cdb", "code"),
    [("28 00", "2000"), ("12 01 83 00 ff 00", "2400"), ("a0 00 03 000000 00000100", "2400")],
)
async def test_it_refuses_the_rest(cdb, code):
    reply = await ask(cdb)
    assert reply.status is Status.CHECK_CONDITION
    assert reply.sense[12:14].hex() == code
