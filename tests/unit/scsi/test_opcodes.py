"""The opcode table, its layouts and what is derived from them."""

from itertools import combinations

import pytest

from vhost_pvscsi.scsi import opcodes
from vhost_pvscsi.scsi.cdb import Field, service_action, usage_mask
from vhost_pvscsi.scsi.codes import Opcode
from vhost_pvscsi.scsi.command import Access, Barrier, CommandSet, Direction
from vhost_pvscsi.scsi.request import Reply, Status

#: SPC-5 4.2.5.1: group code -> CDB length.
GROUP_LENGTHS = {0: 6, 1: 10, 2: 10, 4: 16, 5: 12}

#: Usage data written down from the standards' CDB figures, not from the table: operation code,
#: then the bits this disk knows. Protection and ANCHOR are not supported, NACA neither.
USAGE = {
    "TEST UNIT READY": "00 00 00 00 00 00",
    "REQUEST SENSE": "03 01 00 00 ff 00",
    "READ(6)": "08 1f ff ff ff 00",
    "WRITE(6)": "0a 1f ff ff ff 00",
    "INQUIRY": "12 01 ff ff ff 00",
    "MODE SELECT(6)": "15 11 00 00 ff 00",
    "MODE SENSE(6)": "1a 08 ff ff ff 00",
    "RESERVE(6)": "16 00 00 00 00 00",
    "RELEASE(6)": "17 00 00 00 00 00",
    "RESERVE(10)": "56 00 00 00 00 00 00 00 00 00",
    "RELEASE(10)": "57 00 00 00 00 00 00 00 00 00",
    "PERSISTENT RESERVE IN, READ KEYS": "5e 00 00 00 00 00 00 ff ff 00",
    "PERSISTENT RESERVE IN, READ RESERVATION": "5e 01 00 00 00 00 00 ff ff 00",
    "PERSISTENT RESERVE IN, REPORT CAPABILITIES": "5e 02 00 00 00 00 00 ff ff 00",
    "PERSISTENT RESERVE IN, READ FULL STATUS": "5e 03 00 00 00 00 00 ff ff 00",
    "PERSISTENT RESERVE OUT, REGISTER": "5f 00 ff 00 00 ff ff ff ff 00",
    "PERSISTENT RESERVE OUT, RESERVE": "5f 01 ff 00 00 ff ff ff ff 00",
    "PERSISTENT RESERVE OUT, RELEASE": "5f 02 ff 00 00 ff ff ff ff 00",
    "PERSISTENT RESERVE OUT, CLEAR": "5f 03 ff 00 00 ff ff ff ff 00",
    "PERSISTENT RESERVE OUT, PREEMPT": "5f 04 ff 00 00 ff ff ff ff 00",
    "PERSISTENT RESERVE OUT, PREEMPT AND ABORT": "5f 05 ff 00 00 ff ff ff ff 00",
    "PERSISTENT RESERVE OUT, REGISTER AND IGNORE": "5f 06 ff 00 00 ff ff ff ff 00",
    "PERSISTENT RESERVE OUT, REGISTER AND MOVE": "5f 07 ff 00 00 ff ff ff ff 00",
    "RECEIVE DIAGNOSTIC RESULTS": "1c 01 ff ff ff 00",
    "SEND DIAGNOSTIC": "1d f7 00 ff ff 00",
    "SEEK(10)": "2b 00 ff ff ff ff 00 00 00 00",
    "REPORT IDENTIFYING INFORMATION": "a3 05 00 00 00 00 ff ff ff ff fe 00",
    "SET IDENTIFYING INFORMATION": "a4 06 00 00 00 00 ff ff ff ff fe 00",
    "START STOP UNIT": "1b 01 00 0f f7 00",
    "PREVENT ALLOW MEDIUM REMOVAL": "1e 00 00 00 03 00",
    "READ CAPACITY(10)": "25 00 ff ff ff ff 00 00 01 00",
    "READ(10)": "28 18 ff ff ff ff 3f ff ff 00",
    "WRITE(10)": "2a 18 ff ff ff ff 3f ff ff 00",
    "WRITE AND VERIFY(10)": "2e 16 ff ff ff ff 3f ff ff 00",
    "PRE-FETCH(10)": "34 02 ff ff ff ff 3f ff ff 00",
    "VERIFY(10)": "2f 16 ff ff ff ff 3f ff ff 00",
    "SYNCHRONIZE CACHE(10)": "35 02 ff ff ff ff 3f ff ff 00",
    "WRITE SAME(10)": "41 08 ff ff ff ff 3f ff ff 00",
    "UNMAP": "42 00 00 00 00 00 3f ff ff 00",
    "MODE SELECT(10)": "55 11 00 00 00 00 00 ff ff 00",
    "MODE SENSE(10)": "5a 18 ff ff 00 00 00 ff ff 00",
    "READ(16)": "88 18 ff ff ff ff ff ff ff ff ff ff ff ff 3f 00",
    "COMPARE AND WRITE": "89 18 ff ff ff ff ff ff ff ff 00 00 00 ff 3f 00",
    "WRITE AND VERIFY(16)": "8e 16 ff ff ff ff ff ff ff ff ff ff ff ff 3f 00",
    "PRE-FETCH(16)": "90 02 ff ff ff ff ff ff ff ff ff ff ff ff 3f 00",
    "WRITE(16)": "8a 18 ff ff ff ff ff ff ff ff ff ff ff ff 3f 00",
    "VERIFY(16)": "8f 16 ff ff ff ff ff ff ff ff ff ff ff ff 3f 00",
    "SYNCHRONIZE CACHE(16)": "91 02 ff ff ff ff ff ff ff ff ff ff ff ff 3f 00",
    "WRITE SAME(16)": "93 09 ff ff ff ff ff ff ff ff ff ff ff ff 3f 00",
    "READ CAPACITY(16)": "9e 10 ff ff ff ff ff ff ff ff ff ff ff ff 01 00",
    "LOG SENSE": "4d 00 ff ff 00 ff ff ff ff 00",
    "GET LBA STATUS(16)": "9e 12 ff ff ff ff ff ff ff ff ff ff ff ff ff 00",
    "REPORT TARGET PORT GROUPS": "a3 ea 00 00 00 00 ff ff ff ff 00 00",
    "EXTENDED COPY(LID1)": "83 00 00 00 00 00 00 00 00 00 ff ff ff ff 00 00",
    "EXTENDED COPY(LID4)": "83 01 00 00 00 00 00 00 00 00 ff ff ff ff 00 00",
    "COPY OPERATION ABORT": "83 1c ff ff ff ff 00 00 00 00 00 00 00 00 00 00",
    "RECEIVE COPY STATUS(LID1)": "84 00 ff 00 00 00 00 00 00 00 ff ff ff ff 00 00",
    "RECEIVE COPY DATA(LID1)": "84 01 ff 00 00 00 00 00 00 00 ff ff ff ff 00 00",
    "RECEIVE COPY OPERATING PARAMETERS": "84 03 ff 00 00 00 00 00 00 00 ff ff ff ff 00 00",
    "RECEIVE COPY FAILURE DETAILS(LID1)": "84 04 ff 00 00 00 00 00 00 00 ff ff ff ff 00 00",
    "RECEIVE COPY STATUS(LID4)": "84 05 ff ff ff ff 00 00 00 00 ff ff ff ff 00 00",
    "RECEIVE COPY DATA(LID4)": "84 06 ff ff ff ff 00 00 00 00 ff ff ff ff 00 00",
    "REPORT LUNS": "a0 00 ff 00 00 00 ff ff ff ff 00 00",
    "REPORT SUPPORTED OPERATION CODES": "a3 0c 87 ff ff ff ff ff ff ff 00 00",
    "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS": "a3 0d 80 00 00 00 ff ff ff ff 00 00",
    "READ DEFECT DATA(10)": "37 00 1f 00 00 00 00 ff ff 00",
    "READ DEFECT DATA(12)": "b7 1f ff ff ff ff ff ff ff ff 00 00",
    "READ(12)": "a8 18 ff ff ff ff ff ff ff ff 3f 00",
    "WRITE(12)": "aa 18 ff ff ff ff ff ff ff ff 3f 00",
    "WRITE AND VERIFY(12)": "ae 16 ff ff ff ff ff ff ff ff 3f 00",
    "VERIFY(12)": "af 16 ff ff ff ff ff ff ff ff 3f 00",
}


