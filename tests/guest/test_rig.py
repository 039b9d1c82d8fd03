"""The rig without us: if these fail, the rig is broken, not the back-end."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.harness.console import GuestConsole
from tests.harness.errors import CommandFailedError, CommandTimeoutError, GuestLostError
from tests.harness.evidence import Collector
from tests.harness.machine import Machine, MachineSpec

if TYPE_CHECKING:
    from pathlib import Path

    from images.build import GuestImage
    from images.qemus import Qemu

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def machine_spec(qemu: Qemu, guest_image: GuestImage, accelerator: str) -> MachineSpec:
    return MachineSpec(qemu, guest_image, "q35-virtio-scsi", accelerator=accelerator)


def test_qemu_is_the_one_asked_for(guest: Machine, qemu_version: str) -> None:
    answer = guest.qmp.execute("query-version")["qemu"]
    assert f"{answer['major']}.{answer['minor']}".startswith(qemu_version)


def test_exit_status_and_output_come_back(guest: Machine) -> None:
    result = guest.console.run("echo out; echo err >&2; exit 7")
    assert result.status == 7
    assert sorted(result.output.split()) == ["err", "out"]
    assert guest.console.run("kill -9 $$").status == 128 + 9
    with pytest.raises(CommandFailedError, match="status 1"):
        guest.console.check("false")


def test_large_output_comes_back_whole(guest: Machine) -> None:
    assert guest.console.check("seq 20000").split() == [str(n) for n in range(1, 20001)]


def test_command_that_hangs_is_ended_and_the_guest_goes_on(guest: Machine) -> None:
    with pytest.raises(CommandTimeoutError, match="before"):
        guest.console.run("echo before; sleep 1000", timeout=1.0)
    assert guest.console.check("echo after") == "after\n"
    assert "sleep 1000" not in guest.console.check("ps")


def test_firmware_on_the_line_is_not_taken_for_the_guest() -> None:
    boot_id = "01234567-89ab-cdef-0123-456789abcdef"
    ours, theirs = socket.socketpair()
    with theirs, closing(GuestConsole(ours)) as console:
        theirs.sendall(b"\x1b[2JBdsDxe: loading Boot0001\r\nnot ready yet\n")
        theirs.sendall(f"\x1b[01;01Hready {boot_id}\n".encode())
        assert console.wait_ready(timeout=5.0) == boot_id


def test_disk_is_there_when_the_guest_is(guest: Machine) -> None:
    assert "QEMU HARDDISK" in guest.console.check("lsscsi")


def test_dead_qemu_is_noticed_at_once(machine_spec: MachineSpec, evidence: Collector) -> None:
    with Machine(machine_spec) as machine, evidence.watch(machine):
        machine.boot()
        began = time.monotonic()
        with pytest.raises(GuestLostError, match="QEMU ended"):
            machine.console.run("echo c > /proc/sysrq-trigger", timeout=30.0)
        assert time.monotonic() - began < 25.0
        assert "panic" in machine.evidence()["guest-console.log"].lower()
        assert "-readconfig" in machine.evidence()["qemu-command.sh"]


def test_what_a_failed_test_leaves(guest: Machine, tmp_path: Path) -> None:
    collector = Collector(tmp_path)
    with pytest.raises(ZeroDivisionError), collector.watch(guest):
        raise ZeroDivisionError
    folder = collector.save("tests/guest/test_x.py::test_y[7.2]", "the failure")
    assert (folder / "failure.txt").read_text() == "the failure"
    assert "lsscsi" in (folder / "0-guest-commands.log").read_text()
    assert "-readconfig" in (folder / "0-qemu-command.sh").read_text()
