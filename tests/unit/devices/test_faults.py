"""Fault rules at work: which commands they fit, when they act, what they make of a command."""

import asyncio
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhost_pvscsi.devices.faults import names
from vhost_pvscsi.devices.faults.blocks import corrupt_stored, flipped, shortened, sound
from vhost_pvscsi.devices.faults.injector import Faults
from vhost_pvscsi.devices.faults.parse import parse_rule
from vhost_pvscsi.devices.faults.rule import Extent
from vhost_pvscsi.devices.faults.subject import subject_of
from vhost_pvscsi.devices.gates import Cause, Gates
from vhost_pvscsi.scsi.request import Reply, Request, Service, Status

READ_6, READ_10, READ_12, READ_16 = (
    bytes.fromhex(text)
    for text in (
        "08 000064 08 00",
        "28 00 00000064 00 0008 00",
        "a8 00 00000064 00000008 00 00",
        "88 00 0000000000000064 00000008 00 00",
    )
)
WRITE_10 = bytes.fromhex("2a 00 00000064 00 0008 00")
INQUIRY = bytes.fromhex("12 00 00 00ff 00")
READ_CAPACITY_10 = bytes.fromhex("25 00 00000064 0000 00 00")
READ_CAPACITY_16 = bytes.fromhex("9e 10 0000000000000000 00000020 00 00")
READ_KEYS = bytes.fromhex("5e 00 0000000000 00ff 00")
UNMAP = bytes.fromhex("42 00 00000000 00 0018 00")


@dataclass
class Disk:
    blocks: int = 1000
    block_size: int = 512
    transport_limit: int = 1 << 20


class Rig:
    """Rules in force, and the gate of a nexus."""

    def __init__(self, *rules):
        self.gates = Gates()
        self.turned = []
        self.disk = Disk()
        self.faults = Faults(self.gates, lambda: self.disk, object(), map(parse_rule, rules))
        self.gates.add("a", self.keep)

    async def keep(self, cause, shut):
        assert cause is Cause.FAULTS
        self.turned.append(shut)

    async def struck(self, cdb, **request):
        """The text of the rule that acts, None for none."""
        request.setdefault("data_in_length", 1 << 20)
        strike = await self.faults.strike(asked(cdb, **request))
        return strike and str(strike.trigger.rule)


def asked(cdb, **members):
    return Request(nexus="a", target=0, lun=0, cdb=cdb.ljust(32, b"\0"), **members)


# -- which commands they fit


@pytest.mark.parametrize(
    ("cdb", "first", "last"),
    [
        (READ_6, 100, 107),
        (bytes.fromhex("08 000064 00 00"), 100, 355),
        (READ_10, 100, 107),
        (READ_12, 100, 107),
        (READ_16, 100, 107),
        (bytes.fromhex("89 00 0000000000000064 000000 08 00 00"), 100, 107),
        (bytes.fromhex("35 00 00000064 00 0000 00"), 100, None),
        (bytes.fromhex("35 00 00000064 00 0008 00"), 100, 107),
    ],
)
def test_the_blocks_of_a_command(cdb, first, last):
    assert subject_of(cdb.ljust(32, b"\0")).extent == Extent(first, last)


@pytest.mark.parametrize(
    "cdb", [bytes.fromhex("28 00 00000064 00 0000 00"), UNMAP, READ_CAPACITY_10, b"\xff"]
)
def test_commands_without_blocks(cdb):
    assert subject_of(cdb.ljust(32, b"\0")).extent is None


@given(st.binary(min_size=1, max_size=32))
def test_any_cdb_has_a_subject(cdb):
    assert subject_of(cdb).opcode == cdb[0]


@pytest.mark.parametrize(
    ("rule", "fitting", "others"),
    [
        ("hang", [READ_10, INQUIRY, b"\xff"], []),
        ("opcode=read:hang", [READ_6, READ_10, READ_12, READ_16], [WRITE_10, INQUIRY]),
        ("opcode=0x28:hang", [READ_10], [READ_16]),
        ("opcode=0xff:hang", [b"\xff"], [READ_10]),
        ("opcode=read-capacity-16:hang", [READ_CAPACITY_16], [READ_CAPACITY_10]),
        ("opcode=0x9e/0x12:hang", [], [READ_CAPACITY_16]),
        ("opcode=persistent-reserve-in:hang", [READ_KEYS], []),
        ("lba=107-107:hang", [READ_6, READ_10, WRITE_10], [INQUIRY, UNMAP]),
        ("lba=108-:hang", [], [READ_10]),
        ("lba=0-100:hang", [READ_10], []),
        ("lba=0-99:hang", [], [READ_10]),
        ("short=4095", [READ_10], []),
        ("short=4096", [INQUIRY], [READ_10, UNMAP]),
        ("corrupt", [READ_10, WRITE_10, INQUIRY], [UNMAP]),
    ],
)
async def test_the_commands_that_a_rule_is_about(rule, fitting, others):
    rig = Rig(rule)
    assert [await rig.struck(cdb) for cdb in fitting] == [rule] * len(fitting)
    assert [await rig.struck(cdb) for cdb in others] == [None] * len(others)


