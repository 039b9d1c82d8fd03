"""What a device answered, in the words that docs/bad-input.md uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .frontend import Response

#: virtio 1.2, 5.6.6.1: responses other than OK.
_RESPONSES = {1: "OVERRUN", 2: "ABORTED", 3: "BAD_TARGET", 4: "RESET", 5: "BUSY", 9: "FAILURE"}
#: SAM-5 5.3.1: statuses other than CHECK CONDITION.
_STATUSES = {0x00: "GOOD", 0x08: "BUSY", 0x18: "RESERVATION CONFLICT", 0x28: "TASK SET FULL"}
#: SPC-5 4.4.3, sense key specific data of ILLEGAL REQUEST: it is valid, it names a bit.
_SKSV, _BPV = 0x80, 0x08


def describe(response: Response) -> str:
    """Say in a few words what became of a command."""
    if response.response:
        return _RESPONSES.get(response.response, f"response {response.response}")
    if response.status != 0x02:
        return _STATUSES.get(response.status, f"status {response.status:#04x}")
    key, asc, ascq = response.sense_code
    return f"{key:X}h/{asc:02X}h/{ascq:02X}h{_pointer(response.sense)}"


def _pointer(sense: bytes) -> str:
    if len(sense) < 18 or not sense[15] & _SKSV:
        return ""
    bit = f" bit {sense[15] & 7}" if sense[15] & _BPV else ""
    return f" at byte {int.from_bytes(sense[16:18], 'big')}{bit}"
