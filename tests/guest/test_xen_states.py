"""A pvSCSI device as its guest, its driver and its back-end come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from qemu.qmp import ExecuteError

from tests.harness import disks
from tests.harness.xen_daemon import IMAGE, MEMORY, PATIENCE, SOCKETS, OuterDaemon
from tests.harness.xen_view import check_io, has_disk, until, wait_for_luns

if TYPE_CHECKING:
    from tests.harness.inner_guest import InnerGuest
    from tests.harness.nested import OuterHost

pytestmark = [pytest.mark.guest, pytest.mark.xen]

UNBIND = "echo vscsi-0 >/sys/bus/xen/drivers/vscsi/unbind"
BIND = "echo vscsi-0 >/sys/bus/xen/drivers/vscsi/bind"


def test_the_driver_is_unloaded_and_loaded(xen_guest: InnerGuest, xen_backend: OuterDaemon) -> None:
    # The bus holds the module of a driver as long as it has a device.
    xen_guest.console.check(f"{UNBIND}; rmmod xen_scsifront")
    assert "DISK" not in xen_guest.console.check("lsscsi")
    xen_guest.console.check("modprobe xen-scsifront")
    wait_for_luns(xen_guest, xen_backend)
    check_io(xen_guest)


def test_the_driver_lets_go_and_comes_back(xen_guest: InnerGuest, xen_backend: OuterDaemon) -> None:
    for _ in range(2):
        xen_guest.console.check(UNBIND)
        assert "DISK" not in xen_guest.console.check("lsscsi")
        xen_guest.console.check(BIND)
        wait_for_luns(xen_guest, xen_backend)
        check_io(xen_guest)


def test_the_driver_comes_back_before_the_back_end_knows_that_it_went(
    xen_guest: InnerGuest, xen_backend: OuterDaemon
) -> None:
    # Linux waits for the flush of a disk, which is why the back-end must not be asked for one.
    kinds = "/sys/class/scsi_disk/*/cache_type"
    through = f"for each in {kinds}; do echo temporary write through >$each; done"
    for _ in range(3):
        xen_guest.console.check(through)
        with xen_backend.held_up():
            xen_guest.console.check(f"{UNBIND}; {BIND}")
        wait_for_luns(xen_guest, xen_backend)
        check_io(xen_guest)


def test_requests_in_flight_outlive_the_back_end(
    xen_guest: InnerGuest, xen_backend: OuterDaemon
) -> None:
    node = disks.find(xen_guest, IMAGE).node
    # Its own file tells its end: the console is needed meanwhile.
    xen_guest.console.check(
        f"(fio --name=v --filename={node} --rw=randwrite --bs=4k --size=8m --direct=1"
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


def test_the_device_is_unplugged_and_plugged(
    xen_guest: InnerGuest, xen_backend: OuterDaemon
) -> None:
    xen_guest.qmp.execute("device_del", id="vscsi0")
    event = xen_guest.qmp.wait_event("DEVICE_DELETED", timeout=PATIENCE)
    assert event["data"]["device"] == "vscsi0"
    until(xen_guest, "! test -e /sys/bus/xen/devices/vscsi-0")
    xen_guest.qmp.execute("device_add", driver="xen-vscsi", id="vscsi0", chardev="vscsi0")
    wait_for_luns(xen_guest, xen_backend)
    check_io(xen_guest)


def test_a_second_device_has_a_host_of_its_own(
    xen_guest: InnerGuest, xen_backend: OuterDaemon
) -> None:
    address = {"type": "unix", "data": {"path": str(SOCKETS[2])}}
    backend = {"type": "socket", "data": {"addr": address, "server": False}}
    xen_guest.qmp.execute("chardev-add", id="vscsi1", backend=backend)
    new = {"driver": "xen-vscsi", "id": "vscsi1", "chardev": "vscsi1"}
    with pytest.raises(ExecuteError, match="there is one with vhost=0 already"):
        xen_guest.qmp.execute("device_add", **new, vhost=0)
    check_io(xen_guest)
    xen_guest.qmp.execute("device_add", **new, vhost=1)
    place = f"/sys/bus/xen/devices/vscsi-1/host*/target*/*:0:{MEMORY}:0/block"
    until(xen_guest, f"ls {place}/* >/dev/null 2>&1")
    node = f"/dev/$(ls {place})"
    said = "printf second | dd of=/tmp/second bs=512 conv=sync 2>/dev/null"
    xen_guest.console.check(
        f"set -e; {said}; dd if=/tmp/second of={node} oflag=direct 2>/dev/null;"
        f"dd if={node} bs=512 count=1 iflag=direct 2>/dev/null | cmp - /tmp/second"
    )
    xen_guest.qmp.execute("device_del", id="vscsi1")
    xen_guest.qmp.wait_event("DEVICE_DELETED", timeout=PATIENCE)
    xen_guest.qmp.execute("chardev-remove", id="vscsi1")
    wait_for_luns(xen_guest, xen_backend)
    check_io(xen_guest)


@pytest.mark.parametrize("command", [None, "reboot -f"])
def test_the_guest_reboots(
    xen_guest: InnerGuest, xen_backend: OuterDaemon, command: str | None
) -> None:
    xen_guest.reboot(command=command)
    wait_for_luns(xen_guest, xen_backend)
    check_io(xen_guest)


@pytest.mark.long
def test_the_guest_starts_another_kernel(
    xen_guest: InnerGuest, xen_host: OuterHost, xen_backend: OuterDaemon
) -> None:
    """With kexec nobody resets the device: the new kernel finds it as the old one left it."""
    image = xen_guest.spec.image
    assert image is not None
    names = {"kernel": image.kernel, "initrd": image.initramfs}
    for target, (name, path) in enumerate(names.items(), 20):
        # A disk is whole blocks; what follows a kernel or an archive does no harm.
        xen_host.check(f"cp {path} /run/{name}; truncate -s %4096 /run/{name}")
        xen_backend.tell("scsi-attach", f"/run/{name},ro", f"0:0:{target}:0")
        until(xen_guest, has_disk(target))
        node = disks.find(xen_guest, target).node
        xen_guest.console.check(f"dd if={node} of=/tmp/{name} bs=64k", timeout=PATIENCE)
        xen_backend.tell("scsi-detach", f"0:0:{target}:0")
    load = "kexec --load /tmp/kernel --initrd=/tmp/initrd --reuse-cmdline"
    xen_guest.console.check(load, timeout=PATIENCE)
    xen_guest.reboot(command="kexec --exec")
    wait_for_luns(xen_guest, xen_backend)
    check_io(xen_guest)
