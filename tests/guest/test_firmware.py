"""Firmware loads a guest from our LUN: kernel, initramfs and all, without QEMU's -kernel.

From a disk, and from a disc by El Torito.

SeaBIOS drives a modern virtio device. OVMF (edk2's VirtioScsiDxe) drives a transitional one
by its legacy interface, and one without that by the modern one; it asks for no features, so
both virtio's old rings and plain new ones are tried here.
"""

from __future__ import annotations

import itertools
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.harness import disks, images
from tests.harness.machine import Backend, Machine, MachineSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _pytest.mark import ParameterSet

    from images.boot_disk import BootDisk
    from images.qemus import Qemu
    from tests.harness.daemon import Daemon
    from tests.harness.evidence import Collector

pytestmark = pytest.mark.guest

#: A driver's choice in the daemon's log: QEMU passes it on when the driver has made it.
CHOICE = re.compile(r"SET_FEATURES: 2>, body=Number\(value=(\d+)\)")
#: virtio 1.2, 6.3: what no legacy driver says; 5.6.3: what Linux asks for and firmware not.
VERSION_1, HOTPLUG = 1 << 32, 1 << 1


@dataclass(frozen=True)
class Firmware:
    """A firmware, which loader it starts, and how it drives the adapter."""

    name: str
    loader: str
    uefi: bool
    modern: bool
    options: tuple[str, ...] = ()


FIRMWARE = [
    Firmware("seabios", "i386-pc", uefi=False, modern=True),
    Firmware("ovmf-legacy", "x86_64-efi", uefi=True, modern=False),
    Firmware(
        "ovmf-modern",
        "x86_64-efi",
        uefi=True,
        modern=True,
        options=("-set", "device.scsi0.disable-legacy=on"),
    ),
]


@pytest.fixture(scope="module")
def boot_disk() -> BootDisk:
    return images.boot_disk()


def cases() -> Iterator[ParameterSet]:
    """QEMU, what is booted from, firmware; each of them once, and all disks in the long run.

    A disc is tried with the last QEMU and one driver of OVMF's; how each of them reads blocks, the
    disk shows.
    """
    versions = images.wanted_versions()
    first, last = versions[0], versions[-1]
    often = {(first, "seabios"), (first, "ovmf-legacy"), (last, "ovmf-modern")}
    for qemu, firmware in itertools.product(versions, FIRMWARE):
        marks = () if (qemu, firmware.name) in often else (pytest.mark.long,)
        yield pytest.param(qemu, "disk", firmware, marks=marks)
    yield pytest.param(last, "disc", FIRMWARE[0])
    yield pytest.param(last, "disc", FIRMWARE[-1], marks=pytest.mark.long)


@pytest.fixture(scope="module")
def medium(request: pytest.FixtureRequest) -> str:
    """What the guest boots from: a disk or a disc."""
    return request.param


@pytest.fixture(scope="module")
def luns(boot_disk: BootDisk, medium: str) -> list[str]:
    if medium == "disc":
        return [f"0:0:0:0=cd:{boot_disk.disc}"]
    # It is the cache's own: nobody may write it.
    return [f"0:0:0:0={boot_disk.image},ro"]


@pytest.fixture(scope="module")
def daemon_options() -> list[str]:
    return ["--log-level", "debug"]


@pytest.fixture
def firmware(request: pytest.FixtureRequest) -> Firmware:
    return request.param


@pytest.fixture
def booted(
    qemu: Qemu,
    accelerator: str,
    daemon: Daemon,
    boot_disk: BootDisk,
    firmware: Firmware,
    tmp_path: Path,
    evidence: Collector,
) -> Iterator[Machine]:
    """A guest that only the adapter's target 0, LUN 0 can have given to the firmware."""
    options = ["-set", "device.scsi0.bootindex=0", *firmware.options]
    if firmware.uefi:
        variables = shutil.copy(boot_disk.ovmf_variables, tmp_path)
        flash = "if=pflash,format=raw"
        options += ["-drive", f"{flash},unit=0,readonly=on,file={boot_disk.ovmf_code}"]
        options += ["-drive", f"{flash},unit=1,file={variables}"]
    spec = MachineSpec(
        qemu,
        None,
        "q35-vhost-user-scsi",
        (Backend(daemon.socket),),
        accelerator=accelerator,
        extra=tuple(options),
    )
    with Machine(spec) as machine, evidence.watch(machine):
        yield machine.boot()


@pytest.mark.parametrize(
    ("qemu_version", "medium", "firmware"),
    [*cases()],
    indirect=True,
    ids=lambda value: value.name if isinstance(value, Firmware) else value,
)
def test_firmware_boots_a_guest_from_the_lun(
    daemon: Daemon, firmware: Firmware, booted: Machine, medium: str
) -> None:
    words = booted.console.check("cat /proc/cmdline").split()
    assert f"rig.loader={firmware.loader}" in words
    assert (booted.console.run("test -d /sys/firmware/efi").status == 0) == firmware.uefi
    if medium == "disc":
        check_disc(booted)
    else:
        check_disk(booted, words)
    _, its_log = daemon.log().rsplit("a front-end has connected", 1)
    choices = [int(found) for found in CHOICE.findall(its_log)]
    assert not choices[0] & HOTPLUG, "the first driver was Linux"
    assert choices[-1] & HOTPLUG, "the last driver was not Linux"
    assert bool(choices[0] & VERSION_1) == firmware.modern


def check_disc(booted: Machine) -> None:
    """The guest has a drive and no disk, and its kernel lies on the disc."""
    assert not booted.console.check("ls /sys/class/block | grep ^sd || true").strip()
    booted.console.check("modprobe sr_mod; modprobe isofs; mount -t iso9660 -o ro /dev/sr0 /mnt")
    assert "vmlinuz" in booted.console.check("ls /mnt").split()


def check_disk(booted: Machine, words: list[str]) -> None:
    """The guest's disk is the one that its loader lay on."""
    disk = disks.find(booted, 0)
    assert "VHPVSCSI" in booted.console.check(f"sg_inq {disk.generic}")
    partitions = booted.console.check("cat /proc/partitions").split()
    assert [disk.name, f"{disk.name}1"] == [name for name in partitions if name.startswith("sd")]
    # What the loader said of the disk it lies on is true of this one.
    mark = booted.console.check(f"hexdump -s 440 -n 4 -e '4/1 \"%02x\"' {disk.node}")
    assert f"rig.disk={mark}" in words
