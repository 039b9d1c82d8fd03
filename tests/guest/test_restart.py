"""Guests and back-ends that end and start again, one after the other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.harness import disks
from tests.harness.machine import Machine, MachineSpec

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.daemon import Daemon
    from tests.harness.evidence import Collector

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def luns(short_folder: Path) -> list[str]:
    path = short_folder / "disk.img"
    path.touch()
    os.truncate(path, 128 << 20)
    return [f"0:0:0:0={path}"]


def test_back_end_serves_one_guest_after_the_other_and_is_restarted(
    machine_spec: MachineSpec, daemon: Daemon, evidence: Collector
) -> None:
    """The road of QEMU 7.2, whose vhost-user-scsi cannot reconnect: it came in 8.2."""
    with Machine(machine_spec) as first, evidence.watch(first):
        first.boot()
        disks.find(first, 0).make_file_system(8)
        for from_inside in (False, True):
            first.reboot(from_inside=from_inside)
            disks.find(first, 0).verify_file_system()
    daemon.stop()
    daemon.start()
    with Machine(machine_spec) as second, evidence.watch(second):
        second.boot()
        disks.find(second, 0).verify_file_system()
