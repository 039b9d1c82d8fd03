"""The guest in which QEMU emulates Xen, for hosts that cannot.

QEMU emulates Xen under KVM only. Where the host has no KVM, a guest under TCG has one: its
processor has SVM, and its kernel KVM_XEN. `python -m images.xen_host` makes it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from . import build, command_line, host_guest, manifest

if TYPE_CHECKING:
    from collections.abc import Callable


def make(*, report: Callable[[str], None] = lambda _: None) -> build.GuestImage:
    """Return that guest, made first if it is not there or its inputs changed."""
    plan = manifest.load()
    xen = plan.xen_host
    host = host_guest.HostGuest("xen-host", xen.suite, xen.kernel_package, xen.kernel_modules)
    return host_guest.make(host, lambda: build.private_apt(plan), report=report)


def main() -> int:
    """Make it from the command line."""
    return command_line.run(make, lambda image: (image.kernel, image.initramfs))


if __name__ == "__main__":
    sys.exit(main())
