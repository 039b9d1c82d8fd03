"""REPORT SUPPORTED OPERATION CODES agrees with a LUN's policy."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhost_pvscsi.devices.absent import ABSENT_UNIT
from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.emulated.disk import EmulatedDisk
from vhost_pvscsi.devices.identification import derive_identity
from vhost_pvscsi.devices.policy.policy import Policy
from vhost_pvscsi.devices.presentation import PLAIN, Presentation
from vhost_pvscsi.identity import Address
from vhost_pvscsi.munge.operation_codes import only_allowed
from vhost_pvscsi.pipeline import serve
from vhost_pvscsi.scsi.request import Reply, Request, Status
from vhost_pvscsi.translation import Mapping, Table

DENIED = Presentation(policy=Policy(denied=frozenset({(0x2A, None), (0x9E, 0x12)})))


def request(options=0, opcode=0, action=0, length=0xFFFF):
    cdb = bytes([0xA3, 0x0C, options, opcode, *action.to_bytes(2, "big")])
    raw = (cdb + length.to_bytes(4, "big")).ljust(16, b"\0")
    return Request(nexus="a", target=0, lun=0, cdb=raw)


async def told(shown, *arguments, **options):
    async def executor(request):
        raise AssertionError(request)

    unit = EmulatedDisk("disk.img", derive_identity("x"), DiskGeometry(blocks=8), executor)
    # What a nexus is told first does not matter here: none is connected.
    table = Table(0).attach(Address(0, 0, 0, 0), unit, 1, shown)
    return (await serve(request(*arguments, **options), table.resolve(0, 0))).data


def listed(data, size):
    assert len(data) == 4 + int.from_bytes(data[:4], "big")
    rows = [data[at : at + size] for at in range(4, len(data), size)]
    return [(row[0], int.from_bytes(row[2:4], "big") if row[5] & 1 else None) for row in rows]


@pytest.mark.parametrize(("options", "size"), [(0x00, 8), (0x80, 20)])
async def test_the_list_lacks_what_is_denied_and_nothing_else(options, size):
    all_of_it = listed(await told(PLAIN, options), size)
    left = listed(await told(DENIED, options), size)
    assert set(all_of_it) - set(left) == {(0x2A, None), (0x9E, 0x12)}
    assert left == [key for key in all_of_it if key not in {(0x2A, None), (0x9E, 0x12)}]


async def test_the_lists_length_is_that_of_all_of_it_however_little_is_asked_for():
    whole = await told(DENIED)
    for length in (0, 4, 10, 100):
        assert await told(DENIED, length=length) == whole[:length]


@pytest.mark.parametrize(
    ("options", "opcode", "action", "support"),
    [
        (1, 0x2A, 0, 1),
        (3, 0x2A, 0, 1),
        (1, 0x28, 0, 3),
        (2, 0x9E, 0x12, 1),
        (3, 0x9E, 0x12, 1),
        (2, 0x9E, 0x10, 3),
    ],
)
async def test_a_single_command_is_supported_or_not(options, opcode, action, support):
    assert (await told(DENIED, options, opcode, action))[1] & 7 == support


@given(data=st.binary(max_size=200), options=st.sampled_from([0, 0x80, 1, 2, 3]))
def test_whatever_a_device_sends_is_borne(data, options):
    mapping = Mapping(1, 1, Address(0, 0, 0, 0), ABSENT_UNIT, (0,), DENIED)
    told = only_allowed(request(options, 0x28), Reply(data=data), mapping).data
    assert len(told) <= max(len(data), 4)


def test_a_device_that_refuses_and_says_no_residual_gives_no_more_than_there_is_room_for():
    mapping = Mapping(1, 1, Address(0, 0, 0, 0), ABSENT_UNIT, (0,), DENIED)
    asked = replace(request(length=100), data_in_length=100)
    refused = Reply(status=Status.CHECK_CONDITION, sense=b"sense", data=bytes(0xFFFF))
    told = only_allowed(asked, refused, mapping)
    assert (told.status, told.sense, len(told.data)) == (Status.CHECK_CONDITION, b"sense", 100)
