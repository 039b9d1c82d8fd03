"""Cartridges changed by the verbs that change discs: of `tape:`, whoever attached it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import pytest
from qemu.qmp import ExecuteError

from tests.harness import tape as ssc
from tests.harness.frontend import FrontEnd
from tests.harness.tape import Tape
from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.harness.qmp import Qmp

    from .conftest import MakeDaemon

NOT_THERE, MAY_HAVE_CHANGED = (2, 0x3A, 0), (6, 0x28, 0)
READY = bytes(6)
PREVENT = bytes((0x1E, 0, 0, 0, 1, 0))
VDEV = "0:0:0:0"


class Drive:
    """A tape drive, its guest and its operator."""

    def __init__(self, guest: FrontEnd, operator: Qmp) -> None:
        self.tape = Tape(guest)
        self.operator = operator

    def insert(self, path: Path, **options: object) -> None:
        self.operator.execute("medium-insert", vdev=VDEV, file=str(path), **options)

    def eject(self, **options: object) -> None:
        self.operator.execute("medium-eject", vdev=VDEV, **options)

    def told(self) -> dict[str, object]:
        data = self.operator.wait_event("MEDIUM_CHANGED", timeout=20)["data"]
        assert isinstance(data, dict)
        return data


class Attach(Protocol):
    """Attaches a tape drive, for as long as the context lasts."""

    def __call__(self, pdev: str) -> AbstractContextManager[Drive]: ...


@pytest.fixture
def attach(make_daemon: MakeDaemon, folder: Path) -> Attach:
    @contextmanager
    def attached(pdev: str) -> Iterator[Drive]:
        control = folder / "control"
        state = str(folder / "state")
        options = ("--control", str(control), "--state-directory", state)
        daemon = make_daemon([f"{VDEV}={pdev}"], *options)
        with Verbs(control).client() as operator, FrontEnd(daemon.socket) as guest:
            guest.scsi(0, 0, READY)
            yield Drive(guest, operator)
        daemon.stop()

    return attached


@pytest.fixture
def cartridge(folder: Path) -> Path:
    path = folder / "kept.tap"
    path.write_bytes(b"\x04\0\0\0kept\x04\0\0\0" + bytes(4))
    return path


def test_a_cartridge_comes_into_an_empty_drive_and_goes(attach: Attach, cartridge: Path) -> None:
    with attach("tape:") as drive:
        assert drive.tape.do(READY).sense_code == NOT_THERE
        drive.insert(cartridge)
        assert drive.told() == {
            "vdev": VDEV,
            "medium": str(cartridge),
            "loaded": True,
            "by": "operator",
        }
        assert drive.tape.do(READY).sense_code == MAY_HAVE_CHANGED
        assert drive.tape.everything() == [b"kept", None]
        drive.eject()
        told = drive.told()
        assert (told["medium"], told["loaded"]) == (None, False)
        assert drive.tape.do(READY).sense_code == NOT_THERE


def test_a_guest_that_unloads_its_cartridge_is_heard(attach: Attach, cartridge: Path) -> None:
    with attach(f"tape:{cartridge}") as drive:
        drive.tape.check(bytes((0x1B, 0, 0, 0, 0, 0)))
        told = drive.told()
        assert (told["medium"], told["loaded"], told["by"]) == (str(cartridge), False, "guest")
        drive.tape.check(ssc.LOAD)
        assert drive.told()["loaded"] is True


def test_a_guest_that_prevents_removal_keeps_its_cartridge(
    attach: Attach, cartridge: Path, folder: Path
) -> None:
    other = folder / "other.tap"
    other.write_bytes(b"")
    with attach(f"tape:{cartridge}") as drive:
        drive.tape.check(PREVENT)
        for act in (drive.eject, lambda: drive.insert(other)):
            with pytest.raises(ExecuteError, match="prevents"):
                act()
        assert drive.tape.everything() == [b"kept", None]
        drive.insert(other, force=True)
        assert drive.tape.do(READY).sense_code == MAY_HAVE_CHANGED
        assert drive.tape.everything() == []


def test_what_is_no_tape_changes_nothing(attach: Attach, cartridge: Path, folder: Path) -> None:
    (folder / "zeros").write_bytes(bytes(1 << 20))
    with attach(f"tape:{cartridge}") as drive:
        with pytest.raises(ExecuteError, match="it is no tape image"):
            drive.insert(folder / "zeros")
        with pytest.raises(ExecuteError, match="No such file"):
            drive.insert(folder / "none.tap")
        assert drive.tape.everything() == [b"kept", None]


def test_the_next_daemon_has_the_cartridge_that_was_put_in(attach: Attach, cartridge: Path) -> None:
    with attach("tape:") as drive:
        drive.insert(cartridge)
    with attach("tape:") as drive:
        assert drive.tape.everything() == [b"kept", None]
        drive.eject()
    with attach("tape:") as drive:
        assert drive.tape.do(READY).sense_code == NOT_THERE
