"""Identifying information, diagnostics, and a command of old."""

import pytest

from tests.harness.emulated import IDENTITY, Rig, code_of, is_good
from vhost_pvscsi.devices.nonvolatile import StateDirectory
from vhost_pvscsi.scsi.request import Service

INVALID_FIELD = (5, 0x24, 0)
INVALID_PARAMETER = (5, 0x26, 0)
IDENTIFIER, TEXT, SUPPORTED = 0, 2, 0x7F


def report(kind, length=0x200):
    return f"a3 05 0000 0000 {length:08x} {kind << 1:02x} 00"


def put(kind, length):
    return f"a4 06 0000 0000 {length:08x} {kind << 1:02x} 00"


@pytest.fixture
async def rig(tmp_path):
    state = StateDirectory(tmp_path)
    yield await Rig(state.unit(IDENTITY.naa)).connected()
    state.close()


@pytest.mark.parametrize(("kind", "most"), [(IDENTIFIER, 64), (TEXT, 256)])
async def test_what_is_set_is_reported(rig, kind, most):
    assert (await rig.data(report(kind))).hex() == "00000000"
    text = b"backup disk ".ljust(most, b"x")
    assert is_good(await rig.ask(put(kind, most), text))
    assert await rig.data(report(kind)) == bytes((0, 0, *most.to_bytes(2, "big"))) + text
    assert (await rig.data(report(kind, 7)))[4:] == text[:3]
    assert code_of(await rig.sense("00", nexus="b")) == (6, 0x3F, 5)
    assert is_good(await rig.ask(put(kind, most), text)), "the same again"
    assert is_good(await rig.ask("00", nexus="b"))
    assert is_good(await rig.ask(put(kind, 0)))
    assert (await rig.data(report(kind))).hex() == "00000000"


async def test_it_is_there_after_a_restart(tmp_path):
    state = StateDirectory(tmp_path)
    rig = await Rig(state.unit(IDENTITY.naa)).connected()
    assert is_good(await rig.ask(put(TEXT, 3), b"one"))
    state.close()
    state = StateDirectory(tmp_path)
    assert (await Rig(state.unit(IDENTITY.naa)).data(report(TEXT)))[4:] == b"one"
    state.close()


async def test_supported_types(rig):
    assert (await rig.data(report(SUPPORTED))).hex() == "00000008" + "00000040" + "04000100"
    assert (await Rig().data(report(SUPPORTED))).hex() == "00000000"


async def test_types_and_lengths_that_are_not_there(rig):
    assert (await rig.sense(report(1)))[15:18].hex() == "cf000a"
    assert (await rig.sense(put(SUPPORTED, 1), b"x"))[15:18].hex() == "cf000a"
    long = await rig.sense(put(IDENTIFIER, 65), bytes(65))
    assert (code_of(long), long[15:18].hex()) == (INVALID_FIELD, "c00006")
    assert (await rig.ask(put(TEXT, 9), b"short")).service is Service.OVERRUN


async def test_what_would_be_forgotten_cannot_be_set():
    assert code_of(await Rig().sense(put(TEXT, 1), b"x"))[:2] == (5, 0x20)


async def test_what_cannot_be_written_is_not_set(rig, tmp_path):
    (tmp_path / f"{IDENTITY.naa.hex()}.new").mkdir()
    assert code_of(await rig.sense(put(TEXT, 1), b"x")) == (4, 0x44, 0)
    assert (await rig.data(report(TEXT))).hex() == "00000000"


async def test_the_default_self_test_is_passed_by_a_unit_that_is_ready():
    rig = await Rig().connected()
    assert is_good(await rig.ask("1d 04 00 0000 00"))
    assert is_good(await rig.ask("1d 00 00 0000 00"))
    assert is_good(await rig.ask("1b 00 00 00 00 00"))
    assert code_of(await rig.sense("1d 04 00 0000 00")) == (2, 4, 2)


@pytest.mark.parametrize(
    ("cdb", "data", "code", "pointer"),
    [
        ("1d 20 00 0000 00", b"", INVALID_FIELD, "cf0001"),
        ("1d 04 00 0004 00", bytes(4), INVALID_FIELD, "c00003"),
        ("1d 10 00 0004 00", b"\x40\0\0\0", INVALID_PARAMETER, "800000"),
        ("1d 10 00 0004 00", b"\0\0\0\x01", INVALID_PARAMETER, "800002"),
        ("1d 10 00 0002 00", bytes(2), (5, 0x1A, 0), "000000"),
        ("1c 01 40 00ff 00", b"", INVALID_FIELD, "c00002"),
    ],
)
async def test_other_diagnostics_are_refused(cdb, data, code, pointer):
    rig = await Rig().connected()
    sense = await rig.sense(cdb, data)
    assert (code_of(sense), sense[15:18].hex()) == (code, pointer)


async def test_the_list_of_diagnostic_pages():
    rig = await Rig().connected()
    assert is_good(await rig.ask("1d 10 00 0004 00", bytes(4)))
    assert (await rig.data("1c 00 00 00ff 00")).hex() == "0000000100"
    assert (await rig.data("1c 01 00 0003 00")).hex() == "000000"


async def test_seek_looks_at_the_address_alone():
    rig = await Rig(blocks=0x2000).connected()
    assert is_good(await rig.ask("2b 00 00001fff 00 0000 00"))
    sense = await rig.sense("2b 00 00002000 00 0000 00")
    assert (code_of(sense), sense[:7].hex()) == ((5, 0x21, 0), "f0000500002000")
