"""A unit whose device has gone: what it answers, and how it goes on when that is back."""

import asyncio

import pytest

from tests.unit.devices.forwarded.test_unit import Sent, _until, keeper, request, unit_of
from vhost_pvscsi.devices.forwarded import lost
from vhost_pvscsi.devices.forwarded.limits import Limits
from vhost_pvscsi.devices.gates import Cause
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.pages import DeviceType
from vhost_pvscsi.scsi.request import Reply, Status

STANDARD = bytes.fromhex("0180060220001002") + b"HPE     Ultrium 9-SCSI  R2G3"
SERIAL = b"\x01\x80\x00\x04HU19"
TOLD = {None: STANDARD, 0x80: SERIAL}
NOT_READY = sense.check_condition(sense.OFFLINE)


@pytest.mark.parametrize(
    ("cdb", "data"),
    [
        ("120000002400", STANDARD),
        ("120000000500", STANDARD[:5]),
        ("12018000ff00", SERIAL),
        ("120100000f00", b"\x01\x00\x00\x02\x00\x80"),
        ("030000001200", sense.fixed(sense.OFFLINE)),
        ("03010000ff00", sense.descriptor(sense.OFFLINE)),
        ("a00000000000000000100000", bytes(8)),
    ],
)
def test_what_needs_no_device_is_answered(cdb, data):
    assert lost.answer(request(cdb), TOLD) == Reply(data=data)


@pytest.mark.parametrize("cdb", ["00", "0a0000040000", "1a003f00ff00", "5e", "fe", "34", "01"])
def test_all_else_is_not_ready(cdb):
    assert lost.answer(request(cdb), TOLD) == NOT_READY


@pytest.mark.parametrize("cdb", ["12018300ff00", "12008000ff00"])
def test_what_it_had_not_told_is_refused(cdb):
    assert lost.answer(request(cdb), TOLD) == sense.invalid_field(2)


def test_one_that_has_told_nothing_does_not_fail():
    assert lost.answer(request("120000002400"), {}).status is Status.CHECK_CONDITION


class Gate:
    def __init__(self):
        self.shut = set()

    async def __call__(self, cause, shut):
        (self.shut.add if shut else self.shut.discard)(cause)


async def ready(unit, gate=keeper):
    await unit.connect("guest", gate)
    await unit.execute(request("00"))
    return unit


async def test_nothing_is_sent_to_a_device_that_has_gone():
    sent, gate = Sent(), Gate()
    unit = await ready(unit_of(DeviceType.TAPE, sent), gate)
    await unit.lose(TOLD)
    assert Cause.LOST in gate.shut
    assert await unit.execute(request("00")) == NOT_READY
    assert sent.requests == []
    later = Gate()
    await unit.connect("other", later)
    assert Cause.LOST in later.shut


async def test_it_goes_on_with_the_device_that_is_back():
    before, after, gate = Sent(), Sent(), Gate()
    unit = await ready(unit_of(DeviceType.DISK, before), gate)
    await unit.lose(TOLD)
    assert await unit.idle(5)
    new, limits = object(), Limits(DeviceType.DISK, 4096, 4096)
    unit.go_on_with(new, limits, after)
    assert await unit.execute(request("00")) == NOT_READY
    await unit.found()
    assert (unit.device, unit.limits) == (new, limits)
    # Shut for the unit attention, until that is told.
    assert gate.shut == {Cause.ATTENTION}
    assert await unit.execute(request("00")) == sense.check_condition(sense.POWER_ON_OR_RESET)
    assert gate.shut == set()
    assert (await unit.execute(request("00"))).status is Status.GOOD
    assert (len(before.requests), len(after.requests)) == (0, 1)


async def test_what_is_under_way_is_waited_for():
    sent = Sent()
    sent.at_once = None
    unit = await ready(unit_of(DeviceType.DISK, sent))
    task = asyncio.create_task(unit.execute(request("1a")))
    await _until(lambda: len(sent.ends) == 1)
    await unit.lose(TOLD)
    assert not await unit.idle(0.01)
    sent.ends[0].set_result(Reply())
    assert await unit.idle(5)
    assert (await task).status is Status.GOOD


async def test_what_waited_for_its_turn_is_not_sent_to_the_device_that_is_back():
    """A WRITE that was meant for the place where the tape was."""
    before, after = Sent(), Sent()
    before.at_once = None
    unit = await ready(unit_of(DeviceType.TAPE, before, exclusive=True))
    tasks = [asyncio.create_task(unit.execute(request("0a", tag=tag))) for tag in range(2)]
    await _until(lambda: len(before.ends) == 1)
    await unit.lose(TOLD)
    unit.go_on_with(object(), unit.limits, after)
    await unit.found()
    before.ends[0].set_result(Reply())
    assert (await tasks[1]) == NOT_READY
    assert (len(before.requests), after.requests) == (1, [])
    await unit.execute(request("00"))  # the unit attention
    assert (await unit.execute(request("00"))).status is Status.GOOD
