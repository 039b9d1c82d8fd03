"""udevd out of Debian's packages, only unpacked, for a guest that plays a host.

It runs with the libraries of the host whose file system such a guest sees. `python -m images.udev`
unpacks it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from . import command_line, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: The rest of its closure is there wherever a Debian is.
_UDEV = unpacked.Programs("udev", ("udev",), ("udev", "libkmod2"), libraries=False)


def make(*, report: Callable[[str], None] = lambda _: None) -> Path:
    """Return the folder with its files, unpacked first if they are not there."""
    return unpacked.make(_UDEV, report=report)


def main() -> int:
    """Unpack it from the command line."""
    return command_line.run(make)


if __name__ == "__main__":
    sys.exit(main())
