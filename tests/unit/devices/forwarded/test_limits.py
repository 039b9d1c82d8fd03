"""What the host carries, in the device's answers."""

import pytest

from vhost_pvscsi.devices.forwarded.limits import Limits
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.pages import DeviceType
from vhost_pvscsi.scsi.request import Reply, Request, Status

LIMITS = Limits(DeviceType.DISK, max_transfer=64 << 10, block_size=512)


def request(cdb: str, room: int = 255) -> Request:
    return Request("n", 0, 0, bytes.fromhex(cdb).ljust(32, b"\0"), data_in_length=room)


class Device:
    """Answers with what it was given, as far as was asked for."""

    def __init__(self, reply: Reply):
        self.reply = reply
        self.asked: list[Request] = []

    async def __call__(self, asked: Request) -> Reply:
        self.asked.append(asked)
        return self.reply


def block_limits(maximum: int, optimal: int) -> bytes:
    page = bytearray(64)
    page[1], page[3] = 0xB0, 60
    page[8:12], page[12:16] = maximum.to_bytes(4, "big"), optimal.to_bytes(4, "big")
    page[20:24] = b"\xff\xff\xff\xff"
    return bytes(page)


@pytest.mark.parametrize(
    ("said", "told"),
    [((0, 0), (128, 0)), ((64, 32), (64, 32)), ((1 << 20, 1 << 19), (128, 128))],
    ids=["none", "less", "more"],
)
async def test_a_disk_does_not_promise_more_than_the_host_carries(said, told):
    reply = await LIMITS.told(request("1201b000ff00"), Device(Reply(data=block_limits(*said))))
    assert reply.data == block_limits(*told)


@pytest.mark.parametrize("length", [4, 10, 36])
async def test_the_page_is_cut_to_what_was_asked_for(length):
    device = Device(Reply(data=block_limits(0, 0)))
    reply = await LIMITS.told(request(f"1201b000{length:02x}00", length), device)
    assert reply.data == block_limits(128, 0)[:length]
    assert device.asked[0].data_in_length == 0xFC


async def test_a_disk_without_the_page_gets_one():
    refusal = sense.invalid_field(2)
    reply = await LIMITS.told(request("1201b000ff00"), Device(refusal))
    assert reply.status is Status.GOOD
    assert reply.data[1:4] == b"\xb0\x00\x3c"
    assert int.from_bytes(reply.data[8:12], "big") == 128


async def test_another_failure_is_left_as_it_is():
    for failure in (sense.check_condition(sense.MEDIUM_NOT_PRESENT), Reply(Status.BUSY)):
        assert await LIMITS.told(request("1201b000ff00"), Device(failure)) == failure


async def test_the_list_of_pages_has_it():
    pages = Device(Reply(data=b"\x00\x00\x00\x02\x00\x83"))
    assert (await LIMITS.told(request("12010000ff00"), pages)).data == (
        b"\x00\x00\x00\x03\x00\x83\xb0"
    )
    assert (await LIMITS.told(request("120100000400", 4), pages)).data == b"\x00\x00\x00\x03"


@pytest.mark.parametrize(("said", "told"), [(0, 0x10000), (0x8000, 0x8000), (0xFFFFFF, 0x10000)])
async def test_a_tape_does_not_promise_longer_blocks_than_the_host_carries(said, told):
    limits = Limits(DeviceType.TAPE, max_transfer=0x10000, block_size=0)
    device = Device(Reply(data=b"\x09" + said.to_bytes(3, "big") + b"\x00\x04"))
    reply = await limits.told(request("050000000000", 6), device)
    assert reply.data == b"\x09" + told.to_bytes(3, "big") + b"\x00\x04"


async def test_what_has_no_limits_is_passed_on():
    limits = Limits(DeviceType.CD, max_transfer=0x10000, block_size=2048)
    asked = request("1201b000ff00")
    device = Device(Reply(data=block_limits(9, 9)))
    assert (await limits.told(asked, device)).data == block_limits(9, 9)
    assert device.asked == [asked]
    assert limits.opcodes == frozenset()
