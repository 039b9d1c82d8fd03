"""INQUIRY shows a unit's names as attached."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhost_pvscsi.devices.absent import ABSENT_UNIT
from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.emulated.disk import EmulatedDisk
from vhost_pvscsi.devices.identification import derive_identity
from vhost_pvscsi.devices.presentation import PLAIN, Hidden, Presentation
from vhost_pvscsi.identity import Address
from vhost_pvscsi.munge.inquiry import as_attached
from vhost_pvscsi.pipeline import serve
from vhost_pvscsi.scsi.request import Reply, Request, Status
from vhost_pvscsi.translation import Mapping, Table

ALL = Presentation("VENDOR", "PRODUCT", "9.9", "SERIAL", bytes.fromhex("3123456789abcdef"))
BOTH = Presentation(hidden=Hidden.SERIAL | Hidden.WWN)


def request(page=None, length=0xFF):
    evpd = page is not None
    cdb = bytes([0x12, evpd, page or 0, *length.to_bytes(2, "big"), 0])
    return Request(nexus="a", target=0, lun=0, cdb=cdb.ljust(16, b"\0"), data_in_length=length)


async def executor(request):
    raise AssertionError(request)


async def told(shown, page=None, length=0xFF):
    unit = EmulatedDisk("disk.img", derive_identity("x"), DiskGeometry(blocks=8), executor)
    table = Table(0).attach(Address(0, 0, 0, 0), unit, 1, shown)
    return await serve(request(page, length), table.resolve(0, 0))


def munged(data, shown, page=0x83, length=0xFF):
    mapping = Mapping(1, 1, Address(0, 0, 0, 0), ABSENT_UNIT, (0,), shown)
    return as_attached(request(page, length), Reply(data=data), mapping).data


def designators(page):
    found, at = [], 4
    while at < len(page):
        end = at + 4 + page[at + 3]
        found.append((page[at + 1], page[at + 4 : end]))
        at = end
    assert at == len(page) == 4 + int.from_bytes(page[2:4], "big")
    return found


@pytest.mark.parametrize("page", [None, 0x00, 0x80, 0x83, 0x86, 0xB0])
async def test_a_plain_attachment_changes_nothing(page):
    assert (await told(PLAIN, page)).data == (await told(Presentation(protected=True), page)).data


async def test_standard_data_has_the_names():
    data = (await told(ALL)).data
    assert data[8:36] == b"VENDOR  PRODUCT         9.9 "
    assert len(data) == len((await told(PLAIN)).data)


@pytest.mark.parametrize("length", [0, 5, 8, 10, 16, 20, 33, 36, 96])
async def test_standard_data_is_cut_where_the_guest_wants_it(length):
    assert (await told(ALL, length=length)).data == (await told(ALL)).data[:length]


async def test_the_serial_number_is_that_of_the_attachment():
    assert (await told(ALL, 0x80)).data == b"\0\x80\0\x06SERIAL"


@pytest.mark.parametrize("length", [0, 3, 4, 6, 0xFF])
async def test_a_pages_length_is_right_however_little_is_asked_for(length):
    for page in (0x80, 0x83):
        assert (await told(ALL, page, length)).data == (await told(ALL, page)).data[:length]


async def test_designators_of_the_unit_are_replaced_and_those_of_the_port_kept():
    before = designators((await told(PLAIN, 0x83)).data)
    after = designators((await told(ALL, 0x83)).data)
    assert after[0] == (0x03, bytes.fromhex("3123456789abcdef"))
    assert after[1] == (0x01, b"VENDOR  PRODUCT         SERIAL")
    assert after[2:] == before[2:]
    assert len(after) == len(before)


async def test_what_is_hidden_is_nowhere():
    shown = await told(BOTH, 0x00)
    assert 0x80 not in shown.data[4:]
    assert shown.data[3] == len(shown.data) - 4
    reply = await told(BOTH, 0x80)
    assert reply.status is Status.CHECK_CONDITION
    assert reply.sense[12:14].hex() == "2400"
    kinds = [kind for kind, _ in designators((await told(BOTH, 0x83)).data)]
    assert kinds
    assert all(kind >> 4 & 3 == 1 for kind in kinds)


async def test_hidden_serial_leaves_the_wwn():
    page = (await told(Presentation(hidden=Hidden.SERIAL), 0x83)).data
    assert designators(page)[0][0] == 0x03


def test_a_hosts_own_repetition_of_the_serial_number_is_blanked():
    data = bytes(range(96))
    assert munged(data, Presentation(serial="S"), page=None)[36:56] == bytes(20)
    assert munged(data, Presentation(vendor="V"), page=None)[36:] == data[36:]


def test_a_descriptor_beyond_the_page_is_left_out():
    # A page as a device has sent it: the second descriptor says FCh bytes. Windows has hung on it.
    page = bytes.fromhex("00830014") + bytes.fromhex("01030008 5000000000000001 020100fc 41424344")
    assert munged(page, Presentation(vendor="V")).hex() == (
        "0083000c" + "01030008" + "5000000000000001"
    )


def test_refusals_are_left_as_they_are():
    refusal = Reply(status=Status.CHECK_CONDITION, sense=b"x")
    mapping = Mapping(1, 1, Address(0, 0, 0, 0), ABSENT_UNIT, (0,), ALL)
    assert as_attached(request(0x83), refusal, mapping) is refusal


SHOWN = st.builds(
    Presentation,
    vendor=st.none() | st.just("V"),
    product=st.none() | st.just("P"),
    revision=st.none() | st.just("R"),
    serial=st.none() | st.just("S"),
    naa=st.none() | st.just(bytes(8)),
    hidden=st.sampled_from([Hidden.NOTHING, Hidden.SERIAL, Hidden.WWN, Hidden.SERIAL | Hidden.WWN]),
)


@given(
    data=st.binary(max_size=300),
    shown=SHOWN,
    page=st.sampled_from([None, 0x00, 0x80, 0x83, 0xB0]),
    length=st.integers(0, 400),
)
def test_whatever_a_device_sends_is_borne(data, shown, page, length):
    if page is not None and len(data) > 1:
        data = data[:1] + bytes([page]) + data[2:]
    assert len(munged(data, shown, page, length)) <= length or not shown.renames
    once = munged(data, shown, page, 0xFFFF)
    assert munged(once, replace(shown), page, 0xFFFF) == once


async def limits(shown=PLAIN, limit=0, length=0xFF, block_size=512):
    """MAXIMUM and OPTIMAL TRANSFER LENGTH of VPD page B0h, and the page."""
    geometry = DiskGeometry(blocks=8, block_size=block_size)
    unit = EmulatedDisk("disk.img", derive_identity("x"), geometry, executor)
    mapping = Table(0).attach(Address(0, 0, 0, 0), unit, 1, shown).resolve(0, 0)
    asked = replace(request(0xB0, length), transfer_limit=limit)
    data = (await serve(asked, mapping)).data
    return int.from_bytes(data[8:12], "big"), int.from_bytes(data[12:16], "big"), data


async def test_a_transport_without_a_limit_leaves_the_units_own():
    assert (await limits())[:2] == (0xFFFF, 0)


@pytest.mark.parametrize("block_size", [512, 1024, 2048, 4096])
async def test_a_transports_limit_is_told_in_blocks(block_size):
    maximum, optimal, data = await limits(limit=64 << 10, block_size=block_size)
    assert (maximum, optimal) == ((64 << 10) // block_size, 0)
    _, _, before = await limits(block_size=block_size)
    assert data[:8] + data[12:] == before[:8] + before[12:]


async def test_what_the_operator_says_goes_before_what_the_transport_does():
    assert (await limits(Presentation(max_transfer=508 << 10), limit=64 << 10))[0] == 1016
    assert (await limits(Presentation(max_transfer=8 << 10)))[0] == 16


async def test_no_guest_is_told_of_more_than_the_unit_takes():
    assert (await limits(Presentation(max_transfer=32 << 20)))[0] == 0xFFFF


@pytest.mark.parametrize("length", [0, 3, 4, 7, 8, 9, 11, 12, 15, 16, 17, 63, 64, 0xFF])
async def test_the_limits_are_cut_where_the_guest_wants_it(length):
    whole = (await limits(limit=64 << 10))[2]
    assert len(whole) == 64
    assert (await limits(limit=64 << 10, length=length))[2] == whole[:length]


def limited(data, limit):
    unit = EmulatedDisk("disk.img", derive_identity("x"), DiskGeometry(blocks=8), executor)
    mapping = Mapping(1, 1, Address(0, 0, 0, 0), unit, (0,), PLAIN)
    asked = replace(request(0xB0), transfer_limit=limit)
    return as_attached(asked, Reply(data=data), mapping).data


def test_an_optimal_length_is_never_above_the_maximal_one():
    page = bytes.fromhex("00b0000c00000008 00000000 00000400")
    assert limited(page, 64 << 10).hex(" ", 4) == "00b0000c 00000008 00000080 00000080"
    assert limited(page[:12] + bytes(3) + b"\x10", 64 << 10)[12:] == bytes(3) + b"\x10"


@given(data=st.binary(max_size=80), limit=st.integers(0, 1 << 20))
def test_any_page_of_limits_keeps_its_length(data, limit):
    assert len(limited(data, limit)) == len(data)


async def test_limits_of_a_unit_without_blocks_are_left():
    asked = replace(request(0xB0), transfer_limit=64 << 10)
    mapping = Mapping(1, 1, Address(0, 0, 0, 0), ABSENT_UNIT, (0,), PLAIN)
    assert as_attached(asked, Reply(data=bytes(64)), mapping).data == bytes(64)
