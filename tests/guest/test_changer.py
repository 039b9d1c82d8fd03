"""A tape library in a stock Linux guest: ch, Debian's mtx, and mt and tar on what it loads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.harness.changer import make_library

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.machine import Machine

pytestmark = pytest.mark.guest

SETTINGS = """\
slots = 4
import-export = 1
drives = ["0:0:1:0", "0:0:2:0"]
"""


@pytest.fixture(scope="module")
def qemu_version() -> str:
    return "7.2"


@pytest.fixture(scope="module")
def library(short_folder: Path) -> Path:
    return make_library(short_folder / "lib", "A1L8", "A2L8", "A3L8", settings=SETTINGS)


@pytest.fixture(scope="module")
def luns(library: Path) -> list[str]:
    return [f"0:0:0:0=changer:{library}", "0:0:1:0=tape:", "0:0:2:0=tape:"]


class Library:
    """The changer in a guest, by mtx."""

    def __init__(self, guest: Machine) -> None:
        self.guest = guest
        node = guest.console.check(
            "modprobe -a st sg ch; ls /sys/class/scsi_changer/sch0/device/scsi_generic"
        ).strip()
        self.node = f"/dev/{node}"

    def mtx(self, words: str) -> str:
        return self.guest.console.check(f"mtx -f {self.node} {words} 2>&1")

    def status(self) -> dict[str, str]:
        """What lies where, by mtx's words: `Full` or `Empty` elements, barcodes of the full."""
        found = re.findall(
            r"^ *(Data Transfer Element|Storage Element) (\d+)( IMPORT/EXPORT)?:"
            r"(Full|Empty)(?: \(Storage Element (\d+) Loaded\))?"
            r"(?: ?:VolumeTag ?= ?(\S+))? *$",
            self.mtx("status"),
            re.MULTILINE,
        )
        return {
            ("drive" if kind.startswith("Data") else "slot") + number: tag
            for kind, number, _, full, _, tag in found
            if full == "Full"
        }


@pytest.fixture(scope="module")
def changer(guest: Machine) -> Library:
    return Library(guest)


def test_linux_knows_the_library(changer: Library) -> None:
    found = changer.guest.console.check("lsscsi; dmesg")
    assert re.search(r"mediumx +VHPVSCSI VIRTUAL CHANGER", found)
    for line in (
        "type #1 (mt): 0x1+1 [medium transport]",
        "type #2 (st): 0x400+4 [storage]",
        "type #3 (ie): 0x10+1 [import/export]",
        "type #4 (dt): 0x100+2 [data transfer]",
    ):
        assert line in found, found
    assert "Product Type: Medium Changer" in changer.mtx("inquiry")


def test_mtx_shows_what_lies_where(changer: Library) -> None:
    text = changer.mtx("status")
    assert "2 Drives, 5 Slots ( 1 Import/Export )" in text
    assert changer.status() == {"slot1": "A1L8", "slot2": "A2L8", "slot3": "A3L8"}


def test_a_tape_is_loaded_written_and_read_in_the_other_drive(changer: Library) -> None:
    console = changer.guest.console
    changer.mtx("load 2 0")
    assert changer.status() == {"slot1": "A1L8", "drive0": "A2L8", "slot3": "A3L8"}
    assert "ONLINE" in console.check("mt -f /dev/nst0 status")
    console.check("tar -cf /dev/st0 /bin/busybox /etc")
    changer.mtx("unload 2 0")
    assert "DR_OPEN" in console.check("mt -f /dev/nst0 status")
    changer.mtx("load 2 1")
    console.check("mkdir -p /tmp/back; tar -xf /dev/st1 -C /tmp/back")
    console.check("cmp /bin/busybox /tmp/back/bin/busybox")
    changer.mtx("unload 2 1")
    assert changer.status() == {"slot1": "A1L8", "slot2": "A2L8", "slot3": "A3L8"}


def test_a_tape_that_the_guest_ejected_is_taken_back(changer: Library) -> None:
    changer.mtx("load 1 0")
    changer.guest.console.check("mt -f /dev/nst0 offline")
    changer.mtx("unload 1 0")
    assert changer.status()["slot1"] == "A1L8"


def test_mtx_transfers_and_exchanges(changer: Library) -> None:
    changer.mtx("transfer 1 4")
    changer.mtx("transfer 4 5")  # the element for import and export
    assert changer.status() == {"slot5": "A1L8", "slot2": "A2L8", "slot3": "A3L8"}
    changer.mtx("transfer 5 1")
    changer.mtx("exchange 1 2")
    assert changer.status() == {"slot1": "A2L8", "slot2": "A1L8", "slot3": "A3L8"}
    changer.mtx("exchange 1 2")
    changer.mtx("position 3")
    changer.mtx("inventory")
    for words in ("load 4 0", "transfer 1 2"):
        done = changer.guest.console.run(f"mtx -f {changer.node} {words} 2>&1")
        assert done.status != 0
    assert changer.status() == {"slot1": "A1L8", "slot2": "A2L8", "slot3": "A3L8"}