@pytest.mark.parametrize("command", opcodes.TABLE, ids=str)
def test_usage_data_is_the_standards(command):
    assert command.usage_data == bytes.fromhex(USAGE[command.name])


def test_the_table_has_each_command_once():
    keys = [command.key for command in opcodes.TABLE]
    assert len(set(keys)) == len(keys)
    assert {command.name for command in opcodes.TABLE} == set(USAGE)


@pytest.mark.parametrize("command", opcodes.TABLE, ids=str)
def test_length_is_that_of_the_opcodes_group(command):
    assert command.length == GROUP_LENGTHS[command.opcode >> 5]


@pytest.mark.parametrize("command", opcodes.TABLE, ids=str)
def test_fields_do_not_overlap_and_stay_between_opcode_and_control(command):
    masks = [usage_mask({"it": field}, command.length)[1:] for field in command.fields.values()]
    for one, other in combinations(masks, 2):
        assert not any(a & b for a, b in zip(one, other, strict=True))
    assert all(mask[-1] == 0 for mask in masks)


@pytest.mark.parametrize("command", opcodes.TABLE, ids=str)
def test_every_reserved_bit_is_refused_with_a_pointer_at_it(command):
    good = bytearray(command.length)
    good[0] = command.opcode
    if command.service_action is not None:
        good[1] = command.service_action
    assert not isinstance(command.parse(bytes(good)), Reply)
    for byte in range(1, command.length):
        for bit in range(8):
            vendor_specific = byte == command.length - 1 and bit >= 6
            said = command.usage[byte] | command.ignored[byte]
            if said >> bit & 1 or vendor_specific:
                continue
            cdb = good.copy()
            cdb[byte] |= 1 << bit
            reply = command.parse(bytes(cdb))
            assert isinstance(reply, Reply)
            assert reply.sense[2] == 5
            assert reply.sense[12:14].hex() == "2400"
            assert reply.sense[15:18] == bytes([0xC8 | bit, 0, byte])


