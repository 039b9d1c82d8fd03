"""pvSCSI: a stock guest of QEMU's emulated Xen, our device in QEMU, and our back-end.

The outer guest has all three; one boot serves all checks (docs/rig.md).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.harness import disks
from tests.harness.xen_daemon import CONTROL, PATIENCE, OuterDaemon

if TYPE_CHECKING:
    from images.qemu_device import DeviceModule
    from tests.harness.nested import OuterHost
    from tests.harness.xen_guest import XenGuest

pytestmark = [pytest.mark.guest, pytest.mark.xen]

DISK = "/run/disk.img"
#: Attaches and detaches a LUN, so many times, over the control socket. One program does it all:
#: the start of our own takes ten seconds there.
ROUNDS = """
import json, socket, sys
channel = socket.socket(socket.AF_UNIX)
channel.connect(sys.argv[1])
stream = channel.makefile("rw")
def ask(command, **arguments):
    stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\\n")
    stream.flush()
    while "return" not in (answer := json.loads(stream.readline())):
        assert "error" not in answer, answer
stream.readline()
ask("qmp_capabilities")
for _ in range(int(sys.argv[2])):
    ask("scsi-attach", pdev="ram:8M", vdev="0:0:5:0")
    ask("scsi-detach", vdev="0:0:5:0", force=True)
"""


@pytest.fixture(scope="module")
def xen_backend(xen_host: OuterHost) -> OuterDaemon:
    xen_host.check(f"truncate -s 64M {DISK}")
    daemon = OuterDaemon(xen_host, [f"0:0:0:0={DISK}", "0:0:1:0=ram:64M"])
    daemon.start()
    return daemon


def until(guest: XenGuest, condition: str) -> None:
    """Wait until a shell condition holds in the guest."""
    # What comes and goes in sysfs is no event that a shell can wait for; this looks often.
    guest.console.check(f"until {condition}; do usleep 100000; done", timeout=PATIENCE)


def has_disk(target: int) -> str:
    return f"ls /sys/bus/scsi/devices/*:0:{target}:0/block/* >/dev/null 2>&1"


def check_io(guest: XenGuest, target: int = 0, size: str = "127k") -> None:
    """Write, forget, read back."""
    node = disks.find(guest, target).node
    guest.console.check(
        f"set -e; dd if=/dev/urandom of=/tmp/data bs={size} count=8 2>/dev/null;"
        f"dd if=/tmp/data of={node} bs={size} oflag=direct 2>/dev/null;"
        f"dd if={node} bs={size} count=8 iflag=direct 2>/dev/null | cmp - /tmp/data",
        timeout=PATIENCE,
    )


def test_a_stock_guest_finds_its_luns(xen_guest: XenGuest, xen_backend: OuterDaemon) -> None:
    assert xen_guest.console.check("cat /sys/hypervisor/guest_type").strip() == "HVM"
    assert xen_guest.console.check("lsscsi").count("VIRTUAL DISK") == 2
    for address in ("0:0:0:0", "0:0:1:0"):
        xen_backend.wait_for(f"LUN at {address}")


def test_luns_are_listed_whatever_room_there_is(xen_guest: XenGuest) -> None:
    """With 8192 bytes this ends a Dom0 that has Linux's own back-end."""
    node = disks.find(xen_guest, 0).generic
    for room in (16, 8192):
        assert "0000000000000000" in xen_guest.console.check(f"sg_luns --maxlen={room} {node}")


def test_a_request_has_up_to_508_kib(xen_guest: XenGuest) -> None:
    disk = disks.find(xen_guest, 0)
    assert disk.queue_attribute("max_hw_sectors_kb") == "508"
    check_io(xen_guest, size="508k")


def test_a_file_system_holds_what_was_written(xen_guest: XenGuest) -> None:
    disk = disks.find(xen_guest, 0)
    # Blocks of a page; what Linux's driver does to smaller ones: qemu-device/README.md, "Limits".
    disk.make_file_system(4, options="-b 4096")
    disk.verify_file_system()


def test_data_is_verified_with_16_requests_at_once(xen_guest: XenGuest) -> None:
    node = disks.find(xen_guest, 1).node
    xen_guest.console.check(
        f"fio --name=v --filename={node} --rw=randwrite --bs=4k-64k --size=4m --direct=1"
        " --ioengine=io_uring --iodepth=16 --verify=crc32c --do_verify=1 --verify_fatal=1",
        timeout=PATIENCE,
    )


