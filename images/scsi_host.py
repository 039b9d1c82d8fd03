"""The guest that is a host with SCSI devices to be forwarded.

`python -m images.scsi_host` makes it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from . import archive, build, cache, command_line, host_guest, manifest

if TYPE_CHECKING:
    from collections.abc import Callable


def make(*, report: Callable[[str], None] = lambda _: None) -> build.GuestImage:
    """Return that guest, made first if it is not there or its inputs changed."""
    plan = manifest.load()
    scsi = plan.scsi_host
    host = host_guest.HostGuest(
        "scsi-host", scsi.backports, scsi.kernel_package, scsi.kernel_modules
    )

    def apt() -> archive.PrivateApt:
        suites = replace(plan.archive, suite=scsi.suite, backports=scsi.backports)
        made = archive.PrivateApt(cache.root() / "apt-scsi-host", suites)
        with cache.lock("apt-scsi-host"):
            made.prepare()
        return made

    return host_guest.make(host, apt, report=report)


def main() -> int:
    """Make it from the command line."""
    return command_line.run(make, lambda image: (image.kernel, image.initramfs))


if __name__ == "__main__":
    sys.exit(main())
