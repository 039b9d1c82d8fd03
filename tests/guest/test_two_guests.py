"""Two guests of one daemon at once: what they share, and that one's end is its own."""

from __future__ import annotations

import os
import re
import signal
import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from tests.harness import scsi_view
from tests.harness.background import Background, verifying
from tests.harness.machine import Backend, Machine, MachineSpec
from tests.harness.scsi_view import Place
from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from images.build import GuestImage
    from images.qemus import Qemu
    from tests.harness.daemon import Daemon
    from tests.harness.evidence import Collector

pytestmark = pytest.mark.guest

OWN, SHARED = Place(0, 0, 0), Place(0, 1, 0)
#: SPC-5, "Persistent reservation type codes"; sg3_utils(8): exit statuses.
REGISTRANTS_ONLY, CONFLICT, UNIT_ATTENTION = 5, 24, 6
WRITE = "sg_raw --send=512 --infile=/dev/zero {} 2a 00 00 00 00 00 00 00 01 00"


@pytest.fixture(scope="module")
def qemu_version() -> str:
    # One is enough: it is the daemon that has two guests.
    return "10"


@pytest.fixture(scope="module")
def luns() -> list[str]:
    return ["0:0:0:0=ram:16M"]


@pytest.fixture(scope="module")
def daemon_options(short_folder: Path) -> list[str]:
    return ["--control", str(short_folder / "control")]


@pytest.fixture(scope="module")
def verb(daemon: Daemon, short_folder: Path) -> Verbs:
    """The verbs, with a second host made by them, whose LUN 0:1:0 is that of the first."""
    verbs = Verbs(short_folder / "control")
    verbs("host-attach", "1", "--socket-path", str(short_folder / "1.sock"))
    verbs("scsi-attach", "ram:16M", "1:0:0:0")
    shared = "ram:16M,share=on,serial=SHARED"
    verbs("scsi-attach", shared, "0:0:1:0")
    verbs("scsi-attach", shared, "1:0:1:0")
    return verbs


@pytest.fixture(scope="module")
def guests(
    verb: Verbs,
    short_folder: Path,
    qemu: Qemu,
    guest_image: GuestImage,
    accelerator: str,
    evidence: Collector,
) -> Iterator[list[Machine]]:
    """A guest at each host, both running."""
    with ExitStack() as stack:
        machines = []
        for name in ("scsi0.sock", "1.sock"):
            spec = MachineSpec(
                qemu,
                guest_image,
                "q35-vhost-user-scsi",
                backends=(Backend(short_folder / name),),
                accelerator=accelerator,
                memory_mib=256,
            )
            machine = stack.enter_context(Machine(spec))
            stack.enter_context(evidence.watch(machine))
            machines.append(machine.boot())
        yield machines


def generic(machine: Machine) -> str:
    return scsi_view.disk(machine, SHARED).generic


def settle(machine: Machine) -> str:
    """Take the unit attentions of the shared unit; what they said."""
    said = []
    for _ in range(8):
        told = machine.console.run(f"sg_turs --verbose {generic(machine)}")
        if told.status != UNIT_ATTENTION:
            return "".join(said)
        said.append(told.output)
    raise AssertionError(f"unit attentions without end: {said}")


def persist(machine: Machine, options: str) -> int:
    return machine.console.run(f"sg_persist --out {options} {generic(machine)}").status


def write(machine: Machine) -> int:
    return machine.console.run(WRITE.format(generic(machine))).status


def test_a_fence_by_one_guest_holds_for_the_other(guests: list[Machine]) -> None:
    one, two = guests
    for machine in guests:
        settle(machine)
    for number, machine in enumerate(guests, 1):
        assert persist(machine, f"--register --param-sark={number}") == 0
    assert persist(one, f"--reserve --param-rk=1 --prout-type={REGISTRANTS_ONLY}") == 0
    assert (write(one), write(two)) == (0, 0)
    # The fence: the second takes the first's registration away, and the reservation with it.
    fence = f"--preempt-abort --param-rk=2 --param-sark=1 --prout-type={REGISTRANTS_ONLY}"
    assert persist(two, fence) == 0
    assert "Registrations preempted" in settle(one)
    assert (write(one), write(two)) == (CONFLICT, 0)
    keys = two.console.check(f"sg_persist --in --read-keys {generic(two)}")
    assert re.findall(r"0x\w+$", keys, re.MULTILINE) == ["0x2"]
    assert persist(two, "--clear --param-rk=2") == 0
    assert write(one) == 0


def test_what_one_writes_the_other_reads(guests: list[Machine]) -> None:
    one, two = guests
    node = scsi_view.disk(one, SHARED).node
    one.console.check(f"echo from the first | dd of={node} bs=512 conv=sync oflag=direct")
    node = scsi_view.disk(two, SHARED).node
    assert "from the first" in two.console.check(f"dd if={node} bs=512 count=1 iflag=direct")


def test_one_guest_ends_badly_and_the_other_goes_on(
    guests: list[Machine], verb: Verbs, daemon: Daemon, short_folder: Path
) -> None:
    """Killed under I/O; and who comes to its socket next talks nonsense."""
    stays, dies = guests
    node = scsi_view.disk(stays, OWN).node
    with Background(stays, "verify", verifying(node)) as verifier:
        Background(dies, "verify", verifying(scsi_view.disk(dies, OWN).node)).start()
        dies.console.check(f"until [ $(cat {OWN.path()}/device_busy) -gt 0 ]; do :; done")
        os.kill(dies.pid, signal.SIGKILL)
        daemon.wait_for_line("host 1: disconnected: ")
        for _ in range(8):
            with closing(socket.socket(socket.AF_UNIX)) as garbage:
                garbage.connect(str(short_folder / "1.sock"))
                garbage.sendall(b"\xff" * 4096)
                # The end of its connection: reset, or in order.
                garbage.settimeout(20)
                try:
                    while garbage.recv(4096):
                        pass
                except ConnectionResetError:
                    pass
        verifier.wait_for_more(verifier.output().count("round") + 2)
    verb("host-detach", "1", "--force")
    assert list(verb.listed()) == ["0:0:0:0", "0:0:1:0"]
    assert write(stays) == 0
