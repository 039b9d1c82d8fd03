"""The pages on commands and munging say what the code does."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vhost_pvscsi.daemon.mungers import GROUP
from vhost_pvscsi.munge import table

DOCS = Path(__file__).resolve().parents[2] / "docs"
MUNGING = (DOCS / "munging.md").read_text(encoding="utf-8")


def writer(name):
    described = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["commands", "control"])
def test_a_page_of_commands_is_the_table(name):
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert page == writer(name).render(), f"run: python docs/{name}.py"


def block(after: str, language: str) -> str:
    [found] = re.findall(rf" `{after}`[^`]*:\n\n```{language}\n(.*?)```", MUNGING, re.DOTALL)
    return found


def test_the_munger_of_the_page_and_its_tests_work(tmp_path):
    assert len(re.findall("```python", MUNGING)) == 2
    (tmp_path / "vendor.py").write_text(block("vendor.py", "python"))
    tests = tmp_path / "test_vendor.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests.name]
    tests.write_text(block("test_vendor.py", "python"))
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_the_package_of_the_page_is_the_one_that_is_tested():
    shown = tomllib.loads(block("pyproject.toml", "toml"))["project"]
    folder = DOCS.parent / "tests" / "packages" / "example-munger"
    built = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in ("name", "version", "requires-python", "entry-points"):
        assert shown[name] == built[name]
    assert list(shown["entry-points"]) == [GROUP]
    [module] = shown["entry-points"][GROUP].values()
    assert (folder / "src" / f"{module}.py").read_text() == block("vendor.py", "python")


def test_the_pages_table_of_our_mungers_is_whole():
    modules = {f"`{module.__name__.rpartition('.')[2]}.py`" for module in table.MODULES}
    assert modules == set(re.findall(r"^\| [A-Z][^|]* \| (`\w+\.py`) \|", MUNGING, re.MULTILINE))
