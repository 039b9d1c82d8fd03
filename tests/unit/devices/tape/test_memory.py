"""MAM, logs, alerts and mode parameters of the emulated tape, byte by byte."""

import json
import struct

import pytest

from tests.harness.emulated import code_of, is_good
from tests.harness.tape_drives import Drive
from vhost_pvscsi.devices.nonvolatile import UnitMemory
from vhost_pvscsi.scsi.attributes import Id

INVALID_CDB, INVALID_LIST = (5, 0x24, 0), (5, 0x26, 0)
SHORT_LIST, FULL, PROTECTED = (5, 0x1A, 0), (5, 0x55, 0x06), (7, 0x27, 0)
BARCODE = b"VT0001L8".ljust(32)
UNCOUNTED = (
    b'{"version": 1, "loads": -1, "written": 0, "read": 0, "write-errors": 0, "read-errors": 0,'
    b' "drives": [], "attributes": {}}'
)
UNLOAD, LOAD = "1b 00 00 00 00 00", "1b 00 00 00 01 00"


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "a.tap"
    path.write_bytes(b"\2\0\0\0ab\2\0\0\0")
    return path


@pytest.fixture
async def drive(image):
    one = Drive(f"tape:{image},capacity=256M")
    with one.held:
        yield await one.connected()


def attribute(code, value, form=1):
    return struct.pack(">HBH", code, form, len(value)) + value


async def write(drive, *given, head=None):
    body = b"".join(given)
    data = (head if head is not None else struct.pack(">I", len(body))) + body
    return await drive.ask(f"8d 00 00 00 00 00 00 00 00 00 {len(data):08x} 00 00", data)


async def read(drive, action=0, first=0):
    return await drive.data(f"8c {action:02x} 00 00 00 00 00 00 {first:04x} 0000ffff 00 00")


async def values(drive):
    data, found, at = await read(drive), {}, 4
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    while at < len(data):
        code, flags, length = struct.unpack_from(">HBH", data, at)
        found[code] = flags, data[at + 5 : at + 5 + length]
        at += 5 + length
    assert list(found) == sorted(found)
    return found


async def test_what_a_host_writes_comes_back_and_is_kept_beside_the_image(drive, image):
    pool = b"pool".ljust(160)
    reply = await write(drive, attribute(0x806, BARCODE), attribute(0x808, pool, 2))
    assert is_good(reply)
    found = await values(drive)
    assert found[0x806] == (1, BARCODE)
    assert found[0x808] == (2, pool)
    assert found[0x008] == (0x81, BARCODE)
    kept = json.loads(image.with_name("a.tap.mam").read_bytes())
    assert bytes.fromhex(kept["attributes"]["0806"]["value"]) == BARCODE
    assert image.read_bytes() == b"\2\0\0\0ab\2\0\0\0"
    # No value takes it away.
    assert is_good(await write(drive, attribute(0x806, b"")))
    assert {0x806, 0x008}.isdisjoint(await values(drive))


async def test_a_medium_tells_of_itself(drive):
    found = await values(drive)
    numbers = {code: int.from_bytes(value, "big") for code, (_, value) in found.items()}
    assert (numbers[Id.MAXIMUM_CAPACITY], numbers[Id.REMAINING_CAPACITY]) == (256, 255)
    assert (numbers[Id.LOAD_COUNT], numbers[Id.DENSITY]) == (1, 0x80)
    assert found[Id.DRIVE_AT_LAST_LOAD][1].startswith(b"VHPVSCSI")
    assert all(flags & 0x80 for flags, _ in found.values()), "nothing of it can be written"
    await drive.data(UNLOAD)
    assert code_of(await drive.sense("8c 00 00 00 00 00 00 00 00 00 000000ff 00 00"))[0] == 2
    await drive.data(LOAD)
    await drive.ask("00", nexus="a")
    assert (await values(drive))[Id.LOAD_COUNT][1][-1] == 2


