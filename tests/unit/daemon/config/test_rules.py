"""[[auto-attach]] of a configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.host_devices import tape
from vhost_pvscsi.daemon.command import settings
from vhost_pvscsi.daemon.config.mistakes import MistakesError
from vhost_pvscsi.daemon.config.read import read_config
from vhost_pvscsi.daemon.plan import Plan

if TYPE_CHECKING:
    from pathlib import Path

    from vhost_pvscsi.daemon.config.read import Config

HOST = "[[host]]\nnumber = 0\nsocket-path = '0.sock'\n"
RULE = HOST + "[[auto-attach]]\n"


def read(folder: Path, text: str) -> Config:
    path = folder / "c.toml"
    path.write_text(text, encoding="utf-8")
    config = read_config(path, settings())
    config.check()
    return config


def test_rules_are_read_in_their_order(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        RULE + "type = ['tape', 'changer']\nvendor = 'HPE'\nvdev = '0:0:{n}:0'\nro = true\n"
        "fault-file = 'f,1.toml'\n"
        "[[auto-attach]]\npath = '/dev/disk/by-path/*usb*'\nvdev = '0:0:100:{n}'\n",
    )
    first, second = config.plan.rules
    assert first.conditions == (("type", ("tape", "changer")), ("vendor", ("HPE",)))
    assert first.words == ("ro", f"fault-file={tmp_path}/f,1.toml")
    assert first.place.endswith("c.toml:4")
    assert first.matches(tape("1:0:0:0", 1))
    assert second.vdev == "0:0:100:{n}"


def test_rules_of_the_file_stay_under_the_command_line(tmp_path: Path) -> None:
    config = read(tmp_path, RULE + "type = 'tape'\nvdev = '0:0:{n}:0'")
    assert config.plan.under(Plan()).rules == config.plan.rules
    assert config.plan.read_only().rules == config.plan.rules


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("type = 'tape'", 4, "vdev is missing"),
        ("type = 'tape'\nvdev = 5", 6, "vdev is missing, or no text"),
        ("type = 'tape'\nvdev = '0:0:{x}:0'", 6, "{x} is not known"),
        ("vdev = '0:0:{n}:0'", 4, "has no condition"),
        ("vdev = '0:0:{n}:0'\ntype = 'streamer'", 6, "type 'streamer' is not known"),
        ("vdev = '0:0:{n}:0'\ntype = []", 6, "type: [] cannot be used"),
        ("vdev = '0:0:{n}:0'\nvendor = 5", 6, "vendor: 5 cannot be used"),
        ("vdev = '0:0:{n}:0'\ntype = 'tape'\nmodel = 'x'", 7, "'model' is not known"),
        ("vdev = '0:0:{n}:0'\ntype = 'tape'\non-loss = 'cry'", 7, "'cry' is nothing"),
        ("vdev = '0:0:{n}:0'\ntype = 'tape'\ncache = 'none'", 4, "option 'cache' does not apply"),
        ("vdev = '0:0:{n}:0'\ntype = 'tape'\nforward = true", 7, "'forward' is not known"),
        ("vdev = '7:0:{n}:0'\ntype = 'tape'", 4, "there is no virtual host 7"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(MistakesError) as caught:
        read(tmp_path, RULE + text)
    [error] = [one for one in caught.value.told().splitlines() if one.startswith("error: ")]
    assert error.startswith(f"error: {tmp_path}/c.toml:{line}: [[auto-attach]] ")
    assert said in error


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(MistakesError, match="auto-attach is no list of tables"):
        read(tmp_path, HOST + "[auto-attach]\ntype = 'tape'")
