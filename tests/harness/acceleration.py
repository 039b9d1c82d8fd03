"""KVM or TCG: KVM only where a guest has really booted with it.

A /dev/kvm that opens, answers and then runs no stock kernel is real, so nothing
less than a boot counts. The answer is kept for this boot of the host.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from images import cache

from .errors import HarnessError
from .machine import TCG, Machine, MachineSpec

if TYPE_CHECKING:
    from images.build import GuestImage
    from images.qemus import Qemu

#: A guest under working KVM is up within two seconds.
_PROBE_TIMEOUT = 15.0
#: Linux kernel, virt/kvm/api.rst: KVM_CHECK_EXTENSION, KVM_CAP_XEN_HVM, and of its flags
#: KVM_XEN_HVM_CONFIG_EVTCHN_SEND, the last one that QEMU asks for.
_CHECK_EXTENSION, _CAP_XEN_HVM, _XEN_EVTCHN_SEND = 0xAE03, 38, 1 << 5


def choose(qemu: Qemu, image: GuestImage) -> tuple[str, str]:
    """Return the accelerator to use with `qemu`, and why."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG, "/dev/kvm cannot be opened"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    key = cache.digest(boot, qemu.version, *qemu.command)[:16]
    answer = cache.root() / f"kvm-{key}"
    with cache.lock("kvm"):
        if not answer.exists():
            answer.write_text(_probe(qemu, image))
        fault = answer.read_text()
    return (TCG, f"KVM boots no guest here: {fault}") if fault else ("kvm", "a guest booted by KVM")


def no_xen(qemu: Qemu, image: GuestImage) -> str | None:
    """Return why there is no KVM here by which `qemu` can emulate Xen; None: there is one."""
    accelerator, why = choose(qemu, image)
    if accelerator == TCG:
        return why
    with Path("/dev/kvm").open("rb") as kvm:
        can = fcntl.ioctl(kvm, _CHECK_EXTENSION, _CAP_XEN_HVM)
    return None if can & _XEN_EVTCHN_SEND else "its kernel was built without CONFIG_KVM_XEN"


def _probe(qemu: Qemu, image: GuestImage) -> str:
    spec = MachineSpec(qemu, image, "q35-virtio-scsi", accelerator="kvm")
    try:
        with Machine(spec) as machine:
            machine.boot(timeout=_PROBE_TIMEOUT).console.check("true", timeout=5.0)
    except HarnessError as error:
        return str(error).splitlines()[0]
    return ""
