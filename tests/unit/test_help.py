"""What the programs say: help, and the errors of docs/bad-input.md, word for word.

VHOST_PVSCSI_WRITE_SNAPSHOTS=1 writes the help texts anew, to be looked at before a commit.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from vhost_pvscsi.__main__ import main
from vhost_pvscsi.cli.changer.command import CHANGER
from vhost_pvscsi.cli.tape.command import TAPE
from vhost_pvscsi.cli.verbs import VERBS
from vhost_pvscsi.daemon.command import serve

SNAPSHOTS = Path(__file__).with_name("help")
PAGE = Path(__file__).parents[2] / "docs" / "bad-input.md"
ROW = re.compile(r"^\| (\(nothing\)|`[^`]+`) \| ([12]) \| (`.*`) \|$", re.MULTILINE)
CASES = [
    ("" if typed == "(nothing)" else typed.strip("`"), int(status), said.strip("`").split("`<br>`"))
    for typed, status, said in ROW.findall(PAGE.read_text(encoding="utf-8"))
]
PROGRAMS = {
    "vhost-pvscsi": (main, ()),
    "vhost-pvscsi serve": (main, ("serve",)),
    "vhost-pvscsi check-config": (main, ("check-config",)),
    "vhost-user-pvscsi": (serve, ()),
    **{f"vhost-pvscsi {verb.name}": (main, (verb.name,)) for verb in VERBS},
    "vhost-pvscsi tape": (main, ("tape",)),
    **{f"vhost-pvscsi tape {name}": (main, ("tape", name)) for name in TAPE.commands},
    "vhost-pvscsi changer": (main, ("changer",)),
    **{f"vhost-pvscsi changer {name}": (main, ("changer", name)) for name in CHANGER.commands},
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_as_it_was(name: str, option: str) -> None:
    command, words = PROGRAMS[name]
    runner = CliRunner()
    done = runner.invoke(
        command, [*words, option], prog_name=name.split(maxsplit=1)[0], terminal_width=80
    )
    snapshot = SNAPSHOTS / f"{name.replace(' ', '-')}.txt"
    if os.environ.get("VHOST_PVSCSI_WRITE_SNAPSHOTS"):
        snapshot.write_text(done.stdout, encoding="utf-8")
    assert done.exit_code == 0
    assert done.stderr == ""
    assert done.stdout == snapshot.read_text(encoding="utf-8")


def test_the_page_has_its_rows() -> None:
    section = PAGE.read_text(encoding="utf-8").split("\n## ")[1]
    assert len(CASES) == len(re.findall(r"^\| .* \|$", section, re.MULTILINE)) - 1
    assert len(CASES) > 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, size in (("d.img", 1 << 20), ("empty.img", 0), ("odd.img", 1000)):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, size)
    return tmp_path


@pytest.mark.parametrize(("typed", "status", "said"), CASES, ids=[case[0][:60] for case in CASES])
def test_a_mistake_gets_what_the_page_says(
    folder: Path, typed: str, status: int, said: list[str]
) -> None:
    words = typed.replace("FOLDER", str(folder)).split()
    if words and not {"--socket-path", "--fd"} & set(words):
        words = ["--socket-path", str(folder / "s"), *words]
    done = CliRunner().invoke(serve, words)
    assert done.exit_code == status, done.output
    assert done.stdout == ""
    lines = done.stderr.replace(str(folder), "FOLDER").splitlines()
    if said[0].startswith("Error:"):
        # click's own words change from version to version; that it names the value does not.
        assert lines[-1].startswith("Error: ")
        assert words[-1] in lines[-1]
    else:
        assert lines == said
    assert not (folder / "s").exists()


@pytest.mark.parametrize("said", [case[2] for case in CASES], ids=lambda said: said[0][:60])
def test_errors_have_one_form(said: list[str]) -> None:
    """One line what is wrong, at most one what would be right; no full stop: they are no prose."""
    if said[0].startswith("Error:"):
        return
    assert re.fullmatch(r"error: \S.*[^.]", said[0])
    assert len(said) <= 2
    assert all(re.fullmatch(r"hint: \S.*", line) for line in said[1:])
