"""Sizes as a person writes them."""

from __future__ import annotations

import re

from vhost_pvscsi.errors import ConfigurationError

#: Binary multiples, as QEMU reads them.
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

#: The engine's offsets are signed 64-bit numbers, and so are the kernel's.
_MAX_SIZE = (1 << 63) - 1


def parse_size(text: str, *, of: str) -> int:
    """Read a size in bytes, or with a binary suffix K, M, G or T.

    Raises:
        ConfigurationError: it is none, or not between 1 and 8 EiB - 1.
    """
    match = re.fullmatch(r"([0-9]{1,20})([KMGT]?)", text.upper(), re.ASCII)
    size = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < size <= _MAX_SIZE:
        raise ConfigurationError(
            f"{of}: {text!r} is not a size", hint="bytes, or a number with K, M, G or T: 64M"
        )
    return size
