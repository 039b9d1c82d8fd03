"""The initramfs archive, byte for byte."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from images import cpio

if TYPE_CHECKING:
    from pathlib import Path


def test_entries_are_sorted_padded_and_owned_by_root(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").write_bytes(b"12345")
    (tmp_path / "b" / "file").chmod(0o640)
    (tmp_path / "a").symlink_to("b/file")
    out = io.BytesIO()
    cpio.write(tmp_path, out)
    data, found = out.getvalue(), []
    at = 0
    while at < len(data):
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i :][:8], 16) for i in range(13)]
        name_end = at + 110 + fields[11]
        name = data[at + 110 : name_end - 1].decode()
        start = name_end + -name_end % 4
        found.append((name, fields[1], fields[2], fields[3], data[start : start + fields[6]]))
        at = start + fields[6]
        at += -at % 4
    assert found == [
        ("a", 0o120777, 0, 0, b"b/file"),
        ("b", 0o040000 | (tmp_path / "b").stat().st_mode & 0o7777, 0, 0, b""),
        ("b/file", 0o100640, 0, 0, b"12345"),
        ("TRAILER!!!", 0, 0, 0, b""),
    ]


def test_equal_trees_give_equal_archives(tmp_path: Path) -> None:
    archives = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text("same")
        out = io.BytesIO()
        cpio.write(tmp_path / name, out)
        archives.append(out.getvalue())
    assert archives[0] == archives[1]