async def when(rule, commands=12):
    """The numbers of the commands that a rule acts on."""
    rig = Rig(rule)
    return [number for number in range(1, commands + 1) if await rig.struck(READ_10)]


@pytest.mark.parametrize(
    ("rule", "acted_on"),
    [
        ("nth=3", [3]),
        ("every=4", [4, 8, 12]),
        ("times=2", [1, 2]),
        ("nth=3:times=2", [3, 4]),
        ("nth=10:every=1", [10, 11, 12]),
        ("nth=2:every=5", [2, 7, 12]),
        ("nth=2:every=3:times=2", [2, 5]),
    ],
)
async def test_when_a_rule_acts(rule, acted_on):
    assert await when(f"{rule}:hang") == acted_on


async def test_dice_fall_the_same_way_again():
    first = await when("probability=0.25:hang", 400)
    assert 60 < len(first) < 140
    assert await when("probability=0.25:hang", 400) == first
    assert await when("probability=0.25:seed=1:hang", 400) != first
    assert len(await when("probability=0.25:times=3:hang", 400)) == 3


async def test_the_first_rule_that_is_due_acts_and_all_count():
    rig = Rig("nth=2:hang", "opcode=read:times=2:delay=1s", "status=busy")
    assert [await rig.struck(READ_10) for _ in range(4)] == [
        "opcode=read:times=2:delay=1s",
        "nth=2:hang",
        "opcode=read:times=2:delay=1s",
        "status=busy",
    ]
    standing = rig.faults.rules
    assert [(one.seen, one.acted, one.spent) for one in standing] == [
        (2, 1, True),
        (3, 2, True),
        (4, 1, False),
    ]


async def test_what_does_not_fit_is_not_counted():
    rig = Rig("opcode=read:nth=2:hang")
    await rig.struck(READ_10)
    await rig.struck(WRITE_10)
    assert await rig.struck(READ_10)


# -- gates


async def test_the_gates_are_shut_while_a_rule_can_act():
    rig = Rig("times=1:hang")
    assert rig.faults.shut
    await rig.struck(READ_10)
    assert (rig.turned, rig.faults.shut) == ([False], False)
    assert await rig.struck(READ_10) is None
    await rig.faults.set_rules([parse_rule("hang"), parse_rule("delay=1s")])
    await rig.faults.set_rules([parse_rule("status=busy")])
    assert (rig.turned, rig.faults.shut) == ([False, True], True)
    await rig.faults.set_rules([])
    assert (rig.turned, rig.faults.rules) == ([False, True, False], ())


async def test_rules_hold_only_behind_shut_gates():
    rig = Rig()
    during = []

    async def keep(cause, shut):
        during.append((shut, await rig.struck(READ_10)))

    rig.gates.add("b", keep)
    await rig.faults.set_rules([parse_rule("hang")])
    await rig.faults.set_rules([])
    assert during == [(True, None), (False, None)]


# -- what they do, with an executor that only notes what it is given


class Executed:
    """A carrier out of requests."""

    def __init__(self, reply=None):
        self.requests = []
        self.reply = reply

    async def execute(self, request):
        self.requests.append(request)
        return self.reply or Reply(transferred=4096)

    async def carry_out(self, request, execute):
        return await execute(request)


async def inflicted(rule, cdb, *, reply=None, rig=None, **request):
    rig = rig or Rig(rule)
    request = asked(cdb, **{"data_in_length": 4096, **request})
    executed = Executed(reply)
    strike = await rig.faults.strike(request)
    answer = await strike.inflict(request, executed.execute, executed.carry_out)
    return answer, executed.requests


async def test_a_status_is_answered_without_doing_anything():
    answer, requests = await inflicted("status=busy", READ_10)
    assert (answer.status, answer.sense, requests) == (Status.BUSY, b"", [])


async def test_a_recovered_error_is_told_of_a_command_that_was_carried_out():
    answer, [got] = await inflicted("sense=1/17/00", READ_10)
    assert (answer.status, answer.transferred) == (Status.CHECK_CONDITION, 4096)
    assert answer.sense[2] == 1
    assert got.cdb[:10] == READ_10


async def test_a_lost_write_has_taken_its_data():
    answer, requests = await inflicted("status=good", WRITE_10, data_out_length=4096)
    assert (answer.status, answer.transferred, requests) == (Status.GOOD, 4096, [])


@pytest.mark.parametrize(
    ("rule", "information"),
    [
        ("sense=3/11/00", 100),
        ("lba=103-:sense=3/11/00", 103),
        ("lba=0-200:sense=3/11/00", 100),
        ("short=1024:sense=3/11/00", 102),
        ("lba=101-:short=1024:sense=3/11/00", 102),
        ("lba=105-:short=1024:sense=3/11/00", 105),
        ("sense=2/04/01", None),
    ],
)
async def test_errors_of_the_medium_name_the_first_block(rule, information):
    answer, _ = await inflicted(rule, READ_10)
    assert answer.status is Status.CHECK_CONDITION
    assert answer.sense[0] == (0x70 if information is None else 0xF0)
    assert int.from_bytes(answer.sense[3:7], "big") == (information or 0)


