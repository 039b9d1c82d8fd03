"""LUNs that come and go under a Xen guest, and what their operator sees of them."""

from __future__ import annotations

import struct
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pytest

from tests.harness import pvscsi_frontend as pv
from tests.harness.daemon import program
from tests.harness.frontend import FrontEnd
from tests.harness.pvscsi_frontend import PvscsiFrontEnd
from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon
    from tests.harness.pvscsi_frontend import Lun

    from .conftest import MakeDaemon

#: A detach that waits as long, waits for what a test has forgotten.
LONG = ("--timeout", "60")
DEADLINE = 30.0
SYNCHRONIZE_CACHE = bytes.fromhex("35000000000000000000")
VDEV = "0:0:5:1"


@pytest.fixture
def daemon(folder: Path, make_daemon: MakeDaemon) -> Daemon:
    control = folder / "control.sock"
    return make_daemon(["0:0:0:0=ram:1M", f"{VDEV}=ram:2M"], "--control", str(control))


@pytest.fixture
def verbs(daemon: Daemon, folder: Path) -> Verbs:
    return Verbs(folder / "control.sock")


@pytest.fixture
def guest(daemon: Daemon) -> Iterator[PvscsiFrontEnd]:
    """A guest that has connected both LUNs."""
    with PvscsiFrontEnd(daemon.socket) as front_end:
        for lun in front_end.luns():
            front_end.ready(*lun.place[2:])
            tell(front_end, lun, pv.CONNECTED)
        yield front_end


def tell(guest: PvscsiFrontEnd, lun: Lun, state: int) -> None:
    """Tell the back-end what the guest made of a LUN; returns when it has heard it."""
    guest.peer.send(pv.LUN_STATE, struct.pack("<II", lun.id, state))
    guest.luns()  # answered after it


def seen(verbs: Verbs) -> str | None:
    """The `guest-state` of the second LUN."""
    with verbs.client() as qmp:
        [told] = [lun for lun in qmp.execute("query-luns") if lun["vdev"] == VDEV]
    return cast("str | None", told["guest-state"])


def column(verbs: Verbs) -> str:
    """The column *state* of the second LUN."""
    [row] = [line for line in verbs("scsi-list").splitlines() if VDEV in line]
    return row.split()[2]


@contextmanager
def detaching(verbs: Verbs, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Detach the second LUN, and do something else meanwhile."""
    command = [str(program()), "scsi-detach", "--control", str(verbs.control), VDEV, *words]
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


def test_luns_come_and_go(guest: PvscsiFrontEnd, verbs: Verbs) -> None:
    before = guest.luns()
    verbs("scsi-attach", "ram:2M", "0:0:6:2")
    kind, lun = guest.notice()
    assert kind == pv.LUN_ADD
    assert isinstance(lun, pv.Lun)
    assert (lun.place, lun.name) == ((0, 0, 6, 2), "ram:2M")
    assert lun.id > max(one.id for one in before)
    assert guest.luns() == [*before, lun]
    guest.ready(6, 2)
    # The guest has not said that it has it: nobody waits for it.
    verbs("scsi-detach", "0:0:6:2", *LONG)
    assert guest.notice() == (pv.LUN_REMOVE, lun.id)
    assert guest.scsi(6, 2, bytes(6)).host == pv.DID_NO_CONNECT
    assert guest.luns() == before


def test_a_lun_is_served_until_its_guest_has_let_go_of_it(
    guest: PvscsiFrontEnd, verbs: Verbs
) -> None:
    [first, lun] = guest.luns()
    with detaching(verbs, *LONG) as process:
        assert guest.notice() == (pv.LUN_REMOVE, lun.id)
        assert guest.luns() == [first]
        # What Linux's sd does as it goes.
        assert guest.scsi(5, 1, SYNCHRONIZE_CACHE).good
        assert process.poll() is None
        tell(guest, lun, pv.REMOVED)
        assert process.wait(DEADLINE) == 0
    assert guest.scsi(5, 1, bytes(6)).host == pv.DID_NO_CONNECT
    # It was told once: the next message is about another.
    verbs("scsi-attach", "ram:1M", VDEV)
    assert guest.notice()[0] == pv.LUN_ADD


@pytest.mark.parametrize("words", [("--timeout", "0.2"), ("--force",)], ids=["timeout", "force"])
def test_a_guest_that_keeps_a_lun_loses_it(
    guest: PvscsiFrontEnd, verbs: Verbs, daemon: Daemon, words: tuple[str, ...]
) -> None:
    lun = guest.luns()[1]
    verbs("scsi-detach", VDEV, *words)
    assert guest.notice() == (pv.LUN_REMOVE, lun.id)
    assert guest.scsi(5, 1, bytes(6)).host == pv.DID_NO_CONNECT
    assert f"{VDEV} is taken from its guest, which has not let go of it" in daemon.log()


def leave(guest: PvscsiFrontEnd) -> None:
    guest.peer.close()


def stop(guest: PvscsiFrontEnd) -> None:
    guest.stop()


def reset(guest: PvscsiFrontEnd) -> None:
    assert guest.peer.acknowledge(34) == pv.DONE


def guest_lun(guest: PvscsiFrontEnd) -> Lun:
    return next(lun for lun in guest.luns() if lun.place[2:] == (5, 1))


@pytest.mark.parametrize("ends", [leave, stop, reset])
def test_nobody_waits_for_a_guest_that_is_gone(
    guest: PvscsiFrontEnd, verbs: Verbs, ends: Callable[[PvscsiFrontEnd], None]
) -> None:
    lun = guest.luns()[1]
    with detaching(verbs, *LONG) as process:
        assert guest.notice() == (pv.LUN_REMOVE, lun.id)
        ends(guest)
        assert process.wait(DEADLINE) == 0


def test_a_front_end_that_comes_meanwhile_hears_of_the_end_too(
    guest: PvscsiFrontEnd, verbs: Verbs
) -> None:
    """It has closed its back channel, and asks for what it missed."""
    [first, lun] = guest.luns()
    with detaching(verbs, *LONG) as process:
        assert guest.notice() == (pv.LUN_REMOVE, lun.id)
        guest.open_back_channel()
        assert guest.luns() == [first]
        tell(guest, lun, pv.REMOVED)
        assert process.wait(DEADLINE) == 0
        assert guest.notice() == (pv.LUN_REMOVE, lun.id)


def test_an_operator_sees_what_the_guest_made_of_a_lun(daemon: Daemon, verbs: Verbs) -> None:
    assert (seen(verbs), column(verbs)) == (None, "waiting")
    with PvscsiFrontEnd(daemon.socket) as guest:
        lun = guest_lun(guest)
        assert (seen(verbs), column(verbs)) == ("offered", "offered")
        for state, name in (
            (pv.FAILED, "failed"),
            (pv.CONNECTED, "connected"),
            (pv.REMOVED, "removed"),
            (pv.CONNECTED, "connected"),
        ):
            tell(guest, lun, state)
            assert seen(verbs) == name
        # A guest that reboots has nothing; one that was suspended has all of it again.
        guest.stop()
        assert seen(verbs) == "offered"
        guest.describe_ring()
        assert guest.enable() == pv.DONE
        assert (seen(verbs), column(verbs)) == ("connected", "connected")
    with FrontEnd(daemon.socket) as virtio:
        virtio.ready()
        assert (seen(verbs), column(verbs)) == (None, "connected")
