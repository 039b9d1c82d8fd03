"""`changer create`: what it makes, and what it says of what cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from vhost_pvscsi.__main__ import main
from vhost_pvscsi.devices.changer.settings import read_settings, settings_of
from vhost_pvscsi.identity import Address

if TYPE_CHECKING:
    from pathlib import Path


def create(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["changer", "create", str(folder), *words])


def test_a_library_has_what_was_asked_for(tmp_path: Path) -> None:
    lib = tmp_path / "a" / "lib"
    words = "--slots 5 --tapes 3 --import-export 2 --drive 0:0:1:0 --drive 0:0:2:0"
    done = create(lib, *words.split(), "--capacity", "1G", "--first", "VT098L8"[:5])
    assert (done.exit_code, done.output) == (0, "")
    settings = settings_of(read_settings(lib))
    assert (settings.layout.slots, settings.layout.import_export) == (5, 2)
    assert settings.layout.drives == (Address(0, 0, 1, 0), Address(0, 0, 2, 0))
    assert settings.capacity == 1 << 30
    assert sorted(one.name for one in lib.glob("*.tap")) == ["VT098.tap", "VT099.tap", "VT100.tap"]


def test_tapes_that_are_there_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "V00001.tap").write_bytes(bytes(4))
    assert create(tmp_path, "--tapes", "2").exit_code == 0
    assert (tmp_path / "V00001.tap").read_bytes() == bytes(4)
    assert (tmp_path / "V00002.tap").read_bytes() == b""


def test_a_library_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "changer.toml").write_text("slots = 2\n")
    done = create(tmp_path, "--tapes", "1")
    assert done.exit_code == 1
    assert f"error: {tmp_path}/changer.toml: is there already" in done.stderr
    assert (tmp_path / "changer.toml").read_text() == "slots = 2\n"
    assert not list(tmp_path.glob("*.tap"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--tapes 9", "9 tapes do not lie in 8 slots"),
        ("--tapes 2 --first A9", "'A9' has not the digits for 2 tapes"),
        ("--first ABC", "'ABC' cannot be counted on from"),
        ("--first ../1", "'../1' cannot be counted on from"),
        ("--drive 0:0:1", "address '0:0:1' is not host:channel:target:lun"),
        ("--drive 0:0:1:0 --drive 0:0:1:0", "0:0:1:0 is two drives"),
        ("--capacity 1K", "'1K' is too little for a tape"),
    ],
)
def test_what_cannot_be_is_told_and_not_made(tmp_path: Path, words: str, said: str) -> None:
    done = create(tmp_path / "lib", *words.split())
    assert done.exit_code == 2
    assert said in done.stderr
    assert "hint: " in done.stderr
    assert not (tmp_path / "lib").exists()
