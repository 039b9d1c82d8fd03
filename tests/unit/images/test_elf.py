"""ELF reading, compared with what the dynamic loader says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from images import elf
from images.errors import RigError

SHELL = Path("/bin/bash")


def test_closure_is_the_loaders() -> None:
    listed = subprocess.run(["ldd", SHELL], capture_output=True, text=True, check=True).stdout
    paths = {Path(found) for found in re.findall(r"(/\S+) \(0x", listed)}
    closure = elf.library_closure([SHELL], sorted({path.parent for path in paths}))
    assert set(closure) == {path.name for path in paths}


def test_missing_library_is_named(tmp_path: Path) -> None:
    with pytest.raises(RigError, match=r"bash needs lib\S+, which none"):
        elf.library_closure([SHELL], [tmp_path])


def test_script_is_no_elf(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert not elf.is_elf(script)
    assert elf.is_elf(SHELL)