async def test_lists_name_what_there_is_and_what_there_could_be(drive):
    existing = struct.unpack(f">4x{len(await values(drive))}H", await read(drive, 1))
    assert list(existing) == list(await values(drive))
    supported = await read(drive, 5)
    assert struct.pack(">H", 0x806) in [
        supported[at : at + 2] for at in range(4, len(supported), 2)
    ]
    assert await read(drive, 2) == await read(drive, 3) == bytes((0, 2, 0, 1))
    found = await read(drive, 0, first=0x400)
    assert found[4:6] == b"\4\0"
    for action, first in ((0, 0x806), (1, 0x7FF), (5, 0x5555), (4, 0), (7, 0)):
        cdb = f"8c {action:02x} 00 00 00 00 00 00 {first:04x} 0000ffff 00 00"
        assert code_of(await drive.sense(cdb)) == INVALID_CDB
    for cdb in ("8c 00 0000 00 01", "8c 00 0000 00 00 00 01"):
        assert code_of(await drive.sense(f"{cdb:<20}")) == INVALID_CDB


@pytest.mark.parametrize(("given", "code"), [
    ([attribute(0x0000, bytes(8), 0)], INVALID_LIST),  # a device's
    ([attribute(0x0400, b"somebody")], INVALID_LIST),  # a medium's
    ([attribute(0x080D, b"x")], INVALID_LIST),  # nobody's
    ([attribute(0x806, b"short")], INVALID_LIST),
    ([attribute(0x806, BARCODE, 2)], INVALID_LIST),
    ([attribute(0x806, BARCODE, 3)], INVALID_LIST),
    ([attribute(0x806, BARCODE, 0x41)], INVALID_LIST),
    ([attribute(0x808, bytes(160), 2), attribute(0x806, BARCODE)], INVALID_LIST),
    ([attribute(0x806, BARCODE), attribute(0x806, BARCODE)], INVALID_LIST),
    ([attribute(0x806, BARCODE)[:-1]], SHORT_LIST),
    ([attribute(0x806, BARCODE), b"\x08"], SHORT_LIST),
    ([attribute(0x1400 + n, bytes(1024), 0) for n in range(17)], FULL),
])  # fmt: skip
async def test_a_wrong_list_changes_nothing(drive, given, code):
    assert is_good(await write(drive, attribute(0x801, b"before".ljust(32))))
    before = await values(drive)
    assert code_of((await write(drive, attribute(0x800, b"software"), *given)).sense) == code
    assert await values(drive) == before


async def test_a_list_longer_than_what_is_sent_is_refused(drive):
    assert code_of((await write(drive, b"", head=b"\0\0\1\0")).sense) == SHORT_LIST
    assert code_of((await write(drive, b"", head=b"\0\0")).sense) == SHORT_LIST
    assert is_good(await drive.ask("8d"))


async def test_what_is_lost_or_damaged_costs_attributes_alone(image):
    path = image.with_name("a.tap.mam")
    for content in (b"", b"{}", b"[]", b'{"version": 2}', b"\xff\xfe", b"[" * 90_000, UNCOUNTED):
        path.write_bytes(content)
        one = Drive(f"tape:{image}")
        with one.held:
            await one.connected()
            assert (await values(one))[Id.LOAD_COUNT][1][-1] == 1
            # TapeAlert 0Fh: once, for each who looks.
            for nexus, flag in (("a", 1), ("a", 0), ("b", 1), ("b", 0)):
                data = (await one.ask("4d 00 6e 00 00 00 00 ff ff 00", nexus=nexus)).data
                assert data[4 + 5 * 0x0E : 4 + 5 * 0x0F] == bytes((0, 0x0F, 3, 1, flag)), content


async def test_a_protected_tape_has_protected_attributes(image):
    with Drive(f"tape:{image},ro") as one:
        await one.connected()
        assert code_of((await write(one, attribute(0x806, BARCODE))).sense) == PROTECTED
        assert not image.with_name("a.tap.mam").exists()
        # A drive writes its density, whatever this cartridge allows.
        for media, flags in ((0, 0xA0), (1, 0x20)):
            assert (await one.data(f"44 0{media} 00 00 00 00 00 ff ff 00"))[6] == flags


