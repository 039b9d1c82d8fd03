"""QEMU's device xen-vscsi, a stock Xen guest, and the smallest back-end there is.

What is shown here is the device's: states of xenbus, LUNs that come and go, rings that
begin and end. The back-end (tests/harness/pvscsi_peer.py) has no engine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from images import cache
from tests.harness.xen_plugin import SOCKET

if TYPE_CHECKING:
    from tests.harness.nested import OuterHost, OuterProcess
    from tests.harness.xen_guest import XenGuest

pytestmark = pytest.mark.guest

CONTROL = "/run/peer-control"
#: What a guest under two emulations on a busy machine may need for one thing.
PATIENCE = 300.0


@dataclass
class Peer:
    host: OuterHost
    process: OuterProcess | None = None

    def start(self) -> None:
        command = ["/usr/bin/env", "-C", str(cache.TREE), sys.executable]
        command += ["-m", "tests.harness.pvscsi_peer", str(SOCKET), CONTROL]
        self.host.check(f"rm -f {SOCKET} {CONTROL}; mkfifo {CONTROL}")
        self.process = self.host.start(command)
        self.host.wait_for_line(self.process, "listening", timeout=PATIENCE)

    def order(self, line: str) -> None:
        self.host.check(f"echo {line} >{CONTROL}")

    def wait_for(self, line: str) -> None:
        self.host.wait_for_line(self.process, line, timeout=PATIENCE)

    def kill(self) -> None:
        self.host.end(self.process, signal="KILL")


@pytest.fixture(scope="module")
def peer(xen_host: OuterHost) -> Peer:
    made = Peer(xen_host)
    made.start()
    return made


@pytest.fixture(scope="module")
def xen_backend(peer: Peer) -> Peer:
    return peer


def until(guest: XenGuest, condition: str) -> None:
    """Wait until a shell condition holds in the guest."""
    # Device nodes are no events that a shell could wait for; this looks often.
    guest.console.check(f"until {condition}; do usleep 100000; done", timeout=PATIENCE)


def has_disk(target: int) -> str:
    return f"ls /sys/bus/scsi/devices/*:0:{target}:0/block/* >/dev/null 2>&1"


def disk(guest: XenGuest, target: int) -> str:
    found = guest.console.check(f"basename /sys/bus/scsi/devices/*:0:{target}:0/block/*")
    return f"/dev/{found.strip()}"


def check_io(guest: XenGuest, node: str) -> None:
    """Write, forget, read back."""
    guest.console.check(
        "set -e; dd if=/dev/urandom of=/tmp/data bs=127k count=8 2>/dev/null;"
        f"dd if=/tmp/data of={node} bs=127k oflag=direct 2>/dev/null;"
        "echo 3 >/proc/sys/vm/drop_caches;"
        f"dd if={node} bs=127k count=8 iflag=direct 2>/dev/null | cmp - /tmp/data",
        timeout=PATIENCE,
    )


def test_a_stock_guest_finds_the_lun(xen_guest: XenGuest, peer: Peer) -> None:
    assert xen_guest.console.check("cat /sys/hypervisor/guest_type").strip() == "HVM"
    assert "PVSCSI PEER" in xen_guest.console.check("lsscsi")
    peer.wait_for("LUN 1: CONNECTED")


def test_data_is_what_was_written(xen_guest: XenGuest) -> None:
    check_io(xen_guest, disk(xen_guest, 0))


def test_a_request_has_up_to_508_kib(xen_guest: XenGuest) -> None:
    name = disk(xen_guest, 0).removeprefix("/dev/")
    assert xen_guest.console.check(f"cat /sys/block/{name}/queue/max_hw_sectors_kb") == "508\n"
    xen_guest.console.check(
        f"set -e; dd if=/dev/urandom of=/tmp/big bs=508k count=4 2>/dev/null;"
        f"dd if=/tmp/big of=/dev/{name} bs=508k oflag=direct 2>/dev/null;"
        f"dd if=/dev/{name} bs=508k count=4 iflag=direct 2>/dev/null | cmp - /tmp/big",
        timeout=PATIENCE,
    )


def test_a_lun_comes_and_goes(xen_guest: XenGuest, peer: Peer) -> None:
    peer.order("add 2 3 peer:3")
    peer.wait_for("LUN 2: CONNECTED")
    until(xen_guest, has_disk(3))
    check_io(xen_guest, disk(xen_guest, 3))
    peer.order("remove 2")
    peer.wait_for("LUN 2: REMOVED")
    until(xen_guest, f"! {has_disk(3)}")
    assert xen_guest.console.check("cat /sys/bus/xen/devices/vscsi-0/state") == "Connected\n"


def test_several_luns_come_at_once(xen_guest: XenGuest, peer: Peer) -> None:
    for number in (11, 12, 13):
        peer.order(f"add {number} {number} peer:{number}")
    for number in (11, 12, 13):
        peer.wait_for(f"LUN {number}: CONNECTED")
        until(xen_guest, has_disk(number))
    for number in (11, 12, 13):
        peer.order(f"remove {number}")
    for number in (11, 12, 13):
        peer.wait_for(f"LUN {number}: REMOVED")


def test_the_driver_lets_go_and_comes_back(xen_guest: XenGuest) -> None:
    for _ in range(2):
        xen_guest.console.check("echo vscsi-0 >/sys/bus/xen/drivers/vscsi/unbind")
        assert "PEER" not in xen_guest.console.check("lsscsi")
        xen_guest.console.check("echo vscsi-0 >/sys/bus/xen/drivers/vscsi/bind")
        until(xen_guest, has_disk(0))
        check_io(xen_guest, disk(xen_guest, 0))


def test_the_next_back_end_takes_over(xen_guest: XenGuest, peer: Peer) -> None:
    node = disk(xen_guest, 0)
    peer.kill()
    peer.start()
    peer.wait_for("running from")
    peer.wait_for("LUN 1: CONNECTED")
    check_io(xen_guest, node)


def test_what_came_while_nobody_served_is_seen(xen_guest: XenGuest, peer: Peer) -> None:
    node = disk(xen_guest, 0)
    peer.kill()
    xen_guest.console.check(f"dd if={node} iflag=direct of=/tmp/read bs=4k count=1 2>/dev/null &")
    peer.start()
    until(xen_guest, "test -s /tmp/read")


def test_the_device_is_unplugged_and_plugged(xen_guest: XenGuest) -> None:
    xen_guest.qmp.execute("device_del", id="vscsi0")
    event = xen_guest.qmp.wait_event("DEVICE_DELETED", timeout=PATIENCE)
    assert event["data"]["device"] == "vscsi0"
    until(xen_guest, "! test -e /sys/bus/xen/devices/vscsi-0")
    xen_guest.qmp.execute("device_add", driver="xen-vscsi", id="vscsi0", chardev="vscsi0")
    until(xen_guest, has_disk(0))
    check_io(xen_guest, disk(xen_guest, 0))


@pytest.mark.parametrize("from_inside", [False, True])
def test_the_guest_reboots(xen_guest: XenGuest, from_inside: bool) -> None:
    xen_guest.reboot(from_inside=from_inside)
    until(xen_guest, has_disk(0))
    check_io(xen_guest, disk(xen_guest, 0))


def test_another_program_is_refused(xen_device) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "print('it ran')"],
        env={**os.environ, "LD_PRELOAD": str(xen_device.module)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "this module is not for this program" in done.stderr
    assert xen_device.qemu.version in done.stderr
