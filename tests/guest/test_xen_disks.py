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
from tests.harness.xen_daemon import CONTROL, IMAGE, LUNS, MEMORY, PATIENCE, OuterDaemon
from tests.harness.xen_view import check_io, has_disk, until

if TYPE_CHECKING:
    from images.qemu_device import DeviceModule
    from tests.harness.inner_guest import InnerGuest
    from tests.harness.nested import OuterHost

pytestmark = [pytest.mark.guest, pytest.mark.xen]

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


def test_a_stock_guest_finds_its_luns(xen_guest: InnerGuest, xen_backend: OuterDaemon) -> None:
    assert xen_guest.console.check("cat /sys/hypervisor/guest_type").strip() == "HVM"
    assert xen_guest.console.check("lsscsi").count("VIRTUAL DISK") == len(LUNS)
    for target in LUNS:
        xen_backend.wait_for(f"LUN at 0:0:{target}:0")


def test_luns_are_listed_whatever_room_there_is(xen_guest: InnerGuest) -> None:
    """With 8192 bytes this ends a Dom0 that has Linux's own back-end."""
    node = disks.find(xen_guest, IMAGE).generic
    for room in (16, 8192):
        assert "0000000000000000" in xen_guest.console.check(f"sg_luns --maxlen={room} {node}")


def test_a_request_has_up_to_508_kib(xen_guest: InnerGuest) -> None:
    disk = disks.find(xen_guest, MEMORY)
    assert disk.queue_attribute("max_sectors_kb") == "508"
    check_io(xen_guest, MEMORY, size="508k")


def test_a_file_system_of_small_blocks_holds_what_was_written(xen_guest: InnerGuest) -> None:
    """Linux's driver has less room than it says: qemu-device/README.md, "Limits"."""
    disk = disks.find(xen_guest, IMAGE)
    assert disk.queue_attribute("max_sectors_kb") == "64"
    disk.make_file_system(4, options="-b 1024")
    disk.verify_file_system()


def test_data_is_verified_with_16_requests_at_once(xen_guest: InnerGuest) -> None:
    node = disks.find(xen_guest, MEMORY).node
    xen_guest.console.check(
        f"fio --name=v --filename={node} --rw=randwrite --bs=4k-64k --size=4m --direct=1"
        " --ioengine=io_uring --iodepth=16 --verify=crc32c --do_verify=1 --verify_fatal=1",
        timeout=PATIENCE,
    )


def test_a_lun_comes_and_goes(xen_guest: InnerGuest, xen_backend: OuterDaemon) -> None:
    xen_backend.tell("scsi-attach", "ram:8M", "0:0:3:0")
    until(xen_guest, has_disk(3))
    check_io(xen_guest, 3)
    xen_backend.tell("scsi-detach", "0:0:3:0")
    until(xen_guest, f"! {has_disk(3)}")
    assert xen_guest.console.check("cat /sys/bus/xen/devices/vscsi-0/state") == "Connected\n"
    check_io(xen_guest)


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.long)])
def test_luns_come_and_go_under_io(
    xen_guest: InnerGuest, xen_host: OuterHost, xen_backend: OuterDaemon, rounds: int
) -> None:
    """Quicker than a guest can follow: what it never heard of need not be taken from it."""
    node = disks.find(xen_guest, IMAGE).node
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


def test_another_program_is_refused(xen_device: DeviceModule) -> None:
    if xen_device.module is None:
        pytest.skip("this QEMU has the device built in")
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