def test_inquiry_may_have_a_lun_where_scsi_2_had_it():
    inquiry = opcodes.command(Opcode.INQUIRY)
    parsed = inquiry.parse(bytes([0x12, 0xA1, 0x80, 0, 36, 0]))
    assert not isinstance(parsed, Reply)
    assert dict(parsed) == {"evpd": 1, "page_code": 0x80, "allocation_length": 36}
    assert not inquiry.usage[1] & 0xE0


def test_vendor_specific_bits_of_control_are_ignored_and_naca_is_not():
    tur = opcodes.command(Opcode.TEST_UNIT_READY)
    assert not isinstance(tur.parse(bytes([0, 0, 0, 0, 0, 0xC0])), Reply)
    assert isinstance(tur.parse(bytes([0, 0, 0, 0, 0, 0x04])), Reply)


def test_bytes_after_a_command_do_not_count():
    tur = opcodes.command(Opcode.TEST_UNIT_READY)
    assert tur.parse(bytes(6) + b"\xff" * 26).raw == bytes(6)


def test_a_cdb_cut_short_is_refused():
    reply = opcodes.command(Opcode.READ_CAPACITY_10).parse(b"\x25\0\0")
    assert reply.status is Status.CHECK_CONDITION


def test_fields_are_read_across_bytes_and_within():
    read_6 = opcodes.command(Opcode.READ_6)
    cdb = read_6.parse(bytes([0x08, 0x12, 0x34, 0x56, 7, 0]))
    assert dict(cdb) == {"lba": 0x123456, "transfer_length": 7}
    mode = opcodes.command(Opcode.MODE_SENSE_10).parse(bytes.fromhex("5a18bf02000000123400"))
    assert dict(mode) == {
        "llbaa": 1,
        "dbd": 1,
        "page_control": 2,
        "page_code": 0x3F,
        "subpage_code": 2,
        "allocation_length": 0x1234,
    }


@pytest.mark.parametrize(
    ("field", "top"),
    [
        (Field(2, 0, 8), None),
        (Field(2, 0, 32), None),
        (Field(2, 6, 2), 7),
        (Field(1, 0, 5), 4),
        (Field(1, 0, 21), 4),
        (Field(1, 3, 1), 3),
    ],
)
def test_field_pointers_name_the_top_bit_of_odd_fields(field, top):
    assert field.top_bit == top


