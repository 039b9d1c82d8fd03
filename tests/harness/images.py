"""What a guest needs, made ready on first use: the guest image and the QEMUs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from images import bacula as with_bacula
from images import boot_disk as disk
from images import build, qemu_device, qemus
from images import iscsi as target
from images import scsi_host as forwarding_host
from images import udev as udevd
from images import xen_host as host

from .machine import kernel_words


def guest() -> build.GuestImage:
    """Return the guest image, built first if it is not there."""
    return build.build(report=_report)


def bacula_guest() -> build.GuestImage:
    """Return that guest with Debian's Bacula in it, built first if it is not there."""
    return with_bacula.make(report=_report)


def boot_disk() -> disk.BootDisk:
    """Return the disk from which firmware boots that guest, built first if it is not there."""
    return disk.build(guest(), kernel_words(), report=_report)


def qemu(version: str) -> qemus.Qemu:
    """Return the QEMU of that version, unpacked first if the host has another."""
    return qemus.find(version, report=_report)


def xen_host() -> build.GuestImage:
    """Return the guest in which QEMU emulates Xen, built first if it is not there."""
    return host.make(report=_report)


def scsi_host() -> build.GuestImage:
    """Return the guest that is a host with SCSI devices, built first if it is not there."""
    return forwarding_host.make(report=_report)


def iscsi() -> Path:
    """Return the folder of tgt's and open-iscsi's files, unpacked first if they are not there."""
    return target.make(report=_report)


def udev() -> Path:
    """Return the folder of udevd's files, unpacked first if they are not there."""
    return udevd.make(report=_report)


def xen_guest() -> build.GuestImage:
    """Return the plain guest as firmware starts it.

    By PVH it would be another kind of Xen guest, one without the Xen platform device.
    """
    plain = guest()
    return build.GuestImage(plain.bzimage, plain.initramfs, plain.bzimage)


def xen_device() -> qemu_device.DeviceModule:
    """Return the QEMU that emulates Xen, and our device for it, compiled if need be.

    `VHOST_PVSCSI_XEN_QEMU=PROGRAM` names one that has the device built in.
    """
    if program := os.environ.get("VHOST_PVSCSI_XEN_QEMU"):
        return qemu_device.DeviceModule(qemus.at(Path(program).resolve()), module=None)
    return qemu_device.make(report=_report)


def wanted_versions() -> tuple[str, ...]:
    """Return the QEMUs to test with; `VHOST_PVSCSI_QEMU=7.2` picks one."""
    return tuple(os.environ.get("VHOST_PVSCSI_QEMU", "7.2,10").split(","))


def _report(step: str) -> None:
    print(f"images: {step}", file=sys.stderr, flush=True)
