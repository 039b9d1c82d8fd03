"""The store: kept whole, and never lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vhost_pvscsi.errors import DeviceError
from vhost_pvscsi.identity import Address
from vhost_pvscsi.state import NAME, NOTHING, Record, Records, Store

LUN = Address(0, 0, 1, 0)
KEPT = Records(
    {1: Record({"socket-path": "/s"}, None)},
    {LUN: Record(None, "a.img"), Address(1, 0, 2, 3): Record("b", "c")},
)


def test_what_is_kept_is_there_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.records == NOTHING
    store.keep(KEPT)
    assert Store(tmp_path).records == KEPT
    store.keep(NOTHING)
    assert Store(tmp_path).records == NOTHING
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_without_a_folder_it_lasts_as_long_as_the_daemon() -> None:
    store = Store(None)
    store.keep(KEPT)
    assert store.records == KEPT


def test_a_failed_write_keeps_what_was_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep(KEPT)
    (tmp_path / NAME).with_suffix(".new").mkdir()
    with pytest.raises(OSError, match="directory"):
        store.keep(NOTHING)
    assert store.records == Store(tmp_path).records == KEPT


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"version": 2, "anything": []}')
    with pytest.raises(DeviceError, match="is of version 2, this program knows 1") as caught:
        Store(tmp_path)
    assert "run the version" in (caught.value.hint or "")
    assert (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "\xff",
        '{"version": 1}',
        '{"version": "x", "hosts": {}, "luns": {}}',
        '{"version": 0, "hosts": {}, "luns": {}}',
        '{"version": 1, "hosts": [], "luns": {}}',
        '{"version": 1, "hosts": {"x": {"wanted": null, "configured": null}}, "luns": {}}',
        '{"version": 1, "hosts": {}, "luns": {"0:0:0": {"wanted": null, "configured": null}}}',
        '{"version": 1, "hosts": {}, "luns": {"0:0:0:0": 1}}',
        "[" * 200_000,
    ],
)
def test_one_that_makes_no_sense_is_set_aside(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    for aside in (f"{Path(NAME).stem}.damaged", f"{Path(NAME).stem}.damaged-1"):
        (tmp_path / NAME).write_bytes(text.encode("latin-1"))
        store = Store(tmp_path)
        assert store.records == NOTHING
        assert (tmp_path / aside).read_bytes() == text.encode("latin-1")
        assert aside in caplog.text
        store.keep(KEPT)
    assert json.loads((tmp_path / NAME).read_text())["version"] == 1
