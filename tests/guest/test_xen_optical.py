"""A CD in a Xen guest: attached, mounted, ejected, by the pvSCSI ring."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.harness import images
from tests.harness.xen_daemon import PATIENCE
from tests.harness.xen_view import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.inner_guest import InnerGuest
    from tests.harness.xen_daemon import OuterDaemon

pytestmark = [pytest.mark.guest, pytest.mark.xen]

VDEV = "0:0:20:0"


@pytest.fixture(scope="module")
def disc() -> Path:
    """A disc that both the host and the outer guest have at this path."""
    return images.boot_disk().disc


def test_a_disc_is_mounted_and_ejected(
    disc: Path, xen_guest: InnerGuest, xen_backend: OuterDaemon
) -> None:
    console = xen_guest.console
    console.check("modprobe sr_mod; modprobe isofs")
    xen_backend.tell("scsi-attach", f"cd:{disc}", VDEV)
    try:
        until(xen_guest, "test -b /dev/sr0")
        # GRUB's file system for UEFI: 4 MiB of the disc.
        told = console.check(
            "mount -t iso9660 -o ro /dev/sr0 /mnt && md5sum < /mnt/efi.img; umount /mnt",
            timeout=PATIENCE,
        )
        with disc.with_name("disc").joinpath("efi.img").open("rb") as file:
            assert told.split()[0] == hashlib.file_digest(file, "md5").hexdigest()
        console.check("eject /dev/sr0", timeout=PATIENCE)
        console.check("eject -t /dev/sr0", timeout=PATIENCE)
        xen_backend.tell("medium-eject", VDEV)
        assert console.run("mount -t iso9660 -o ro /dev/sr0 /mnt").status != 0
    finally:
        xen_backend.tell("scsi-detach", VDEV)