def test_an_unknown_operation_code_and_service_action_are_told_apart():
    commands = CommandSet(opcodes.TABLE)
    unknown = commands.find(bytes([0xFF]) + bytes(15))
    assert unknown.sense[12:14].hex() == "2000"
    action = commands.find(bytes([0x9E, 0x11]) + bytes(14))
    assert action.sense[12:14].hex() == "2400"
    assert action.sense[15:18].hex() == "cc0001"


def test_service_actions_are_found_where_the_opcode_has_them():
    assert service_action(bytes([0xA3, 0xEC])) == 0x0C
    assert service_action(bytes([0x28, 0xFF])) is None
    assert service_action(bytes([0x7F]) + bytes(7) + b"\x00\x09") == 9


def test_medium_commands_are_those_that_touch_blocks():
    assert {hex(code) for code in opcodes.MEDIUM_OPCODES} == {
        *("0x8", "0xa", "0x28", "0x2a", "0x2e", "0x2f", "0x34", "0x35", "0x41", "0x42"),
        *("0x88", "0x89", "0x8a", "0x8e", "0x8f", "0x90", "0x91", "0x93"),
        *("0xa8", "0xaa", "0xae", "0xaf"),
    }


def test_writes_send_data_and_only_three_commands_ignore_attentions():
    for command in opcodes.TABLE:
        if command.access in {Access.WRITE, Access.EXCLUSIVE}:
            assert command.direction is Direction.OUT
    exempt = {command.name for command in opcodes.TABLE if command.ignores_attention}
    assert exempt == {"INQUIRY", "REPORT LUNS", "REQUEST SENSE"}


#: SPC-5 5.14.1, SBC-4 4.17: what passes a persistent reservation of each class.
STOPPED = {
    Barrier.NONE: {
        "INQUIRY", "REQUEST SENSE", "REPORT LUNS",
        "RESERVE(6)", "RELEASE(6)", "RESERVE(10)", "RELEASE(10)",
    },
    Barrier.RESERVE: {"LOG SENSE", "REPORT TARGET PORT GROUPS",
        "TEST UNIT READY", "READ CAPACITY(10)", "READ CAPACITY(16)"},
    Barrier.READ: {"MODE SENSE(6)", "MODE SENSE(10)", "REPORT SUPPORTED OPERATION CODES",
        "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
        "READ DEFECT DATA(10)", "READ DEFECT DATA(12)", "GET LBA STATUS(16)"},
    Barrier.WRITE: {"START STOP UNIT", "PREVENT ALLOW MEDIUM REMOVAL",
        "EXTENDED COPY(LID1)", "EXTENDED COPY(LID4)", "COPY OPERATION ABORT",
        "RECEIVE COPY STATUS(LID1)", "RECEIVE COPY OPERATING PARAMETERS"},
}  # fmt: skip


@pytest.mark.parametrize("barrier", STOPPED, ids=str)
def test_what_reservations_stop_is_the_standards(barrier):
    for name in STOPPED[barrier]:
        [command] = [known for known in opcodes.TABLE if known.name == name]
        assert command.barrier is barrier, name


def test_the_medium_is_stopped_by_what_is_done_to_it():
    for command in opcodes.MEDIUM_COMMANDS:
        reads = command.access is Access.READ
        assert command.barrier is (Barrier.READ if reads else Barrier.WRITE), command.name


@pytest.mark.parametrize(
    ("cdb", "barrier"),
    [
        ("1b 00 00 00 01 00", Barrier.NONE),
        ("1b 00 00 00 00 00", Barrier.WRITE),
        ("1b 00 00 00 11 00", Barrier.WRITE),
        ("1e 00 00 00 00 00", Barrier.NONE),
        ("1e 00 00 00 01 00", Barrier.WRITE),
    ],
)
def test_fields_may_make_a_command_harmless(cdb, barrier):
    cdb = bytes.fromhex(cdb)
    assert opcodes.command(Opcode(cdb[0])).barrier_of(cdb) is barrier
