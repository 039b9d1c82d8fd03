"""A forwarded unit: turns, unit attentions, what comes through Python."""

import asyncio

import pytest

from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.forwarded.limits import Limits
from vhost_pvscsi.devices.forwarded.unit import ByBlocks, ForwardedUnit
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.pages import DeviceType
from vhost_pvscsi.scsi.request import Reply, Request, Status


class Sent:
    """The engine: what it was told to send, and the ends that are still to come."""

    def __init__(self):
        self.requests: list[tuple[Request, bytes | None, int | None]] = []
        self.ends: list[asyncio.Future[Reply]] = []
        self.at_once: Reply | None = Reply(transferred=0)

    async def __call__(self, request, *, send=None, fetch=None):
        self.requests.append((request, send, fetch))
        if self.at_once is not None:
            return self.at_once
        self.ends.append(asyncio.get_running_loop().create_future())
        return await self.ends[-1]


def request(cdb: str, **fields) -> Request:
    return Request("guest", 0, 0, bytes.fromhex(cdb).ljust(32, b"\0"), **fields)


def unit_of(device_type: DeviceType, sent: Sent, **options) -> ForwardedUnit:
    limits = Limits(device_type, 1 << 20, 512)
    return ForwardedUnit("/dev/sg9", object(), limits, sent, **options)


async def keeper(cause, shut):
    pass


@pytest.fixture
def sent():
    return Sent()


async def test_a_new_nexus_hears_of_it_once_and_the_device_does_not(sent):
    unit = unit_of(DeviceType.DISK, sent)
    await unit.connect("guest", keeper)
    first = await unit.execute(request("00"))
    assert first == sense.check_condition(sense.POWER_ON)
    assert sent.requests == []
    assert (await unit.execute(request("00"))).status is Status.GOOD


@pytest.mark.parametrize("cdb", ["120000002400", "03000000ff00", "a0", "4a"])
async def test_what_ignores_unit_attentions_goes_to_the_device(sent, cdb):
    unit = unit_of(DeviceType.CD, sent)
    await unit.connect("guest", keeper)
    assert (await unit.execute(request(cdb))).status is Status.GOOD
    assert len(sent.requests) == 1


async def test_data_stays_in_the_engine_unless_a_munger_looks_at_it(sent):
    munged = {0x1A}
    unit = unit_of(DeviceType.TAPE, sent, is_munged=munged.__contains__)
    await unit.execute(request("4d", data_in_length=512))
    await unit.execute(request("1a", data_in_length=255))
    await unit.execute(request("15", data_out_length=12))
    await unit.execute(request("15", data_out_length=12, data_out=b"changed data"))
    assert [(send, fetch) for _, send, fetch in sent.requests] == [
        (None, None),
        (None, 255),
        (None, None),
        (b"changed data", None),
    ]


async def test_a_tape_gets_one_command_at_a_time_in_order(sent):
    sent.at_once = None
    unit = unit_of(DeviceType.TAPE, sent, exclusive=True)
    tasks = [asyncio.create_task(unit.execute(request("0a", tag=tag))) for tag in range(4)]
    for tag in range(4):
        await _until(lambda tag=tag: len(sent.ends) == tag + 1)
        assert [one.tag for one, _, _ in sent.requests] == list(range(tag + 1))
        sent.ends[tag].set_result(Reply(transferred=tag))
    assert [reply.transferred for reply in await asyncio.gather(*tasks)] == [0, 1, 2, 3]


async def test_a_cancelled_command_keeps_its_turn_until_the_device_is_through(sent):
    sent.at_once = None
    unit = unit_of(DeviceType.TAPE, sent, exclusive=True)
    tasks = [asyncio.create_task(unit.execute(request("0a", tag=tag))) for tag in range(3)]
    await _until(lambda: len(sent.ends) == 1)
    tasks[0].cancel()  # sent
    tasks[1].cancel()  # not sent
    await asyncio.wait(tasks[:2])
    assert all(task.cancelled() for task in tasks[:2])
    assert len(sent.requests) == 1
    sent.ends[0].set_result(Reply())
    await _until(lambda: len(sent.ends) == 2)
    assert sent.requests[-1][0].tag == 2
    sent.ends[1].set_result(Reply())
    assert (await tasks[2]).status is Status.GOOD


async def test_disks_get_several_commands_at_a_time(sent):
    sent.at_once = None
    unit = unit_of(DeviceType.DISK, sent)
    tasks = [asyncio.create_task(unit.execute(request("28"))) for _ in range(4)]
    await _until(lambda: len(sent.ends) == 4)
    for end in sent.ends:
        end.set_result(Reply())
    await asyncio.gather(*tasks)


def test_workers_send_reads_and_writes_of_what_has_blocks(sent):
    assert unit_of(DeviceType.DISK, sent).medium_opcodes == frozenset(
        b"\x08\x0a\x28\x2a\x88\x8a\xa8\xaa"
    )
    # MMC has neither READ(6) nor READ(16).
    assert unit_of(DeviceType.CD, sent).medium_opcodes == frozenset(b"\x28\x2a\xa8\xaa")
    for other in (DeviceType.TAPE, DeviceType.CHANGER, DeviceType.ENCLOSURE):
        assert unit_of(other, sent).medium_opcodes == frozenset()


async def test_a_reset_is_told_to_every_nexus(sent):
    unit = unit_of(DeviceType.DISK, sent)
    for nexus in ("guest", "other"):
        await unit.connect(nexus, keeper)
        await unit.execute(Request(nexus, 0, 0, bytes(32)))
    await unit.reset()
    for nexus in ("guest", "other"):
        told = await unit.execute(Request(nexus, 0, 0, bytes(32)))
        assert told == sense.check_condition(sense.BUS_DEVICE_RESET)


async def _until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - other tasks make it so
            await asyncio.sleep(0)


async def test_blocks_go_by_the_block_device_unless_python_has_to_see_them(sent):
    executed = []

    async def execute(request):
        executed.append(request.opcode)
        return Reply(transferred=512)

    medium = object()
    blocks = ByBlocks(medium, DiskGeometry(1), execute)
    unit = unit_of(DeviceType.DISK, sent, blocks=blocks, is_munged={0x2A}.__contains__)
    assert unit.medium is medium
    for cdb in ("28", "8a", "2a", "35", "42", "2f", "12"):
        await unit.execute(request(cdb))
    assert executed == [0x28, 0x8A]
    assert [one.opcode for one, _, _ in sent.requests] == [0x2A, 0x35, 0x42, 0x2F, 0x12]


async def test_what_has_no_block_device_has_no_size_that_could_grow(sent):
    with pytest.raises(ValueError, match="has no block device"):
        unit_of(DeviceType.DISK, sent).grow(2)