def test_a_lun_comes_and_goes(xen_guest: XenGuest, xen_backend: OuterDaemon) -> None:
    xen_backend.tell("scsi-attach", "ram:8M", "0:0:3:0")
    until(xen_guest, has_disk(3))
    check_io(xen_guest, 3)
    xen_backend.tell("scsi-detach", "0:0:3:0")
    until(xen_guest, f"! {has_disk(3)}")
    assert xen_guest.console.check("cat /sys/bus/xen/devices/vscsi-0/state") == "Connected\n"
    check_io(xen_guest)


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.long)])
def test_luns_come_and_go_under_io(
    xen_guest: XenGuest, xen_host: OuterHost, xen_backend: OuterDaemon, rounds: int
) -> None:
    """Quicker than a guest can follow: what it never heard of need not be taken from it."""
    node = disks.find(xen_guest, 0).node
    xen_guest.console.check(
        f"(while ! test -e /tmp/enough; do dd if={node} of=/dev/null bs=64k count=16 iflag=direct;"
        " done; echo $? >/tmp/ended-reading) >/dev/null 2>&1 &"
    )
    script = shlex.join([sys.executable, "-c", ROUNDS, str(CONTROL), str(rounds)])
    xen_host.check(script, timeout=PATIENCE * 4)
    until(xen_guest, f"! {has_disk(5)}")
    xen_guest.console.check("touch /tmp/enough")
    until(xen_guest, "test -e /tmp/ended-reading")
    xen_guest.console.check("rm /tmp/enough /tmp/ended-reading")
    check_io(xen_guest)


def test_the_driver_lets_go_and_comes_back(xen_guest: XenGuest) -> None:
    for _ in range(2):
        xen_guest.console.check("echo vscsi-0 >/sys/bus/xen/drivers/vscsi/unbind")
        assert "DISK" not in xen_guest.console.check("lsscsi")
        xen_guest.console.check("echo vscsi-0 >/sys/bus/xen/drivers/vscsi/bind")
        until(xen_guest, has_disk(0))
        check_io(xen_guest)


def test_requests_in_flight_outlive_the_back_end(
    xen_guest: XenGuest, xen_backend: OuterDaemon
) -> None:
    node = disks.find(xen_guest, 0).node
    # Its own file tells its end: the console is needed meanwhile.
    xen_guest.console.check(
        f"(fio --name=v --filename={node} --rw=randwrite --bs=4k --size=4m --direct=1"
        " --ioengine=io_uring --iodepth=16 --verify=crc32c --do_verify=1 --verify_fatal=1"
        " >/tmp/fio 2>&1; echo $? >/tmp/ended) >/dev/null 2>&1 &"
    )
    # Linux kernel, block/stat.rst: the ninth number is of requests in flight.
    in_flight = f"$(awk '{{print $9}}' /sys/block/{node.removeprefix('/dev/')}/stat)"
    until(xen_guest, f"test {in_flight} -gt 0")
    xen_backend.kill()
    assert xen_guest.console.run("test -e /tmp/ended").status != 0
    xen_backend.start()
    until(xen_guest, "test -e /tmp/ended")
    said = xen_guest.console.check("cat /tmp/fio /tmp/ended")
    assert said.endswith("\n0\n"), said


def test_the_device_is_unplugged_and_plugged(xen_guest: XenGuest) -> None:
    xen_guest.qmp.execute("device_del", id="vscsi0")
    event = xen_guest.qmp.wait_event("DEVICE_DELETED", timeout=PATIENCE)
    assert event["data"]["device"] == "vscsi0"
    until(xen_guest, "! test -e /sys/bus/xen/devices/vscsi-0")
    xen_guest.qmp.execute("device_add", driver="xen-vscsi", id="vscsi0", chardev="vscsi0")
    until(xen_guest, has_disk(0))
    check_io(xen_guest)


@pytest.mark.parametrize("from_inside", [False, True])
def test_the_guest_reboots(xen_guest: XenGuest, from_inside: bool) -> None:
    xen_guest.reboot(from_inside=from_inside)
    until(xen_guest, has_disk(0))
    check_io(xen_guest)


def test_another_program_is_refused(xen_device: DeviceModule) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "print('it ran')"],
        env={**os.environ, "LD_PRELOAD": str(xen_device.module)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "this module is not for this program" in done.stderr
    assert xen_device.qemu.version in done.stderr
