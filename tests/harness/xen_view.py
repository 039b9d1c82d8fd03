"""What a Xen guest sees of a virtual host: waiting for it, using it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import disks
from .xen_daemon import LUNS, PATIENCE

if TYPE_CHECKING:
    from .inner_guest import InnerGuest
    from .xen_daemon import OuterDaemon


def until(guest: InnerGuest, condition: str) -> None:
    """Wait until a shell condition holds in the guest."""
    guest.console.wait_until(condition, timeout=PATIENCE)


def has_disk(target: int) -> str:
    """Return the condition that there is a disk at a target."""
    return f"ls /sys/bus/scsi/devices/*:0:{target}:0/block/* >/dev/null 2>&1"


def wait_for_luns(guest: InnerGuest, backend: OuterDaemon) -> None:
    """Wait until the guest has all LUNs that are there from the start."""
    for target in LUNS:
        until(guest, has_disk(target))
    # A driver that goes while one is still asked waits for the back-end's answer.
    for place in backend.places:
        until(guest, f"ls /sys/bus/scsi/devices/*:{place}/scsi_generic/* >/dev/null 2>&1")


def check_io(guest: InnerGuest, target: int = 0, size: str = "127k") -> None:
    """Write a disk, forget it, read it back."""
    node = disks.find(guest, target).node
    guest.console.check(
        f"set -e; dd if=/dev/urandom of=/tmp/data bs={size} count=8 2>/dev/null;"
        f"dd if=/tmp/data of={node} bs={size} oflag=direct 2>/dev/null;"
        f"dd if={node} bs={size} count=8 iflag=direct 2>/dev/null | cmp - /tmp/data",
        timeout=PATIENCE,
    )
