"""MODE SENSE and MODE SELECT of the emulated disk, by their bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.emulated import IDENTITY, Rig, code_of, is_good
from vhost_pvscsi.devices.nonvolatile import StateDirectory
from vhost_pvscsi.errors import DeviceError
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.request import Service

INVALID_FIELD = (5, 0x24, 0)
INVALID_PARAMETER = (5, 0x26, 0)
LIST_LENGTH = (5, 0x1A, 0)

CACHING = bytes.fromhex("0812 04" + "00" * 17)
CONTROL = bytes.fromhex("0a0a 021000000000ffff0000")
EXTENSION = bytes.fromhex("4a01001c 0000 60" + "00" * 25)
RECOVERY = bytes.fromhex("010a 80" + "00" * 9)
EXCEPTIONS = bytes.fromhex("1c0a 08" + "00" * 9)
ALL_PAGES = RECOVERY + CACHING + CONTROL + EXCEPTIONS

NO_WCE = CACHING[:2] + b"\0" + CACHING[3:]
D_SENSE = CONTROL[:2] + b"\x06" + CONTROL[3:]


async def test_mode_sense_6_of_all_pages():
    data = await Rig().data("1a 00 3f 00 ff 00")
    assert data[:12].hex() == "430010080000200000000200"
    assert data[12:] == ALL_PAGES
    assert data[0] == len(data) - 1


async def test_mode_sense_of_all_pages_with_their_subpages():
    data = await Rig().data("1a 08 3f ff ff 00")
    assert data[4:] == RECOVERY + CACHING + CONTROL + EXTENSION + EXCEPTIONS
    assert (await Rig().data("1a 08 0a 01 ff 00"))[4:] == EXTENSION
    assert (await Rig().data("1a 08 0a ff ff 00"))[4:] == CONTROL + EXTENSION


async def test_mode_sense_6_without_block_descriptor_and_read_only():
    data = await Rig(read_only=True).data("1a 08 08 00 ff 00")
    assert data.hex() == "17009000081204" + "00" * 17


async def test_mode_sense_10_with_long_descriptor():
    data = await Rig(blocks=1 << 33, write_cache=False).data("5a 10 08 00 000000 00ff 00")
    assert data[:8].hex() == "002a001001000010"
    assert data[8:24].hex() == "00000002000000000000000000000200"
    assert data[24:].hex() == "0812" + "00" * 18


async def test_changeable_and_default_values():
    rig = await Rig().connected()
    assert await rig.page(0x08, control=1) == b"\x08\x12\x04" + bytes(17)
    assert await rig.page(0x0A, control=1) == b"\x0a\x0a\x04" + bytes(9)
    assert await rig.page(0x01, control=1) == b"\x01\x0a" + bytes(10)
    assert is_good(await rig.select(NO_WCE))
    assert await rig.page(0x08) == NO_WCE
    assert await rig.page(0x08, control=2) == CACHING
    fixed = Rig(write_cache_switchable=False)
    assert await fixed.page(0x08, control=1) == b"\x08\x12" + bytes(18)


async def test_mode_sense_of_an_unknown_page_or_subpage_is_refused():
    page = await Rig().sense("1a 00 02 00 ff 00")
    assert code_of(page) == INVALID_FIELD
    assert page[15:18].hex() == "cd0002"
    for cdb in ("1a 00 08 01 ff 00", "1a 00 3f 01 ff 00"):
        subpage = await Rig().sense(cdb)
        assert subpage[15:18].hex() == "c00003"


async def test_the_write_cache_is_switched_off_with_a_flush_and_on_without():
    rig = await Rig().connected()
    assert rig.medium.sync_writes is False
    assert is_good(await rig.select(NO_WCE))
    assert (rig.medium.sync_writes, rig.flushed) == (True, 1)
    assert is_good(await rig.select(CACHING))
    assert (rig.medium.sync_writes, rig.flushed) == (False, 1)


async def test_a_cache_that_cannot_be_flushed_stays_on():
    rig = await Rig().connected()
    rig.flush_error = OSError(5, "Input/output error")
    assert code_of((await rig.select(NO_WCE)).sense) == (3, 0x0C, 0)
    assert rig.medium.sync_writes is False
    assert await rig.page(0x08) == CACHING


async def test_sense_comes_in_descriptor_format_once_asked_for():
    rig = await Rig().connected()
    assert is_good(await rig.select(D_SENSE))
    assert rig.medium.descriptor_sense is True
    assert (
        await rig.sense("1a 00 02 00 ff 00")
    ).hex() == "72052400" + "00000008" + "02060000cd000200"
    assert is_good(await rig.select(CONTROL))
    assert (await rig.sense("1a 00 02 00 ff 00"))[0] == 0x70


async def test_the_other_nexus_hears_of_a_change_and_of_nothing_else():
    rig = await Rig().connected()
    await rig.select(CACHING)
    assert is_good(await rig.ask("00", nexus="b"))
    await rig.select(NO_WCE)
    assert code_of(await rig.sense("00", nexus="b")) == (6, 0x2A, 1)
    assert is_good(await rig.ask("00", nexus="a"))


async def test_a_reset_brings_the_defaults_back():
    rig = await Rig().connected()
    await rig.select(NO_WCE + D_SENSE)
    await rig.disk.reset()
    assert (rig.medium.sync_writes, rig.medium.descriptor_sense) == (False, False)
    await rig.ask("00")
    assert await rig.page(0x08) == CACHING


async def test_nothing_is_changed_when_any_page_is_wrong():
    rig = await Rig().connected()
    wrong = CONTROL[:4] + b"\x08" + CONTROL[5:]  # SWP
    sense = (await rig.select(NO_WCE + wrong)).sense
    assert code_of(sense) == INVALID_PARAMETER
    assert sense[15:18].hex() == "8b" + f"{4 + 20 + 4:04x}"
    assert await rig.page(0x08) == CACHING


@pytest.mark.parametrize(
    ("pages", "pointer"),
    [
        (b"\x02\x02\0\0", "8d0004"),  # no such page
        (b"\x4a\x02\0\x01\0", "8d0004"),  # no such subpage
        (CACHING[:1] + b"\x0a" + bytes(10), "800005"),  # of another length
        (b"\x4a\x01\0\x01\0", "800006"),
        (b"\x08\x12\x05" + bytes(17), "880006"),  # RCD
    ],
)
async def test_a_wrong_page_is_pointed_at(pages, pointer):
    rig = await Rig().connected()
    sense = (await rig.select(pages)).sense
    assert code_of(sense) == INVALID_PARAMETER
    assert sense[15:18].hex() == pointer


@pytest.mark.parametrize(
    "data", [b"\0", b"\0\0\0", b"\0\0\0\x08\0", b"\0\0\0\0" + CACHING[:-1], b"\0\0\0\0\x08"]
)
async def test_a_list_that_ends_early_is_refused(data):
    rig = await Rig().connected()
    assert code_of(await rig.sense(f"15 10 00 00 {len(data):02x} 00", data)) == LIST_LENGTH


async def test_an_empty_list_changes_nothing():
    rig = await Rig().connected()
    assert is_good(await rig.ask("15 10 00 00 00 00"))
    assert is_good(await rig.ask("55 10 00 00 00 00 00 0000 00"))


async def test_less_data_than_the_list_has_is_an_overrun():
    rig = await Rig().connected()
    assert (await rig.ask("15 10 00 00 18 00", bytes(4))).service is Service.OVERRUN


async def test_formats_and_saving_that_are_not_there_are_refused():
    rig = await Rig().connected()
    assert (await rig.sense("15 00 00 00 00 00"))[15:18].hex() == "cc0001"
    assert (await rig.sense("15 11 00 00 00 00"))[15:18].hex() == "c80001"
    assert code_of(await rig.sense("1a 08 c8 00 ff 00")) == (5, 0x39, 0)


@pytest.mark.parametrize(
    ("descriptor", "pointer"),
    [
        ("0000200000000200", None),
        ("0000000000000200", None),
        ("ffffffff00000200", None),
        ("0000100000000200", "800004"),
        ("0000200000001000", "800009"),
    ],
)
async def test_a_block_descriptor_may_say_what_is(descriptor, pointer):
    rig = await Rig().connected()
    reply = await rig.select(NO_WCE, descriptor=bytes.fromhex(descriptor))
    assert (reply.sense[15:18].hex() if reply.sense else None) == pointer


async def test_mode_select_10_with_a_long_descriptor():
    rig = await Rig().connected()
    descriptor = (0x2000).to_bytes(8, "big") + bytes(4) + (512).to_bytes(4, "big")
    data = bytes.fromhex("0000 00 00 01 00 0010") + descriptor + NO_WCE
    assert is_good(await rig.ask(f"55 10 00 00 00 00 00 {len(data):04x} 00", data))
    assert await rig.page(0x08) == NO_WCE
    wrong = data[:6] + b"\0\x08" + data[8:]
    sense = await rig.sense(f"55 10 00 00 00 00 00 {len(wrong):04x} 00", wrong)
    assert (code_of(sense), sense[15:18].hex()) == (INVALID_PARAMETER, "800006")


async def test_saved_pages_outlive_the_daemon_and_come_back_at_a_reset(tmp_path):
    state = StateDirectory(tmp_path)
    rig = await Rig(state.unit(IDENTITY.naa)).connected()
    assert await rig.page(0x08) == b"\x88" + CACHING[1:]
    assert is_good(await rig.select(NO_WCE, save=True))
    assert is_good(await rig.select(CACHING))
    assert await rig.page(0x08, control=3) == b"\x88" + NO_WCE[1:]
    await rig.disk.reset()
    assert rig.medium.sync_writes is True
    state.close()

    again = StateDirectory(tmp_path)
    rig = Rig(again.unit(IDENTITY.naa))
    assert rig.medium.sync_writes is True
    assert await rig.page(0x08) == b"\x88" + NO_WCE[1:]
    assert await rig.page(0x01) == RECOVERY
    again.close()


async def test_a_page_that_cannot_be_saved_is_not_changed(tmp_path):
    state = StateDirectory(tmp_path / "state")
    rig = await Rig(state.unit(IDENTITY.naa)).connected()
    (tmp_path / "state" / f"{IDENTITY.naa.hex()}.new").mkdir()
    assert code_of((await rig.select(NO_WCE, save=True)).sense) == (4, 0x44, 0)
    assert await rig.page(0x08) == b"\x88" + CACHING[1:]
    assert await rig.page(0x08, control=3) == b"\x88" + CACHING[1:]
    state.close()


@pytest.mark.parametrize("kept", [[], {"0800": "zz"}, {"0800": "0812"}, {"0800": 7}])
async def test_saved_pages_of_another_kind_are_named(tmp_path, kept):
    state = StateDirectory(tmp_path)
    memory = state.unit(IDENTITY.naa)
    await memory.keep("mode-pages", kept)
    with pytest.raises(DeviceError, match="saved mode pages"):
        Rig(memory)
    state.close()


@given(data=st.binary(max_size=80), ten=st.booleans())
async def test_any_parameter_list_is_answered(data, ten):
    rig = await Rig().connected()
    cdb = f"55 10 00 00 00 00 00 {len(data):04x} 00" if ten else f"15 10 00 00 {len(data):02x} 00"
    reply = await rig.ask(cdb, data)
    assert reply.service is Service.COMPLETE
    assert is_good(reply) or code_of(reply.sense) in {INVALID_PARAMETER, LIST_LENGTH}


def test_sense_of_another_make_is_left_alone():
    for data in (b"", b"\x70", bytes.fromhex("7205240000000000"), b"\x7f" + bytes(17)):
        assert sense.in_descriptor_format(data) == data
    whole = sense.fixed(sense.WRITE_ERROR, information=0x1234)
    assert sense.in_descriptor_format(whole) == sense.descriptor(
        sense.WRITE_ERROR, information=0x1234
    )
