"""A guest sees what the munger of docs/munging.md makes of INQUIRY."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness import disks

if TYPE_CHECKING:
    from tests.harness.machine import Machine

pytestmark = pytest.mark.guest

PAGE = Path(__file__).parents[2] / "docs" / "munging.md"


@pytest.fixture(scope="module")
def qemu_version() -> str:
    """Dimension: which QEMU it is does not matter here."""
    return "10"


@pytest.fixture(scope="module")
def luns() -> list[str]:
    return ["0:0:0:0=ram:64M"]


@pytest.fixture(scope="module")
def daemon_options(short_folder: Path) -> list[str]:
    page = PAGE.read_text(encoding="utf-8")
    [example] = re.findall(r" `vendor.py`:\n\n```python\n(.*?)```", page, re.DOTALL)
    path = short_folder / "vendor.py"
    path.write_text(example)
    return ["--mungers", str(path)]


def test_the_guest_sees_the_vendor_of_the_page(guest: Machine) -> None:
    [said] = re.findall(r"`sg_inq /dev/sda`: `([^`]*)`", PAGE.read_text(encoding="utf-8"))
    assert said in guest.console.check(f"sg_inq {disks.find(guest, 0).node}")
