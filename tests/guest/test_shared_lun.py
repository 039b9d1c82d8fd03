"""One LUN, two initiators: persistent reservations between them, by sg_persist.

First two adapters of one guest, at the same time; then two guests, each of which comes and goes
and comes again while what it registered and reserved stays.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.harness.daemon import Daemon
from tests.harness.machine import Backend, Machine, MachineSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from images.build import GuestImage
    from images.qemus import Qemu
    from tests.harness.console import GuestConsole
    from tests.harness.evidence import Collector

pytestmark = pytest.mark.guest

#: SPC-5, "Persistent reservation type codes".
WRITE_EXCLUSIVE, REGISTRANTS_ONLY = 1, 5
#: sg3_utils(8): exit statuses.
UNIT_ATTENTION, RESERVATION_CONFLICT = 6, 24


@pytest.fixture(scope="module")
def qemu_version() -> str:
    """Dimension: which QEMU it is does not matter here."""
    return "10"


@pytest.fixture
def shared(short_folder: Path, evidence: Collector) -> Iterator[Daemon]:
    """Two virtual hosts that have one unit in common, and nothing else."""
    lun = "0:0:0=ram:16M,share=on,serial=SHARED01"
    made = Daemon(
        short_folder,
        sockets=[short_folder / "scsi0.sock", short_folder / "scsi1.sock"],
        luns=[f"0:{lun}", f"1:{lun}"],
    )
    with made, evidence.watch(made):
        yield made


class Initiator:
    """What one of the two does with the LUN."""

    def __init__(self, console: GuestConsole, node: str) -> None:
        self._console = console
        self._node = node

    def clear_attentions(self) -> list[str]:
        """Take what the unit has to say until it has nothing more; the texts."""
        said = []
        for _ in range(8):
            result = self._console.run(f"sg_turs --verbose {self._node}")
            if result.status != UNIT_ATTENTION:
                return said
            said.append(result.output)
        raise AssertionError(f"unit attentions without end: {said}")

    def persist(self, options: str) -> int:
        return self._console.run(f"sg_persist --out {options} {self._node}").status

    def keys(self) -> list[str]:
        told = self._console.check(f"sg_persist --in --read-keys {self._node}")
        return re.findall(r"^\s+(0x[0-9a-f]+)$", told, re.MULTILINE)

    def transport_id(self) -> str:
        """This initiator's own, as sg_persist takes it; its key must be the only one."""
        told = self._console.check(f"sg_persist --in --read-full-status {self._node}")
        (address,) = re.findall(r"SAS address: 0x([0-9a-f]+)", told)
        return f"sas,{address}"

    def reservation(self) -> str:
        return self._console.check(f"sg_persist --in --read-reservation {self._node}")

    def write(self) -> int:
        command = f"sg_raw --send=512 --infile=/dev/zero {self._node} 2a 00 00 00 00 00 00 00 01 00"
        return self._console.run(command).status

    def read(self) -> int:
        command = f"sg_raw --request=512 {self._node} 28 00 00 00 00 00 00 00 01 00"
        return self._console.run(command).status


def initiators(machine: Machine) -> list[Initiator]:
    listed = machine.console.check("lsscsi --generic")
    nodes = re.findall(r"VHPVSCSI .*(/dev/sg\d+)", listed)
    found = [Initiator(machine.console, node) for node in nodes]
    for initiator in found:
        initiator.clear_attentions()
    return found


@contextmanager
def booted(spec: MachineSpec, evidence: Collector) -> Iterator[Machine]:
    with Machine(spec) as machine, evidence.watch(machine):
        yield machine.boot()


def test_two_initiators_at_once(
    qemu: Qemu, guest_image: GuestImage, accelerator: str, shared: Daemon, evidence: Collector
) -> None:
    backends = tuple(Backend(path, f"scsi{number}") for number, path in enumerate(shared.sockets))
    spec = MachineSpec(
        qemu, guest_image, "q35-two-adapters", backends=backends, accelerator=accelerator
    )
    with booted(spec, evidence) as machine:
        one, two = initiators(machine)
        assert one.persist("--register --param-sark=0x1") == 0
        assert one.persist(f"--reserve --param-rk=0x1 --prout-type={REGISTRANTS_ONLY}") == 0
        assert "Write Exclusive, registrants only" in two.reservation()
        assert (one.write(), two.read(), two.write()) == (0, 0, RESERVATION_CONFLICT)

        assert two.persist("--register --param-sark=0x2") == 0
        assert two.keys() == ["0x1", "0x2"]
        assert two.write() == 0

        assert one.persist(f"--release --param-rk=0x1 --prout-type={REGISTRANTS_ONLY}") == 0
        assert any("Reservations released" in said for said in two.clear_attentions())
        assert one.persist(f"--reserve --param-rk=0x1 --prout-type={WRITE_EXCLUSIVE}") == 0
        assert (one.write(), two.write()) == (0, RESERVATION_CONFLICT)

        preempt = f"--preempt --param-rk=0x2 --param-sark=0x1 --prout-type={WRITE_EXCLUSIVE}"
        assert two.persist(preempt) == 0
        assert any("Registrations preempted" in said for said in one.clear_attentions())
        assert (one.write(), two.write()) == (RESERVATION_CONFLICT, 0)
        assert two.keys() == ["0x2"]
        assert one.persist("--clear --param-rk=0x1") == RESERVATION_CONFLICT
        assert two.persist("--clear --param-rk=0x2") == 0
        assert (one.keys(), one.write()) == ([], 0)

        assert two.persist("--register --param-sark=0x2") == 0
        name = two.transport_id()
        assert two.persist("--register --param-rk=0x2 --param-sark=0") == 0
        assert one.persist("--register --param-sark=0x1") == 0
        assert one.persist(f"--reserve --param-rk=0x1 --prout-type={WRITE_EXCLUSIVE}") == 0
        move = f"--register-move --param-rk=0x1 --param-sark=0x22 --unreg --transport-id={name}"
        assert one.persist(f"{move} --relative-target-port=1") == 0
        assert two.keys() == ["0x22"]
        assert (one.write(), two.write()) == (RESERVATION_CONFLICT, 0)


def test_two_guests_in_turn(
    qemu: Qemu, guest_image: GuestImage, accelerator: str, shared: Daemon, evidence: Collector
) -> None:
    """A guest's end is a loss of its nexus, which no persistent reservation minds."""
    first, second = (
        MachineSpec(
            qemu,
            guest_image,
            "q35-vhost-user-scsi",
            backends=(Backend(path),),
            accelerator=accelerator,
        )
        for path in shared.sockets
    )
    with booted(first, evidence) as machine:
        (guest,) = initiators(machine)
        assert guest.persist("--register --param-sark=0x1") == 0
        assert guest.persist(f"--reserve --param-rk=0x1 --prout-type={WRITE_EXCLUSIVE}") == 0
        assert guest.write() == 0
    with booted(second, evidence) as machine:
        (guest,) = initiators(machine)
        assert guest.keys() == ["0x1"]
        assert (guest.read(), guest.write()) == (0, RESERVATION_CONFLICT)
        assert guest.persist("--register --param-sark=0x2") == 0
        preempt = f"--preempt --param-rk=0x2 --param-sark=0x1 --prout-type={WRITE_EXCLUSIVE}"
        assert guest.persist(preempt) == 0
        assert guest.write() == 0
    with booted(first, evidence) as machine:
        (guest,) = initiators(machine)
        assert guest.keys() == ["0x2"]
        assert (guest.read(), guest.write()) == (0, RESERVATION_CONFLICT)