async def test_pages_of_logs_are_those_of_a_tape(drive):
    supported = await drive.data("4d 00 40 00 00 00 00 ff ff 00")
    assert supported[4:] == bytes((0, 2, 3, 0x0C, 0x17, 0x1B, 0x2E, 0x2F))
    volume = await drive.data("4d 00 57 00 00 00 00 ff ff 00")
    assert volume[:9] == bytes((0x97, 0, *struct.pack(">H", len(volume) - 4), 0, 0, 3, 1, 1))
    compression = await drive.data("4d 00 5b 00 00 00 00 ff ff 00")
    assert compression[-5:] == bytes((1, 0, 3, 1, 0))


async def test_an_unload_that_is_prevented_is_an_alert(drive):
    await drive.data("1e 00 00 00 01 00")
    await drive.sense(UNLOAD)
    data = await drive.data("4d 00 6e 00 00 00 00 ff ff 00")
    raised = [n + 1 for n, flag in enumerate(data[8::5]) if flag]
    assert raised == [0x0A]


async def test_alerts_of_a_load_are_in_the_memory_after_it(drive):
    assert (await values(drive))[Id.TAPE_ALERT] == (0x80, bytes(8))
    await drive.data("1e 00 00 00 01 00")
    await drive.sense(UNLOAD)
    await drive.data("4d 00 6e 00 00 00 00 ff ff 00")
    assert (await values(drive))[Id.TAPE_ALERT] == (0x80, bytes(8)), "it is of the load before"
    await drive.data("1e 00 00 00 00 00")
    await drive.data(UNLOAD)
    await drive.data(LOAD)
    assert (await values(drive))[Id.TAPE_ALERT] == (0x80, b"\0\x40" + bytes(6))
    await drive.data(UNLOAD)
    await drive.data(LOAD)
    assert (await values(drive))[Id.TAPE_ALERT] == (0x80, bytes(8))


async def test_densities_are_told_by_medium_type_too(drive):
    for cdb in ("44 02", "44 03"):
        data = await drive.data(f"{cdb} 00 00 00 00 00 ff ff 00")
        assert (len(data), data[8:10]) == (60, b"\1\x80")
    await drive.data(UNLOAD)
    assert await drive.data("44 02 00 00 00 00 00 ff ff 00")
    assert code_of(await drive.sense("44 03 00 00 00 00 00 ff ff 00")) == (2, 0x3A, 0)


async def compression(drive):
    """DCE, the algorithm, and what the device configuration page says."""
    page, device = await drive.page(0x0F), await drive.page(0x10)
    assert page[2] & 0x40, "DCC"
    return page[2] >> 7, page[7], device[14]


async def test_both_pages_that_speak_of_compression_agree(drive):
    assert await compression(drive) == (0, 0xFF, 0)
    page, device = bytearray(await drive.page(0x0F)), bytearray(await drive.page(0x10))
    page[2] |= 0x80
    assert is_good(await drive.select(page))
    assert await compression(drive) == (1, 0xFF, 1)
    assert is_good(await drive.select(device))
    assert await compression(drive) == (0, 0xFF, 0)
    # As Linux's st does: no algorithm when it is off, and the one of before when it is on.
    page[2], page[7] = 0x40, 0
    assert is_good(await drive.select(page))
    assert await compression(drive) == (0, 0, 0)
    device[14] = 1
    assert is_good(await drive.select(device))
    assert await compression(drive) == (1, 0xFF, 1)
    page[7] = 0x10
    assert code_of((await drive.select(page)).sense) == INVALID_LIST
    await drive.unit.reset()
    await drive.ask("00")
    assert (await compression(drive))[0] == 0


async def test_a_mode_select_that_cannot_be_saved_changes_nothing(image, tmp_path):
    memory = UnitMemory(tmp_path / "no folder" / "a.json", {})
    with Drive(f"tape:{image}", memory) as one:
        await one.connected()
        before = await one.data("1a 00 3f 00 ff 00")
        page = bytearray(await one.page(0x0F))
        page[0], page[2] = 0x0F, page[2] | 0x80
        descriptor = struct.pack(">II", 0, 512)
        reply = await one.select(bytes(page), save=True, descriptor=descriptor)
        assert code_of(reply.sense) == (4, 0x44, 0)
        assert await one.data("1a 00 3f 00 ff 00") == before
        assert is_good(await one.select(bytes(page), descriptor=descriptor))
        assert (await one.data("1a 00 00 00 ff 00"))[-2:] == b"\2\0"
