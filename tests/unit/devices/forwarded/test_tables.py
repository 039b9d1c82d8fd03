"""Time-outs as the page has them, and commands that write."""

import itertools
from pathlib import Path

import pytest

from vhost_pvscsi.devices.forwarded.timeouts import timeouts
from vhost_pvscsi.devices.forwarded.writing import writing
from vhost_pvscsi.devices.policy.defaults import allowed
from vhost_pvscsi.scsi import opcodes
from vhost_pvscsi.scsi.command import Access
from vhost_pvscsi.scsi.pages import DeviceType

PAGE = (Path(__file__).parents[4] / "docs/forwarding.md").read_text(encoding="utf-8")
TYPES = [
    DeviceType.DISK,
    DeviceType.ZONED_DISK,
    DeviceType.OPTICAL,
    DeviceType.TAPE,
    DeviceType.CHANGER,
    DeviceType.CD,
    DeviceType.ENCLOSURE,
]


def told(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min"


@pytest.mark.parametrize("device_type", TYPES, ids=lambda each: each.name)
def test_time_outs_are_those_of_the_page(device_type):
    times = timeouts(device_type)
    by_time = sorted((time, opcode) for opcode, time in times.by_opcode.items())
    longer = "; ".join(
        f"{' '.join(f'{opcode:02X}' for _, opcode in group)}: {told(time)}"
        for time, group in itertools.groupby(by_time, key=lambda pair: pair[0])
    )
    name = device_type.name.lower().replace("_", " ")
    assert f"| {name} | {told(times.usual)} | {longer} |\n" in PAGE


@pytest.mark.parametrize("device_type", TYPES, ids=lambda each: each.name)
def test_sg_can_count_the_time_outs(device_type):
    times = timeouts(device_type)
    for seconds in (times.usual, *times.by_opcode.values()):
        assert 0 < seconds * 1000 < 1 << 31


def test_what_writes_to_our_disk_writes_to_a_disk_of_the_host():
    ours = {
        row.opcode
        for row in opcodes.TABLE
        if row.access in {Access.WRITE, Access.EXCLUSIVE} and "SYNCHRONIZE" not in row.name
    }
    assert ours - writing(DeviceType.DISK) == set()


@pytest.mark.parametrize("device_type", TYPES, ids=lambda each: each.name)
def test_reading_is_no_writing(device_type):
    harmless = {0x00, 0x03, 0x12, 0x1A, 0x25, 0x28, 0x4D, 0xA0}
    assert harmless & writing(device_type) == set()
    assert (0x12, None) in allowed(device_type)
