"""An iSCSI target and initiator out of Debian's packages, only unpacked: tgt and open-iscsi.

On its own loopback a guest that plays a host gets a tape drive that keeps data, a changer, a CD and
a disk from them. `python -m images.iscsi` unpacks them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from . import command_line, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PACKAGES = ("tgt", "open-iscsi")
_ISCSI = unpacked.Programs("iscsi", _PACKAGES, _PACKAGES)


def make(*, report: Callable[[str], None] = lambda _: None) -> Path:
    """Return the folder with their files, unpacked first if they are not there."""
    return unpacked.make(_ISCSI, report=report)


def main() -> int:
    """Unpack them from the command line."""
    return command_line.run(make)


if __name__ == "__main__":
    sys.exit(main())
