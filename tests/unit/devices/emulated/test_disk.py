"""Every command of the emulated disk that is not the medium's, by its bytes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.emulated.disk import EmulatedDisk
from vhost_pvscsi.devices.emulated.handlers import commands
from vhost_pvscsi.devices.identification import derive_identity
from vhost_pvscsi.scsi import opcodes, sense
from vhost_pvscsi.scsi.request import Reply, Request, Service, Status

#: Without nonvolatile memory.
COMMANDS = tuple(commands(nonvolatile=False))

IDENTITY = derive_identity("file:/disk.img", serial="SERIAL1", wwn="5000c50015ea71ac")
EXECUTED = Reply(transferred=512)


class Rig:
    """A disk, its nexus "a", and what its executor was given."""

    def __init__(self, **geometry):
        self.executed = []
        self.flushed = 0
        self.gates = []
        self.flush_error = None
        geometry.setdefault("blocks", 0x2000)
        self.disk = EmulatedDisk(
            "disk.img", IDENTITY, DiskGeometry(**geometry), self._execute, flush=self._flush
        )

    async def _execute(self, request):
        self.executed.append(request.cdb)
        return EXECUTED

    async def _flush(self):
        if self.flush_error:
            raise self.flush_error
        self.flushed += 1

    async def keeper(self, cause, shut):
        self.gates.append((cause.name, shut))

    async def ask(self, cdb, nexus="a"):
        if isinstance(cdb, str):
            cdb = bytes.fromhex(cdb)
        return await self.disk.execute(
            Request(nexus=nexus, target=0, lun=0, cdb=cdb.ljust(32, b"\0"))
        )

    async def data(self, cdb):
        reply = await self.ask(cdb)
        assert (reply.service, reply.status, reply.sense) == (Service.COMPLETE, Status.GOOD, b"")
        return reply.data

    async def sense(self, cdb):
        reply = await self.ask(cdb)
        assert reply.status is Status.CHECK_CONDITION
        assert reply.data == b""
        return reply.sense


def code_of(data):
    return data[2], data[12], data[13]


INVALID_FIELD = (5, 0x24, 0)


async def test_test_unit_ready():
    assert await Rig().data("00") == b""


async def test_inquiry_names_the_disk():
    data = await Rig().data("12 00 00 00 ff 00")
    assert data[:8].hex() == "000007125b180002"  # TPGS, 3PC
    assert data[8:36] == b"VHPVSCSIVIRTUAL DISK    0.1 "
    assert data[58:64].hex() == "00a005c00600"


@pytest.mark.parametrize("length", [0, 1, 5, 36, 95, 96, 0xFFFF])
async def test_inquiry_is_cut_to_any_allocation_length(length):
    whole = await Rig().data("12 00 00 ff ff 00")
    assert await Rig().data(f"12 00 00 {length:04x} 00") == whole[:length]


async def test_inquiry_page_code_without_evpd_is_refused():
    data = await Rig().sense("12 00 80 00 ff 00")
    assert code_of(data) == INVALID_FIELD
    assert data[15:18].hex() == "c00002"


async def test_unknown_vpd_page_is_refused():
    assert code_of(await Rig().sense("12 01 b3 00 ff 00")) == INVALID_FIELD


async def test_vpd_00_lists_the_pages_that_answer():
    rig = Rig()
    data = await rig.data("12 01 00 00 ff 00")
    assert data.hex() == "000000090080838687" + "8fb0b1b2"
    for page in data[4:]:
        answer = await rig.data(f"12 01 {page:02x} 00 ff 00")
        assert answer[1] == page
        assert int.from_bytes(answer[2:4], "big") == len(answer) - 4


async def test_vpd_80_and_83():
    rig = Rig()
    assert await rig.data("12 01 80 00 ff 00") == b"\x00\x80\x00\x07SERIAL1"
    data = await rig.data("12 01 83 00 ff 00")
    assert data[4:16].hex() == "010300085000c50015ea71ac"
    assert data[16:20].hex() == "0201001f"
    assert data[20:51] == b"VHPVSCSIVIRTUAL DISK    SERIAL1"
    # Of the target port: relative target port 1, target port group 1.
    assert data[51:].hex() == "0114000400000001" + "0115000400000001"


async def test_vpd_86_and_87():
    assert (await Rig().data("12 01 86 00 ff 00"))[:8].hex() == "0086003c00010100"
    fixed = await Rig(write_cache=False).data("12 01 86 00 ff 00")
    assert fixed[:8].hex() == "0086003c00010000"
    assert (await Rig().data("12 01 87 00 ff 00")).hex() == "00870004" + "3fff0000"


async def test_vpd_b0_speaks_in_blocks():
    small = await Rig().data("12 01 b0 00 ff 00")
    large = await Rig(block_size=4096).data("12 01 b0 00 ff 00")
    assert small[:4].hex() == large[:4].hex() == "00b0003c"
    assert small[8:12].hex() == "0000ffff"
    assert large[8:12].hex() == "00001fff"
    assert small[20:28].hex() == "00100000000000ff"
    assert (small[28:32].hex(), large[28:32].hex()) == ("00000008", "00000001")
    assert small[36:44].hex() == "00000000003fffff"


async def test_vpd_b1_and_b2_follow_the_geometry():
    assert (await Rig().data("12 01 b1 00 ff 00"))[4:6].hex() == "0001"
    assert (await Rig(solid_state=False).data("12 01 b1 00 ff 00"))[4:6].hex() == "0000"
    assert (await Rig().data("12 01 b2 00 ff 00")).hex() == "00b2000400e40200"
    assert (await Rig(unmap=False).data("12 01 b2 00 ff 00")).hex() == "00b2000400000000"


async def test_read_capacity_10():
    assert (await Rig().data("25")).hex() == "00001fff00000200"
    assert (await Rig(blocks=1 << 33).data("25")).hex() == "ffffffff00000200"


async def test_read_capacity_10_takes_an_lba_only_with_pmi():
    data = await Rig().sense("25 00 00000001 0000 00 00")
    assert code_of(data) == INVALID_FIELD
    assert data[15:18].hex() == "c00002"
    assert (await Rig().data("25 00 00000001 0000 01 00")).hex() == "00001fff00000200"


async def test_read_capacity_16():
    rig = Rig(blocks=1 << 33)
    data = await rig.data("9e 10 0000000000000000 00000020 00 00")
    assert data.hex() == "00000001ffffffff000002000003c000" + "00" * 16
    assert len(await rig.data("9e 10 0000000000000000 0000000c 00 00")) == 12
    plain = await Rig(block_size=4096, unmap=False).data("9e 10 0000000000000000 00000020 00 00")
    assert plain[8:16].hex() == "0000100000000000"


async def test_other_service_actions_of_an_opcode_are_refused():
    assert code_of(await Rig().sense("9e 13")) == INVALID_FIELD
    assert code_of(await Rig().sense("a3 00")) == INVALID_FIELD


@pytest.mark.parametrize(
    "opcode",
    [
        pytest.param(0x04, id="FORMAT UNIT"),
        pytest.param(0x07, id="REASSIGN BLOCKS"),
        pytest.param(0x3B, id="WRITE BUFFER"),
        pytest.param(0x3C, id="READ BUFFER"),
        pytest.param(0x3E, id="READ LONG(10)"),
        pytest.param(0x3F, id="WRITE LONG(10)"),
        pytest.param(0x48, id="SANITIZE"),
        pytest.param(0x4C, id="LOG SELECT"),
        pytest.param(0x7F, id="a variable length CDB"),
        pytest.param(0x8B, id="ORWRITE(16)"),
        pytest.param(0x9F, id="WRITE LONG(16)"),
        pytest.param(0xFF, id="a vendor specific one"),
    ],
)
async def test_what_is_not_there_is_refused_and_touches_nothing(opcode):
    rig = Rig()
    reply = await rig.ask(bytes([opcode]) + b"\xff" * 15)
    assert code_of(reply.sense) == (5, 0x20, 0)
    assert (rig.executed, rig.flushed, rig.gates) == ([], 0, [])


async def test_target_port_groups_cannot_be_set():
    # MAINTENANCE OUT has other service actions, or none at all.
    reply = await Rig().ask("a4 0a 00 00 00 00 00 00 00 08 00 00")
    assert code_of(reply.sense) in {(5, 0x20, 0), INVALID_FIELD}


async def test_report_luns_of_the_unit_alone():
    data = await Rig().data("a0 00 00 000000 00000100 0000")
    assert data.hex() == "0000000800000000" + "00" * 8
    assert (await Rig().data("a0 00 10 000000 00000100 0000")).hex() == "00" * 8


@pytest.mark.parametrize("select", range(256))
async def test_every_select_report_value_lists_or_is_refused(select):
    cdb = f"a0 00 {select:02x} 000000 00000100 0000"
    itself, well_known = "00" * 8, "c101000000000000"
    listed = {0x00: itself, 0x01: well_known, 0x02: itself + well_known, 0x11: itself}
    if select in listed or select in {0x10, 0x12}:
        luns = listed.get(select, "")
        told = (await Rig().data(cdb)).hex()
        assert told == f"{len(luns) // 2:08x}00000000" + luns
    else:
        # Reserved, and F8h to FFh vendor specific.
        data = await Rig().sense(cdb)
        assert code_of(data) == INVALID_FIELD
        assert data[15:18].hex() == "c00002"


async def test_request_sense_without_news():
    rig = Rig()
    assert (await rig.data("03 00 0000 ff 00")).hex() == sense.fixed(
        sense.NO_ADDITIONAL_SENSE
    ).hex()
    assert (await rig.data("03 01 0000 ff 00")).hex() == "7200000000000000"
    assert len(await rig.data("03 00 0000 04 00")) == 4


async def test_prevent_allow_medium_removal():
    assert await Rig().data("1e 00 00 00 01 00") == b""
    assert await Rig().data("1e 00 00 00 00 00") == b""
    assert code_of(await Rig().sense("1e 00 00 00 02 00")) == INVALID_FIELD


async def test_stop_flushes_and_refuses_the_medium_until_start():
    rig = Rig()
    assert await rig.data("1b 00 00 00 00 00") == b""
    assert rig.flushed == 1
    for cdb in ("28", "2a", "35", "00"):
        assert code_of(await rig.sense(cdb)) == (2, 0x04, 0x02)
    assert rig.executed == []
    assert code_of(await rig.data("03 00 0000 ff 00")) == (2, 0x04, 0x02)
    assert len(await rig.data("12 00 00 00 24 00")) == 36
    assert await rig.data("1b 00 00 00 01 00") == b""
    assert await rig.ask("28") == EXECUTED


async def test_stop_without_flush_and_with_a_flush_that_fails():
    rig = Rig()
    await rig.data("1b 00 00 00 04 00")
    assert rig.flushed == 0
    rig.flush_error = OSError(5, "Input/output error")
    assert code_of(await rig.sense("1b 00 00 00 00 00")) == (3, 0x0C, 0)


async def test_stop_shuts_gates_before_and_start_opens_them():
    rig = Rig()
    await rig.disk.connect("a", rig.keeper)
    await rig.ask("00")
    rig.gates.clear()
    await rig.ask("1b 00 00 00 00 00")
    assert rig.gates == [("STOPPED", True)]
    late = []

    async def keeper(cause, shut):
        late.append((cause.name, shut))

    await rig.disk.connect("b", keeper)
    assert late == [("STOPPED", True), ("ATTENTION", True)]
    await rig.ask("1b 00 00 00 01 00")
    assert rig.gates == [("STOPPED", True), ("STOPPED", False)]


@pytest.mark.parametrize(
    ("cdb", "pointer"),
    [
        ("1b 00 00 00 02 00", "c90004"),  # LOEJ: nothing to eject
        ("1b 00 00 00 30 00", "cf0004"),  # STANDBY
        ("1b 00 00 01 10 00", "cb0003"),  # a modifier
    ],
)
async def test_start_stop_of_what_is_not_there_is_refused(cdb, pointer):
    assert (await Rig().sense(cdb))[15:18].hex() == pointer


async def test_power_condition_active_starts():
    rig = Rig()
    await rig.data("1b 00 00 00 00 00")
    await rig.data("1b 00 00 00 10 00")
    assert await rig.data("00") == b""


@pytest.mark.parametrize("command", opcodes.MEDIUM_COMMANDS, ids=str)
async def test_medium_commands_reach_the_executor_untouched(command):
    rig = Rig(read_only=True)
    cdb = bytes([command.opcode]) + b"\xff" * 15
    assert await rig.ask(cdb) == EXECUTED
    assert rig.executed == [cdb.ljust(32, b"\0")]


async def test_supported_operation_codes_all():
    rig = Rig()
    data = await rig.data("a3 0c 00 00 0000 0000ffff 00 00")
    rows = [data[at : at + 8] for at in range(4, len(data), 8)]
    assert int.from_bytes(data[:4], "big") == len(data) - 4 == 8 * len(COMMANDS)
    by_code = {(row[0], row[3]): row for row in rows}
    assert by_code[0x28, 0].hex() == "280000000000000a"
    assert by_code[0x9E, 0x10].hex() == "9e00001000010010"
    timed = await rig.data("a3 0c 80 00 0000 0000ffff 00 00")
    assert len(timed) == 4 + 20 * len(COMMANDS)
    assert timed[4:24].hex() == "0000000000020006000a0000000000000000000a"


@pytest.mark.parametrize(
    ("cdb", "answer"),
    [
        ("a3 0c 01 12 0000 000000ff 00 00", "000300061201ffffff00"),
        ("a3 0c 01 ff 0000 000000ff 00 00", "00010000"),
        ("a3 0c 02 9e 0010 000000ff 00 00", "000300109e10ffffffffffffffffffffffff0100"),
        ("a3 0c 02 9e 0011 000000ff 00 00", "00010000"),
        ("a3 0c 03 9e 0010 000000ff 00 00", "000300109e10ffffffffffffffffffffffff0100"),
        ("a3 0c 03 12 0000 000000ff 00 00", "000300061201ffffff00"),
        ("a3 0c 03 12 0001 000000ff 00 00", "00010000"),
        ("a3 0c 81 12 0000 000000ff 00 00", "008300061201ffffff00000a0000000000000000000a"),
        ("a3 0c 81 ff 0000 000000ff 00 00", "00010000"),  # no descriptor of what is not there
        (
            "a3 0c 82 9e 0010 000000ff 00 00",
            "008300109e10ffffffffffffffffffffffff0100000a0000000000000000000a",
        ),
        (
            "a3 0c 83 9e 0010 000000ff 00 00",
            "008300109e10ffffffffffffffffffffffff0100000a0000000000000000000a",
        ),
        ("a3 0c 02 ff 0001 000000ff 00 00", "00010000"),
        ("a3 0c 03 ff 0001 000000ff 00 00", "00010000"),
        ("a3 0c 03 9e 0000 000000ff 00 00", "00010000"),
        ("a3 0c 03 a3 000a 000000ff 00 00", "0003000ca3ea00000000ffffffff0000"),
        ("a3 0c 01 12 0000 00000003 00 00", "000300"),
    ],
)
async def test_supported_operation_codes_one(cdb, answer):
    assert (await Rig().data(cdb)).hex() == answer


@pytest.mark.parametrize(
    ("cdb", "pointer"),
    [
        ("a3 0c 01 9e 0000 000000ff 00 00", "c00003"),  # has service actions
        ("a3 0c 02 12 0000 000000ff 00 00", "c00004"),  # has none
        ("a3 0c 04 12 0000 000000ff 00 00", "ca0002"),  # no such option
    ],
)
async def test_supported_operation_codes_refusals(cdb, pointer):
    data = await Rig().sense(cdb)
    assert code_of(data) == INVALID_FIELD
    assert data[15:18].hex() == pointer


async def test_every_reported_command_answers_something_else_than_unknown():
    rig = Rig()
    for command in COMMANDS:
        cdb = bytes([command.opcode, command.service_action or 0])
        reply = await rig.ask(cdb)
        assert reply.sense[12:14] != b"\x20\x00", command.name


# -- unit attentions


async def test_a_new_nexus_hears_of_power_on_once():
    rig = Rig()
    await rig.disk.connect("a", rig.keeper)
    assert rig.gates == [("ATTENTION", True)]
    assert code_of(await rig.sense("00")) == (6, 0x29, 0x01)
    assert rig.gates == [("ATTENTION", True), ("ATTENTION", False)]
    assert await rig.data("00") == b""


async def test_attention_comes_before_the_medium_and_before_unknown_opcodes():
    rig = Rig()
    await rig.disk.connect("a", rig.keeper)
    assert code_of(await rig.sense("28")) == (6, 0x29, 0x01)
    assert rig.executed == []
    await rig.disk.attend(sense.CAPACITY_DATA_HAS_CHANGED)
    assert code_of(await rig.sense("ff")) == (6, 0x2A, 0x09)


async def test_inquiry_and_report_luns_leave_attentions_pending():
    rig = Rig()
    await rig.disk.connect("a", rig.keeper)
    await rig.data("12 00 00 00 24 00")
    await rig.data("a0 00 00 000000 00000100 0000")
    assert code_of(await rig.sense("00")) == (6, 0x29, 0x01)


async def test_request_sense_reports_and_clears():
    rig = Rig()
    await rig.disk.connect("a", rig.keeper)
    assert code_of(await rig.data("03 00 0000 ff 00")) == (6, 0x29, 0x01)
    assert await rig.data("00") == b""


async def test_report_luns_clears_luns_changed():
    rig = Rig()
    await rig.disk.connect("a", rig.keeper)
    await rig.ask("00")
    await rig.disk.attend(sense.REPORTED_LUNS_DATA_HAS_CHANGED)
    await rig.data("a0 00 00 000000 00000100 0000")
    assert await rig.data("00") == b""
    assert rig.gates[-1] == ("ATTENTION", False)


async def test_reset_is_told_to_every_nexus_and_starts_the_unit():
    rig = Rig()
    for nexus in ("a", "b"):
        await rig.disk.connect(nexus, rig.keeper)
        await rig.ask("00", nexus)
    await rig.ask("1b 00 00 00 00 00")
    await rig.disk.reset()
    for nexus in ("a", "b"):
        assert code_of((await rig.ask("00", nexus)).sense) == (6, 0x29, 0x03)
        assert (await rig.ask("00", nexus)).status is Status.GOOD


async def test_a_second_mapping_of_a_nexus_is_shut_too_and_not_told_twice():
    rig = Rig()
    seen = []

    async def second(cause, shut):
        seen.append((cause.name, shut))

    await rig.disk.connect("a", rig.keeper)
    await rig.disk.connect("a", second)
    assert seen == [("ATTENTION", True)]
    await rig.ask("00")
    assert rig.gates[-1] == seen[-1] == ("ATTENTION", False)
    rig.disk.disconnect("a", second)
    await rig.disk.attend(sense.CAPACITY_DATA_HAS_CHANGED)
    assert seen[-1] == ("ATTENTION", False)
    rig.disk.disconnect("a", rig.keeper)
    assert await rig.data("00") == b""


# -- any bytes

_KNOWN = st.sampled_from([bytes(command.key[:1]) for command in opcodes.TABLE])


@given(
    cdb=st.binary(min_size=1, max_size=32)
    | st.builds(bytes.__add__, _KNOWN, st.binary(max_size=31))
)
@example(cdb=b"\x7f")
@example(cdb=b"\x9e")
async def test_any_cdb_gets_a_proper_reply(cdb):
    rig = Rig()
    await rig.disk.connect("a", rig.keeper)
    for nexus in ("a", "a", "stranger"):
        reply = await rig.disk.execute(Request(nexus=nexus, target=0, lun=0, cdb=cdb))
        assert reply.service is Service.COMPLETE
        if reply.status is Status.CHECK_CONDITION:
            assert len(reply.sense) == 18
            assert reply.sense[0] & 0x7F == 0x70
            assert not reply.data
        else:
            assert reply.status is Status.GOOD
            assert not reply.sense


@pytest.mark.parametrize(
    ("cdb", "data"),
    [
        ("a3 0d 00 00 00 00 00 00 00 10 00 00", "dc 03 00 00"),
        ("a3 0d 80 00 00 00 00 00 00 10 00 00", "dc 03 00 0c" + " 00" * 12),
        ("37 00 1d 00 00 00 00 00 10 00", "00 1d 00 00"),
        ("37 00 08 00 00 00 00 00 10 00", "00 08 00 00"),
        ("b7 10 00 00 00 00 00 00 00 10 00 00", "00 10 00 00 00 00 00 00"),
        ("b7 0b 00 00 00 00 00 00 00 06 00 00", "00 0b 00 00 00 00"),
    ],
)
async def test_task_management_and_defects_are_reported(cdb, data):
    rig = Rig()
    await rig.disk.connect("a", rig.keeper)
    await rig.ask("00 00 00 00 00 00")
    assert await rig.data(cdb) == bytes.fromhex(data)


async def test_a_report_of_task_management_needs_room_for_four_bytes():
    rig = Rig()
    await rig.disk.connect("a", rig.keeper)
    await rig.ask("00 00 00 00 00 00")
    told = await rig.sense("a3 0d 00 00 00 00 00 00 00 03 00 00")
    assert code_of(told) == INVALID_FIELD
