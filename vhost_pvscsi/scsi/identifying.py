"""Identifying information that initiators give a unit (SPC-5, "Identifying information")."""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class InformationType(enum.IntEnum):
    """INFORMATION TYPE values."""

    IDENTIFIER = 0x00  #: peripheral device identifying information
    TEXT = 0x02  #: peripheral device text identifying information
    SUPPORTED = 0x7F  #: which types there are; only reported


#: Most bytes of each type that can be set: at least these are to be held.
MOST: Mapping[InformationType, int] = {InformationType.IDENTIFIER: 64, InformationType.TEXT: 256}


def report(information: bytes) -> bytes:
    """Build the data of REPORT IDENTIFYING INFORMATION."""
    return struct.pack(">xxH", len(information)) + information


def report_supported(most: Mapping[InformationType, int]) -> bytes:
    """Build that of information type 7Fh: each type with its greatest length."""
    return report(b"".join(struct.pack(">BxH", kind << 1, size) for kind, size in most.items()))