async def test_transport_is_the_service():
    for name, service in names.TRANSPORTS.items():
        answer, requests = await inflicted(f"transport={name}", READ_10)
        assert (answer.service, requests) == (service, [])


@pytest.mark.parametrize(
    ("cdb", "short", "made"),
    [
        (READ_10, 1024, "28 00 00000064 00 0002 00"),
        (READ_10, 1535, "28 00 00000064 00 0002 00"),
        (READ_10, 0, "28 00 00000064 00 0000 00"),
        (READ_6, 512, "08 000064 01 00"),
        (READ_6, 0, "28 00 00000064 00 0000 00"),
        (READ_12, 512, "a8 00 00000064 00000001 00 00"),
        (READ_16, 512, "88 00 0000000000000064 00000001 00 00"),
        (bytes.fromhex("08 1fff64 00 80"), 512, "08 1fff64 01 80"),
    ],
)
def test_a_shorter_cdb(cdb, short, made):
    request = asked(cdb)
    assert shortened(subject_of(cdb), request, short // 512).cdb == (
        bytes.fromhex(made).ljust(32, b"\0")
    )


@pytest.mark.parametrize("change", [{"blocks": 107}, {"transport_limit": 4095}])
async def test_a_command_that_is_refused_is_not_made_shorter(change):
    rig = Rig("short=512")
    rig.disk = replace(rig.disk, **change)
    _, [given_on] = await inflicted("", READ_10, rig=rig)
    assert given_on.cdb[:10] == READ_10


def test_what_the_executor_refuses_is_not_sound():
    subject = subject_of(READ_10)
    assert sound(subject, asked(READ_10, data_in_length=4096), Disk())
    assert not sound(subject, asked(READ_10, data_in_length=4095), Disk())
    protected = bytes([0x28, 0x20]) + READ_10[2:]
    assert not sound(subject_of(protected), asked(protected, data_in_length=4096), Disk())


async def test_data_of_other_commands_is_cut_and_flipped():
    reply = Reply(data=b"\x00\x80\x05\x02")
    answer, _ = await inflicted("short=3:corrupt=2", INQUIRY, reply=reply)
    assert answer.data == b"\xff\x7f\x05"
    refused = Reply(Status.CHECK_CONDITION, Service.COMPLETE, b"x")
    answer, _ = await inflicted("short=3:status=busy", INQUIRY, reply=refused)
    assert answer is refused


async def test_parameter_lists_are_flipped():
    mode_select = bytes.fromhex("15 10 00 00 04 00")
    _, [got] = await inflicted("corrupt", mode_select, data_out=bytes(4), data_out_length=4)
    assert got.data_out == b"\xff\0\0\0"


async def hanging(rig):
    """Wait until a command hangs."""
    async with asyncio.timeout(10):
        while True:
            if rig.faults.rules[0].held:
                return
            await asyncio.sleep(0)


async def test_hanging_commands_go_on_when_released():
    rig = Rig("hang:status=busy")
    task = asyncio.create_task(inflicted("", READ_10, rig=rig))
    await hanging(rig)
    assert rig.faults.release() == 1
    async with asyncio.timeout(10):
        answer, _ = await task
    assert answer.status is Status.BUSY
    assert (rig.faults.rules[0].held, rig.faults.release()) == (0, 0)
    later = asyncio.create_task(inflicted("", READ_10, rig=rig))
    await hanging(rig)
    later.cancel()
    with pytest.raises(asyncio.CancelledError):
        await later
    assert rig.faults.rules[0].held == 0


async def test_lifting_a_rule_lets_its_commands_go_on():
    rig = Rig("hang")
    task = asyncio.create_task(inflicted("", READ_10, rig=rig))
    await hanging(rig)
    await rig.faults.set_rules([])
    async with asyncio.timeout(10):
        _, requests = await task
    assert len(requests) == 1


async def test_an_abort_does_not_leave_a_write_behind():
    """What corrupts has ended when the task has: a TMF is answered after that."""
    started, done = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    class Slow:
        def read(self, offset, length):
            loop.call_soon_threadsafe(started.set)
            asyncio.run_coroutine_threadsafe(released.wait(), loop).result(10)
            return bytes(length)

        def write(self, offset, data):
            done.append((offset, data[:2]))

    released = asyncio.Event()
    task = asyncio.create_task(corrupt_stored(Slow(), Extent(2, 9), 512, 1))
    await asyncio.wait_for(started.wait(), 10)
    task.cancel()
    loop.call_soon(released.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [(1024, b"\xff\0")]


@given(st.binary(max_size=20), st.integers(0, 25), st.integers(0, 25))
def test_flipping_twice_is_nothing(data, start, count):
    assert len(flipped(data, start, count)) == len(data)
    assert flipped(flipped(data, start, count), start, count) == data
