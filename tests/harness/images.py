"""What a guest needs, made ready on first use: the guest image and the QEMUs."""

from __future__ import annotations

import os
import sys

from images import boot_disk as disk
from images import build, manifest, qemus
from images import xen as nested

from .machine import kernel_words


def guest() -> build.GuestImage:
    """Return the guest image, built first if it is not there."""
    return build.build(report=_report)


def boot_disk() -> disk.BootDisk:
    """Return the disk from which firmware boots that guest, built first if it is not there."""
    return disk.build(guest(), kernel_words(), report=_report)


def qemu(version: str) -> qemus.Qemu:
    """Return the QEMU of that version, unpacked first if the host has another."""
    return qemus.find(version, report=_report)


def xen() -> nested.NestedGuests:
    """Return the guests of the rig for emulated Xen, built first if they are not there."""
    return nested.make(report=_report)


def xen_qemu() -> qemus.Qemu:
    """Return the QEMU that emulates Xen in that rig."""
    return qemu(manifest.load().xen.qemu_version)


def wanted_versions() -> tuple[str, ...]:
    """Return the QEMUs to test with; `VHOST_PVSCSI_QEMU=7.2` picks one."""
    return tuple(os.environ.get("VHOST_PVSCSI_QEMU", "7.2,10").split(","))


def _report(step: str) -> None:
    print(f"images: {step}", file=sys.stderr, flush=True)
