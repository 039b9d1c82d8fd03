"""The man pages are what the command line declares."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from docs import man
from vhost_pvscsi.devices.lun_options import _OPTIONS

ROOT = Path(__file__).parents[2]
NAMES = [page.name for page in man.PAGES]


@pytest.mark.parametrize("page", man.PAGES, ids=NAMES)
def test_a_page_is_what_its_command_declares(page: man.Page) -> None:
    written = (man.FOLDER / f"{page.name}.1").read_text(encoding="utf-8")
    assert written == man.render(page), "run: python -m docs.man"


def test_every_program_has_a_page_and_no_page_is_left_over() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["scripts"]) <= set(NAMES)
    assert {path.stem for path in man.FOLDER.iterdir()} == set(NAMES)


@pytest.mark.parametrize("page", man.PAGES, ids=NAMES)
def test_a_page_is_good_roff(page: man.Page) -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("there is no groff to read it with: apt-get install groff-base")
    done = subprocess.run(
        [groff, "-man", "-Tascii", "-ww", "-z", str(man.FOLDER / f"{page.name}.1")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", _OPTIONS)
def test_an_option_of_a_lun_is_in_readme_and_help(name: str) -> None:
    option = f"{name}=" if name != "ro" else "ro"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"| `{option}" in readme
    assert option in man.render(man.PAGES[1]).replace("\\-", "-")
