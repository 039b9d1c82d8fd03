"""Nonvolatile memory: kept whole, and by one daemon at a time."""

import json

import pytest

from vhost_pvscsi.devices.nonvolatile import StateDirectory
from vhost_pvscsi.errors import ConfigurationError, DeviceBusyError, DeviceError

NAA = bytes.fromhex("3000000000000001")


@pytest.fixture
def state(tmp_path):
    directory = StateDirectory(tmp_path / "made" / "state")
    yield directory
    directory.close()


async def test_what_is_kept_is_there_again(tmp_path):
    state = StateDirectory(tmp_path)
    memory = state.unit(NAA)
    assert memory.section("one") is None
    await memory.keep("one", {"a": 1})
    await memory.keep("two", [2])
    await memory.keep("two", None)
    state.close()
    state = StateDirectory(tmp_path)
    assert state.unit(NAA).section("one") == {"a": 1}
    assert state.unit(NAA[:-1] + b"\2").section("one") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", f"{NAA.hex()}.json"]
    state.close()


async def test_a_failed_write_keeps_what_was_there(state):
    memory = state.unit(NAA)
    await memory.keep("one", 1)
    memory.path.with_suffix(".new").mkdir()
    with pytest.raises(OSError, match="directory"):
        await memory.keep("one", 2)
    assert memory.section("one") == 1
    assert json.loads(memory.path.read_text())["sections"] == {"one": 1}


def test_two_daemons_cannot_have_one_folder(tmp_path, state):
    with pytest.raises(DeviceBusyError, match="another daemon"):
        StateDirectory(tmp_path / "made" / "state")


def test_two_units_cannot_have_one_identifier(state):
    state.unit(NAA)
    with pytest.raises(ConfigurationError, match=NAA.hex()):
        state.unit(NAA)


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match=r"state directory .*file/below: Not a directory"):
        StateDirectory(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 2, "sections": {}}', '{"version": 1}', " " * (2 << 20)]
)
def test_a_file_that_is_not_ours_is_named(tmp_path, text, state):
    path = tmp_path / "made" / "state" / f"{NAA.hex()}.json"
    path.write_text(text)
    with pytest.raises(DeviceError, match="is not a unit's state") as caught:
        state.unit(NAA)
    assert "move it away" in caught.value.hint
