"""Debian's Bacula in a stock guest on tapes of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness import bacula, images
from tests.harness.bacula import Bacula, Library
from tests.harness.changer import make_library

if TYPE_CHECKING:
    from pathlib import Path

    from images.build import GuestImage
    from tests.harness.machine import Machine

pytestmark = pytest.mark.guest


#: Tapes that are too small for what is backed up.
LIBRARY = """\
slots = 4
drives = ["0:0:2:0"]
capacity = "2M"
"""


@pytest.fixture(scope="module")
def qemu_version() -> str:
    return "10"


@pytest.fixture(scope="module")
def guest_image() -> GuestImage:
    return images.bacula_guest()


@pytest.fixture(scope="module")
def luns(short_folder: Path) -> list[str]:
    library = make_library(short_folder / "lib", "V1", "V2", "V3", settings=LIBRARY)
    return [
        f"0:0:0:0=tape:{short_folder}/volume.tap,create",
        f"0:0:1:0=changer:{library}",
        "0:0:2:0=tape:",
    ]


@pytest.fixture(scope="module")
def drive(guest: Machine) -> Machine:
    """The guest, with the drive as nst0 and something to back up."""
    guest.console.check("modprobe st")
    bacula.make_data(guest.console)
    return guest


def test_bacula_labels_a_tape_and_gets_back_what_it_has_written(drive: Machine) -> None:
    program = Bacula(drive.console, Library(["/dev/nst0"]))
    program.start()
    program.label(["VOLUME1"])
    assert program.backup() == ["VOLUME1"]
    program.restore()
    # A second job is appended.
    drive.console.check(f"date >{bacula.DATA}/later")
    assert program.backup() == ["VOLUME1"]
    program.restore()
    program.stop()


def test_bacula_spans_the_tapes_of_a_library(drive: Machine) -> None:
    node = drive.console.check(
        "modprobe -a sg ch; ls /sys/class/scsi_changer/sch0/device/scsi_generic"
    ).strip()
    program = Bacula(drive.console, Library(["/dev/nst1"], changer=f"/dev/{node}"))
    program.start()
    program.label(slots="1-3")
    volumes = program.backup()
    assert len(volumes) >= 2
    assert set(volumes) <= {"V1", "V2", "V3"}
    program.restore()
    program.stop()


@pytest.mark.long
def test_btape_is_satisfied(drive: Machine) -> None:
    said = Bacula(drive.console, Library(["/dev/nst0"])).test_drive()
    for test in ("Write, rewind, and re-read", "Append files", "Forward space files"):
        assert f"=== {test} test" in said
    assert "Block re-read correct" in said
    assert "=== End Forward space files test ===" in said
