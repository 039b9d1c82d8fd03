"""EXTENDED COPY's parameter lists, what is told of copies, and of failed ones (SPC-4)."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness import copying as made
from vhost_pvscsi.scsi import copy_results, copying, opcodes, sense
from vhost_pvscsi.scsi.copy_results import CopyStatus, Failure, Forwarded, Progress, SegmentPointer
from vhost_pvscsi.scsi.copying import CopyList, Cscd, Extent, Segment, Usage
from vhost_pvscsi.scsi.request import Reply, Status

NAME = made.naa(bytes.fromhex("5000c50015ea71ac"))
ONE = made.cscd(NAME)
SEGMENT = made.segment(0, 0, 8)


def said(reply):
    """A refusal in the words of `answers.describe`."""
    assert isinstance(reply, Reply), reply
    data = reply.sense
    text = f"{data[2]:X}h/{data[12]:02X}h/{data[13]:02X}h"
    if data[15] & 0x80:
        where = "cdb" if data[15] & 0x40 else "list"
        bit = f" bit {data[15] & 7}" if data[15] & 8 else ""
        text += f" {where} {int.from_bytes(data[16:18], 'big')}{bit}"
    return text


def test_a_list_as_values():
    data = made.lid1(
        [made.cscd(NAME, device_type=0, null=True, pad=True, block_length=512), ONE],
        [made.segment(1, 0xFFFF, 8, 1 << 40, 5, dc=True, cat=True)],
        identifier=7,
        usage=made.MAY_DISCARD,
    )
    plan = copying.parse_lid1(data + b"more than the header says")
    assert plan == CopyList(
        7,
        Usage.MAY_DISCARD,
        (Cscd(16, 0, True, NAME, True, 512), Cscd(48, 0, False, NAME, False, 0)),
        (Segment(1, 0xFFFF, 8, 1 << 40, 5, counts_destination=True, concatenate=True),),
    )


def test_a_long_list_as_values():
    data = made.lid4([ONE], [SEGMENT], identifier=0x12345678, good_sense=True)
    plan = copying.parse_lid4(data)
    assert (plan.identifier, plan.good_sense) == (0x12345678, True)
    assert plan.cscds[0].at == 48
    assert plan.segments[0].blocks == 8


def test_immediate_is_as_if_it_were_not_set():
    assert isinstance(copying.parse_lid4(made.lid4([ONE], [SEGMENT], immediate=True)), CopyList)


def changed(data, byte, value):
    return data[:byte] + bytes((value,)) + data[byte + 1 :]


GOOD = made.lid1([ONE], [SEGMENT])
LONG = made.lid4([ONE], [SEGMENT])


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (GOOD[:15], "5h/1Ah/00h"),
        (GOOD[:47], "5h/1Ah/00h"),
        (GOOD[:-1], "5h/1Ah/00h"),
        (changed(GOOD, 3, 31), "5h/1Ah/00h"),
        (changed(GOOD, 11, 27), "5h/1Ah/00h"),
        (changed(GOOD, 1, 0x08), "5h/26h/00h list 1 bit 4"),
        (changed(changed(GOOD, 1, 0x18), 0, 1), "5h/26h/00h list 0"),
        (changed(GOOD, 15, 1), "5h/26h/0Bh list 12"),
        (changed(GOOD, 16, 0xE0), "5h/26h/07h list 16"),
        (changed(GOOD, 17, 0x80), "5h/26h/00h list 17 bit 7"),
        (changed(GOOD, 23, 21), "5h/26h/00h list 23"),
        (changed(GOOD, 48, 0x03), "5h/26h/09h list 48"),
        (changed(GOOD, 49, 0x04), "5h/26h/00h list 49 bit 2"),
        (changed(GOOD, 51, 0x17), "5h/26h/00h list 50"),
        # A header of another type may be all that there is of it.
        (made.lid1([ONE], [made.segment(0, 0, 0, kind=3)[:8]]), "5h/26h/09h list 48"),
        (made.lid1([ONE] * 65, [SEGMENT]), "5h/26h/06h"),
        (made.lid1([ONE], [SEGMENT] * 257), "5h/26h/08h"),
        (made.lid1([ONE] * 65, [SEGMENT] * 257), "5h/1Ah/00h"),
    ],
)
def test_what_is_refused_of_a_list(data, answer):
    assert said(copying.parse_lid1(data)) == answer


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (LONG[:47], "5h/1Ah/00h"),
        (LONG[:-1], "5h/1Ah/00h"),
        (changed(LONG, 0, 2), "5h/26h/00h list 0"),
        (changed(LONG, 3, 0x1F), "5h/26h/00h list 2"),
        (changed(LONG, 16, 0xE4), "5h/26h/00h list 16"),
        (changed(changed(LONG, 1, 0x18), 23, 1), "5h/26h/00h list 20"),
        (changed(LONG, 15, 0x03), "5h/24h/00h cdb 0"),
        (changed(LONG, 47, 1), "5h/26h/0Bh list 46"),
    ],
)
def test_what_is_refused_of_a_long_list(data, answer):
    assert said(copying.parse_lid4(data)) == answer


def test_the_most_that_is_told_is_taken():
    plan = copying.parse_lid1(made.lid1([ONE] * 64, [SEGMENT] * 256))
    assert (len(plan.cscds), len(plan.segments)) == (64, 256)
    assert len(made.lid4([ONE] * 64, [SEGMENT] * 256)) <= copying.MOST_PARAMETERS


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_read_or_refused(tail, long):
    head = LONG[:16] if long else b""
    parse = copying.parse_lid4 if long else copying.parse_lid1
    for data in (tail, head + tail):
        plan = parse(data)
        assert isinstance(plan, CopyList) or plan.status is Status.CHECK_CONDITION


def part(blocks, *, dc=False, cat=False):
    return Segment(0, 1, blocks, 0, 0, counts_destination=dc, concatenate=cat)


@pytest.mark.parametrize(
    ("segment", "blocks", "pads", "last", "extent"),
    [
        (part(9), (512, 512), (False, False), False, Extent(9 * 512)),
        (part(16), (512, 4096), (False, False), False, Extent(8192)),
        (part(2), (4096, 512), (False, False), False, Extent(8192)),
        (part(2, dc=True), (512, 4096), (False, False), False, Extent(8192)),
        # Nine small blocks are one large and an eighth: table 116, row by row.
        (part(9), (512, 4096), (False, False), True, None),
        (part(9), (512, 4096), (True, False), True, Extent(4096)),
        (part(9), (512, 4096), (False, True), True, Extent(4096, 512)),
        (part(9), (512, 4096), (True, True), False, Extent(4096, 512)),
        (part(9, cat=True), (512, 4096), (False, False), True, Extent(4096)),
        (part(9, cat=True), (512, 4096), (True, True), False, None),
        # Nine small ones are to be written: a large one and an eighth of the next are read.
        (part(9, dc=True), (4096, 512), (False, False), True, None),
        (part(9, dc=True), (4096, 512), (True, False), False, Extent(4096, 512)),
        (part(9, dc=True), (4096, 512), (False, True), True, Extent(4096, 512)),
        (part(9, dc=True), (4096, 512), (False, True), False, None),
        (part(9, dc=True, cat=True), (4096, 512), (False, False), True, Extent(4096, 512)),
        (part(9, dc=True, cat=True), (4096, 512), (True, True), False, None),
        (part(0), (512, 4096), (False, False), True, Extent(0)),
    ],
)
def test_how_much_a_segment_moves(segment, blocks, pads, last, extent):
    assert copying.extent(segment, blocks, pads, last=last) == extent


def test_operating_parameters():
    data = copy_results.operating_parameters()
    assert data[:4] == struct.pack(">I", len(data) - 4)
    assert data[4] == 1, "SNLID"
    assert struct.unpack_from(">HHIIII", data, 8) == (64, 256, 9216, 1 << 28, 0, 0)
    assert struct.unpack_from(">HBBBB", data, 34) == (16, 16, 9, 0, 0)
    assert data[43:] == b"\x02\x02\xe4"


def test_the_vpd_page_tells_the_same():
    body = copy_results.third_party_copy_page(opcodes.TABLE)
    found, at = {}, 0
    while at < len(body):
        kind, length = struct.unpack_from(">HH", body, at)
        assert length % 4 == 0
        found[kind] = body[at + 4 : at + 4 + length]
        at += 4 + length
    assert list(found) == [0x0001, 0x0004, 0x0008, 0x000C, 0x8001, 0xC001]
    assert found[1][:15].hex() == "0d 83 03 00 01 1c 84 06 00 01 03 04 05 06 00".replace(" ", "")
    assert struct.unpack(">4xHHII12x", found[4]) == (64, 256, 9216, 0)
    assert found[8] == b"\x02\x02\xe4\0"
    assert found[0xC] == b"\0\x02\xff\xff"
    assert struct.unpack(">IIIBB18x", found[0x8001]) == (16, 16, 1 << 28, 9, 0)
    assert found[0xC001] == bytes(0x1C)


def test_the_largest_segment_that_can_be_said_is_within_the_limit():
    assert copying.MAX_SEGMENT_LENGTH >= 0xFFFF * 4096


def test_progress():
    now = Progress(0, segments=2, written=4096, pieces=3)
    assert now.status_lid1().hex() == "00000008" + "00" + "0002" + "00" + "00001000"
    data = now.status_lid4()
    assert data[:4] == struct.pack(">I", len(data) - 4)
    assert data[4:8].hex() == "00110003"
    assert data[12:].hex() == "00000000" + "0000000000001000" + "0002" + "00" * 6
    failed = Progress(1, CopyStatus.FAILED, 2, 1 << 33, 3, Status.CHECK_CONDITION, b"sense")
    assert failed.status_lid1().hex() == "00000008" + "02" + "0002" + "02" + "00002000"
    data = failed.status_lid4()
    assert data[4:12].hex() == "01020003fffffffe"
    assert data[12:16].hex() == "02080500"
    assert data[32:] == b"sense\0\0\0"
    assert failed.data_lid4() == struct.pack(">I", 40) + data[4:] + bytes(4)
    ended = Progress(1, CopyStatus.TERMINATED, status=Status.TASK_ABORTED)
    assert ended.status_lid4()[5] == 0x60
    assert ended.status_lid4()[12] == 0x40
    assert ended.failure_details() == bytes(4)


def test_failure_details():
    data = Progress(0, CopyStatus.FAILED, status=2, sense=b"what it said").failure_details()
    assert data[:4] == struct.pack(">I", len(data) - 4)
    assert data[4:56] == bytes(52)
    assert data[56:60].hex() == "0200000c"
    assert data[60:] == b"what it said"


FAILURE = Failure(
    sense.THIRD_PARTY_DEVICE_FAILURE,
    SegmentPointer(48),
    Forwarded(2, b"what it said", from_destination=True),
)


def test_sense_data_of_a_failure_in_fixed_format():
    data = FAILURE.sense(3, 5, descriptors=False)
    assert data[:8].hex() == "f0000a0000000517"
    assert data[8:12].hex() == "00120003", "the destination's words begin at byte 18"
    assert data[12:18].hex() == "0d0100800030"
    assert data[18:] == b"\x02what it said"
    source = Failure(sense.COPY_ABORTED, None, Forwarded(0x18, b"", from_destination=False))
    data = source.sense(0, None, descriptors=False)
    assert data.hex() == "70000a000000000b" + "12000000" + "000000000000" + "18"


def test_sense_data_of_a_failure_in_descriptor_format():
    data = FAILURE.sense(3, 5, descriptors=True)
    assert data[:8].hex() == f"720a0d01000000{len(data) - 8:02x}"
    assert data[8:20].hex() == "000a80000000000000000005"
    assert data[20:32].hex() == "010a00000000000000000003"
    assert data[32:40].hex() == "0206000080003000"
    assert data[40:] == b"\x0c\x0e\x02\x02what it said"
    pointed = Failure(sense.COPY_ABORTED, SegmentPointer(12, in_segment=True))
    data = pointed.sense(0, None, descriptors=True)
    assert data[8:].hex() == "010a00000000000000000000" + "02060000a0000c00"


@pytest.mark.parametrize("descriptors", [False, True])
def test_good_comes_with_the_number_of_segments_where_asked(descriptors):
    code = sense.EXTENDED_COPY_INFORMATION_AVAILABLE
    data = copy_results.completed(code, 3, descriptors=descriptors)
    fixed = "70000f000000000a" + "00000003" + "002000000000"
    assert data.hex() == ("720f00200000000c" + "010a00000000000000000003" if descriptors else fixed)
