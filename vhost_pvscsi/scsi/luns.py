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

#: The REPORT LUNS well known logical unit (SAM-5 4.7.5.2), as a number beside the others: the
#: engine calls it so too.
WELL_KNOWN_LUN = 0xC101

#: What is listed for each value: conventional units, and well known ones. There are no
#: administrative or subsidiary ones.
_LISTS = {
    SELECT_ADDRESSABLE: (True, False),
    SELECT_WELL_KNOWN: (False, True),
    SELECT_ALL: (True, True),
    SELECT_ADMINISTRATIVE: (False, False),
    SELECT_ADMINISTRATIVE_AND_CONVENTIONAL: (True, False),
    SELECT_SUBSIDIARY: (False, False),
}


def is_selection(select_report: int) -> bool:
    """Whether the standard gives that SELECT REPORT value a meaning."""
    return select_report in _LISTS


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
    """Build REPORT LUNS data for the LUNs of a target, sorted; the well known one comes last."""
    conventional, well_known = _LISTS.get(select_report, (False, False))
    entries = [encode_lun(lun) for lun in sorted(set(luns))] if conventional else []
    if well_known:
        entries.append(WELL_KNOWN_LUN << 48)
    return struct.pack(f">Ixxxx{len(entries)}Q", 8 * len(entries), *entries)
