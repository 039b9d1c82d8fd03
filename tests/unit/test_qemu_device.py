"""The patch series for QEMU's tree is what the sources of the device make."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "qemu-device"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up by name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


patches = load("patches")


def added_files():
    """Files that the series adds: name = text."""
    found = {}
    for patch in sorted((FOLDER / "patches").glob("*.patch")):
        for part in patch.read_text(encoding="utf-8").split("\ndiff --git ")[1:]:
            if name := re.search(r"^--- /dev/null\n\+\+\+ b/(.*)$", part, re.MULTILINE):
                # The last hunk's end is where the patch's own lines end.
                body = part[part.index("\n@@") :].splitlines()
                lines = [line[1:] for line in body if line.startswith("+")]
                found[name[1]] = "\n".join(lines) + "\n"
    return found


@pytest.mark.parametrize("name", patches.sources())
def test_a_source_is_in_the_series_as_it_is_here(name):
    assert added_files()[name] == patches.sources()[name], "run qemu-device/patches.py QEMU-SOURCE"


def test_nothing_of_the_module_is_in_the_series():
    text = "".join(added_files().values())
    assert "XEN_VSCSI_MODULE" not in text
    assert "LD_PRELOAD" not in text


def test_every_c_file_is_compiled_in_the_tree():
    names = {name.rpartition("/")[2] for name in patches.sources() if name.endswith(".c")}
    assert names
    assert {name for name in names if f"'{name}'" not in patches.meson_lines()} == set()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.[ch]")), ids=lambda path: path.name)
def test_a_source_names_its_licence(path):
    assert "SPDX-License-Identifier: GPL-2.0-or-later" in path.read_text(encoding="utf-8")
