"""A changer's folder: changer.toml, what lies where as it is kept, images that come and go."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.harness.changer import make_library
from vhost_pvscsi.devices.changer.contents import Contents, Lying
from vhost_pvscsi.devices.changer.folder import Folder
from vhost_pvscsi.devices.changer.settings import read_settings, settings_of
from vhost_pvscsi.errors import ConfigurationError, DeviceError

if TYPE_CHECKING:
    from pathlib import Path


def load(path: Path) -> Contents:
    return folder_of(path).load()


def folder_of(path: Path) -> Folder:
    return Folder(path, settings_of(read_settings(path)))


def named(folder: Folder, contents: Contents) -> dict[str, str]:
    """What lies where, by names; what lies on the shelf is there by its own."""
    return {folder.settings.layout.name(at): one.file for at, one in contents.lying.items()}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("slot = 4", "changer.toml: 'slot' is not known"),
        ("slots = 0", "changer.toml: slots: 0 is no number of elements"),
        ("slots = true", "changer.toml: slots: True is no number of elements"),
        ("picks = 99", "changer.toml: picks: 99 is no number of elements"),
        ("drives = '0:0:1:0'", "changer.toml: drives: '0:0:1:0' is no list of strings"),
        ("drives = ['1']", "changer.toml: drives: address '1' is not host:channel:target:lun"),
        ("drives = ['0:0:1:0', '0:0:1:0']", "0:0:1:0 is two drives"),
        ("capacity = '1K'", "'1K' is too little for a tape"),
        ("capacity = 5", "changer.toml: capacity: 5 is no size"),
        ("barcodes = 1", "changer.toml: barcodes: 1 is no table"),
        ("[barcodes]\n'A.tap' = 5", "A.tap: 5 is no string"),
        ("[barcodes]\n'A.tap' = 'two words'", "A.tap: 'two words' is no barcode"),
        ("[barcodes]\n'A.tap' = 'B'", "A.tap and B.tap have one barcode, 'B'"),
        ("write-protected = 1", "changer.toml: write-protected: 1 is no list of strings"),
        ("slots = [", "changer.toml: is no TOML"),
        ("slots = 4\xff", "changer.toml: is no TOML"),
    ],
)
def test_a_mistake_is_told_with_its_value_and_a_hint(
    tmp_path: Path, settings: str, said: str
) -> None:
    make_library(tmp_path, "A", "B")
    (tmp_path / "changer.toml").write_bytes(settings.encode("latin-1"))
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path)
    assert said in str(raised.value)
    assert raised.value.hint or "TOML" in said


def test_a_file_whose_name_is_no_barcode_is_told(tmp_path: Path) -> None:
    make_library(tmp_path, "a tape of may")
    with pytest.raises(ConfigurationError, match="'a tape of may' is no barcode"):
        load(tmp_path)
    (tmp_path / "changer.toml").write_text("[barcodes]\n'a tape of may.tap' = 'MAY'\n")
    folder = folder_of(tmp_path)
    assert named(folder, folder.load()) == {"slot:1": "a tape of may.tap"}
    assert folder.barcode("a tape of may.tap") == "MAY"


def test_what_lies_where_is_found_again(tmp_path: Path) -> None:
    make_library(tmp_path, "A", "B", "C", settings='slots = 3\ndrives = ["0:0:1:0"]\n')
    folder = folder_of(tmp_path)
    layout = folder.settings.layout
    kept = Contents(
        {
            layout.parse("drive:0"): Lying("C.tap", layout.parse("slot:2")),
            layout.parse("import-export:1"): Lying("A.tap", by_operator=True),
        },
        frozenset({"B.tap"}),
    )
    folder.keep(kept)
    assert folder.load() == kept


def test_new_images_lie_in_slots_and_those_that_have_gone_nowhere(tmp_path: Path) -> None:
    make_library(tmp_path, "A", "B", settings="slots = 3\n")
    folder = folder_of(tmp_path)
    folder.keep(folder.load())
    (tmp_path / "A.tap").unlink()
    make_library(tmp_path, "C", "D", "E")
    now = folder.load()
    assert named(folder, now) == {"slot:1": "C.tap", "slot:2": "B.tap", "slot:3": "D.tap"}
    assert now.shelf == {"E.tap"}


def test_cartridges_of_elements_that_are_gone_lie_in_others(tmp_path: Path) -> None:
    make_library(tmp_path, "A", "B", "C", settings='slots = 4\ndrives = ["0:0:1:0"]\n')
    folder = folder_of(tmp_path)
    layout = folder.settings.layout
    places = ("slot:4", "drive:0", "slot:1")
    files = ("A.tap", "B.tap", "C.tap")
    folder.keep(
        Contents(
            {
                layout.parse(place): Lying(file, layout.parse("slot:4"))
                for place, file in zip(places, files, strict=True)
            }
        )
    )
    (tmp_path / "changer.toml").write_text("slots = 3\n")
    folder = folder_of(tmp_path)
    now = folder.load()
    assert named(folder, now) == {"slot:1": "C.tap", "slot:2": "B.tap", "slot:3": "A.tap"}
    assert {one.source for one in now.lying.values()} == {None}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"version": 2, "elements": {}, "shelf": []}',
        '{"version": 1, "elements": {"slot:1": {}}, "shelf": []}',
        '{"version": 1, "elements": {"cupboard": {"file": "A.tap", "source": null,'
        ' "by-operator": false}}, "shelf": []}',
        '{"version": 1, "elements": [], "shelf": 5}',
        "[" * 100_000,
    ],
)
def test_what_does_not_say_what_lies_where_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    make_library(tmp_path, "A")
    (tmp_path / "elements.json").write_text(text)
    with pytest.raises(DeviceError, match="does not say what lies where") as raised:
        load(tmp_path)
    assert "move it away" in str(raised.value.hint)
    assert (tmp_path / "elements.json").read_text() == text


def test_a_file_out_of_the_folder_is_no_cartridge(tmp_path: Path) -> None:
    lib = make_library(tmp_path / "lib", "A")
    (tmp_path / "x.tap").touch()
    one = {"file": "../x.tap", "source": None, "by-operator": False}
    document = {"version": 1, "elements": {"slot:1": one}, "shelf": ["../x.tap"]}
    (lib / "elements.json").write_text(json.dumps(document))
    now = load(lib)
    assert [one.file for one in now.lying.values()] == ["A.tap"]
    assert now.shelf == frozenset()
