"""REPORT LUNS parameter data (SPC-5, "REPORT LUNS command"; SAM-5 4.7)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vhost_pvscsi.identity import MAX_LUN

if TYPE_CHECKING:
    from collections.abc import Iterable

#: SELECT REPORT values.
SELECT_ADDRESSABLE = 0x00  #: all but well known logical units
SELECT_WELL_KNOWN = 0x01
SELECT_ALL = 0x02
SELECT_ADMINISTRATIVE = 0x10
SELECT_ADMINISTRATIVE_AND_CONVENTIONAL = 0x11
SELECT_SUBSIDIARY = 0x12  #: those conglomerated under the addressed one

#: What is listed for each value: our units are conventional ones; there are no well known,
#: administrative or subsidiary ones.
_LISTS_CONVENTIONAL = {
    SELECT_ADDRESSABLE: True,
    SELECT_WELL_KNOWN: False,
    SELECT_ALL: True,
    SELECT_ADMINISTRATIVE: False,
    SELECT_ADMINISTRATIVE_AND_CONVENTIONAL: True,
    SELECT_SUBSIDIARY: False,
}


def is_selection(select_report: int) -> bool:
    """Whether the standard gives that SELECT REPORT value a meaning."""
    return select_report in _LISTS_CONVENTIONAL


def encode_lun(lun: int) -> int:
    """Encode a LUN as the 64-bit value of REPORT LUNS (SAM-5 4.7.5).

    Below 256 the peripheral device method, from there the flat space method (01b on top).
    Linux, Windows and Xen front-ends expect just that.
    """
    if not 0 <= lun <= MAX_LUN:
        msg = f"LUN {lun} is not 0 to {MAX_LUN}"
        raise ValueError(msg)
    return (lun if lun < 256 else 0x4000 | lun) << 48


def lun_list(luns: Iterable[int], select_report: int = SELECT_ADDRESSABLE) -> bytes:
    """Build REPORT LUNS data for the LUNs of a target, sorted."""
    chosen = sorted(set(luns)) if _LISTS_CONVENTIONAL.get(select_report, False) else []
    entries = [encode_lun(lun) for lun in chosen]
    return struct.pack(f">Ixxxx{len(entries)}Q", 8 * len(entries), *entries)
