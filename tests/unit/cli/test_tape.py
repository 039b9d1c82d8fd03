"""The verbs of `tape`, on images that are written here byte by byte."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from vhost_pvscsi.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path


def record(data: bytes, flags: int = 0) -> bytes:
    length = struct.pack("<I", len(data) | flags)
    return length + data + bytes(len(data) % 2) + length


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["tape", *map(str, words)])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "t.tap"
    mark = bytes(4)
    path.write_bytes(
        record(b"abc") + record(b"d" * 1000) + mark + mark + record(b"last") + record(b"!")
    )
    return path


def test_a_new_tape_is_empty_and_one_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "new.tap"
    assert run("create", path).exit_code == 0
    assert path.read_bytes() == b""
    assert json.loads(run("info", path, "--json").stdout)["blocks"] == 0
    again = run("create", path)
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)
    nowhere = run("create", tmp_path / "no" / "t.tap")
    assert (nowhere.exit_code, "No such file" in nowhere.stderr) == (1, True)


def test_info_counts(image: Path) -> None:
    told = json.loads(run("info", image, "--json").stdout)
    size = image.stat().st_size
    assert told == {
        "blocks": 4, "filemarks": 2, "bytes": size, "file-size": size, "torn-at": None,
        "barcode": "", "write-protected": False, "loads": 0,
    }  # fmt: skip
    assert run("info", image).stdout.startswith("4 blocks and 2 filemarks\n")


def test_files_and_blocks_are_listed(image: Path) -> None:
    files = [json.loads(line) for line in run("ls", image, "--json").stdout.splitlines()]
    assert [(one["first"], one["blocks"], one["bytes"], one["ended"]) for one in files] == [
        (0, 2, 1003, True),
        (3, 0, 0, True),
        (4, 2, 5, False),
    ]
    text = run("ls", image).stdout.splitlines()
    assert text[1].split() == ["0", "0", "2", "1003", "3", "to", "1000"]
    assert text[3].endswith("1 to 4  (no filemark)")
    blocks = run("ls", image, "--blocks").stdout.splitlines()
    assert blocks[0].split() == ["0", "block", "of", "3", "bytes"]
    assert blocks[2].split() == ["2", "filemark"]
    assert len(blocks) == 6


def test_a_file_is_exported_without_what_is_around_its_blocks(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("export", image, 0, "-o", out).exit_code == 0
    assert out.read_bytes() == b"abc" + b"d" * 1000
    assert run("export", image, 1).stdout_bytes == b""
    assert run("export", image, 2).stdout_bytes == b"last!"
    missing = run("export", image, 3)
    assert (missing.exit_code, "there is no file 3" in missing.stderr) == (1, True)


def test_verify_tells_what_is_wrong_and_changes_nothing(image: Path) -> None:
    assert run("verify", image).exit_code == 0
    whole = image.read_bytes()
    for content, said in (
        (whole + record(b"torn")[:7], f"at byte {len(whole)} begins a record that was not"),
        (whole + record(b"bad", 0x80000000), "1 blocks were read with errors"),
        (whole + b"\1\2\3\4" * 5, f"damaged: at byte {len(whole)}, behind 6 blocks"),
        (b"no tape at all", "it is no tape image"),
    ):
        image.write_bytes(content)
        done = run("verify", image)
        assert done.exit_code == 1
        assert said in done.output
        assert image.read_bytes() == content
