"""Cartridges that come and go by hand, and what guests are told of them."""

import contextlib
import os

import pytest

from tests.harness.emulated import code_of, is_good
from tests.harness.tape_drives import Drive
from vhost_pvscsi.devices import locking
from vhost_pvscsi.errors import ConfigurationError, DeviceBusyError, DeviceError

READY, REWIND, WRITE = "00", "01 00 00 00 00 00", "0a 00 00 00 01 00"
UNLOAD, LOAD = "1b 00 00 00 00 00", "1b 00 00 00 01 00"
PREVENT, ALLOW = "1e 00 00 00 01 00", "1e 00 00 00 00 00"
NO_MEDIUM, CHANGED, PREVENTED = (2, 0x3A, 0), (6, 0x28, 0), (5, 0x53, 2)
RECORD = b"\2\0\0\0ab\2\0\0\0"


@pytest.fixture
async def drive():
    one = Drive("tape:")
    with one.held:
        yield await one.connected()


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "a.tap"
    path.write_bytes(RECORD)
    return path


def is_locked(path):
    fd = os.open(path, os.O_RDWR)
    try:
        locking.lock(fd, str(path), read_only=False)
    except DeviceBusyError:
        return True
    finally:
        os.close(fd)
    return False


async def put(drive, path, *, read_only=False, force=False):
    await drive.tape.insert_file(path, read_only=read_only, force=force)


@pytest.mark.parametrize("cdb", [READY, REWIND, WRITE, "05", "11", "34", LOAD])
async def test_an_empty_drive_has_no_medium(drive, cdb):
    assert code_of(await drive.sense(cdb)) == NO_MEDIUM


@pytest.mark.parametrize("cdb", ["12 00 00 00 ff 00", "1a 00 3f 00 ff 00", UNLOAD, PREVENT])
async def test_an_empty_drive_answers(drive, cdb):
    await drive.data(cdb)


async def test_a_cartridge_that_is_put_in_is_told_to_everybody(drive, image):
    await put(drive, image)
    assert (drive.tape.medium_path, drive.tape.loaded) == (image, True)
    for nexus in ("a", "b"):
        assert code_of(await drive.sense(READY, nexus=nexus)) == CHANGED
        assert is_good(await drive.ask(READY, nexus=nexus))
    assert drive.tape.medium.standing().end_object == 1


async def test_a_cartridge_that_is_taken_out_is_unlocked_and_has_its_index(drive, image):
    await put(drive, image)
    assert is_locked(image)
    await drive.tape.eject(force=False)
    assert not is_locked(image)
    assert image.with_name("a.tap.idx").stat().st_size
    assert drive.tape.medium_path is None
    await drive.sense(READY)  # the one that was put in
    assert code_of(await drive.sense(READY)) == NO_MEDIUM
    assert code_of(await drive.sense(LOAD)) == NO_MEDIUM


async def test_an_unloaded_cartridge_is_in_the_drive_still(drive, image):
    await put(drive, image)
    await drive.sense(READY)
    await drive.data(UNLOAD)
    assert (drive.tape.medium_path, drive.tape.loaded) == (image, False)
    assert is_locked(image)
    await drive.data(LOAD)
    await drive.data(READY)


async def test_whoever_prevents_the_removal_keeps_it_in_unless_forced(drive, image):
    await put(drive, image)
    await drive.sense(READY)
    await drive.data(PREVENT)
    with pytest.raises(DeviceBusyError, match="a guest prevents the removal"):
        await drive.tape.eject(force=False)
    await drive.data(READY)
    await drive.tape.eject(force=True)
    assert code_of(await drive.sense(READY)) == NO_MEDIUM


async def test_another_cartridge_takes_the_place_of_the_first(drive, image, tmp_path):
    other = tmp_path / "b.tap"
    other.write_bytes(RECORD * 3)
    await put(drive, image)
    await put(drive, other)
    assert drive.tape.medium_path == other
    assert drive.tape.medium.standing().end_object == 3
    assert not is_locked(image)


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"no tape image is like this", ConfigurationError, "is no tape image"),
        (None, DeviceError, "No such file"),
    ],
)
async def test_what_cannot_be_put_in_changes_nothing(drive, image, tmp_path, content, error, said):
    await put(drive, image)
    await drive.sense(READY)
    await drive.sense(READY, nexus="b")
    wrong = tmp_path / "wrong.tap"
    if content is not None:
        wrong.write_bytes(content)
    with pytest.raises(error, match=said):
        await put(drive, wrong)
    assert (drive.tape.medium_path, drive.tape.loaded) == (image, True)
    assert is_good(await drive.ask(READY)), "a guest was told of what did not happen"
    assert drive.tape.medium.standing().end_object == 1


async def test_what_somebody_else_holds_is_not_put_in(drive, image):
    with contextlib.ExitStack() as held:
        fd = os.open(image, os.O_RDWR)
        held.callback(os.close, fd)
        locking.lock(fd, str(image), read_only=False)
        with pytest.raises(DeviceBusyError):
            await put(drive, image)
    assert drive.tape.medium_path is None


async def test_settings_are_the_drives_and_not_the_cartridges(drive, image):
    block_length = bytes.fromhex("00001008 00000000 00000200")
    assert is_good(await drive.ask("15 10 00 00 0c 00", block_length))
    await put(drive, image)
    await drive.sense(READY)
    assert (await drive.data("1a 00 00 00 0c 00"))[9:12] == bytes.fromhex("000200")


async def test_a_protected_cartridge_says_so(drive, image):
    await put(drive, image, read_only=True)
    await drive.sense(READY)
    assert (await drive.data("1a 00 00 00 0c 00"))[2] & 0x80
    await drive.tape.eject(force=False)
    assert not (await drive.data("1a 00 00 00 0c 00"))[2] & 0x80


async def test_guests_that_load_and_unload_are_watched(drive, image):
    told = []
    drive.tape.watch_media(told.append)
    await put(drive, image)
    await drive.sense(READY)
    assert told == []
    await drive.data(UNLOAD)
    await drive.data(UNLOAD)
    await drive.data(LOAD)
    assert told == ["guest", "guest"]
