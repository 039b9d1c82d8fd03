"""How long a device may take over a command, by its type.

Of a command that takes longer the host's SCSI layer makes an error: it aborts the command, and
resets the device and its bus if need be, which hits everybody's commands. So these are long: those
of Linux' own drivers for tapes and changers (st.c, ch.c), and more for what fills a whole medium.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.pages import DeviceType

if TYPE_CHECKING:
    from collections.abc import Mapping

_MINUTE, _HOUR = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: of most commands, and of some by operation code."""

    usual: float
    by_opcode: Mapping[int, float]


#: SEND DIAGNOSTIC (a self-test), WRITE BUFFER (new firmware), EXTENDED COPY.
_ANY = {0x1D: 4 * _HOUR, 0x3B: _HOUR, 0x83: 4 * _HOUR}

#: FORMAT UNIT, SANITIZE; START STOP UNIT, SYNCHRONIZE CACHE, VERIFY, WRITE SAME, UNMAP.
_DISK = Timeouts(
    _MINUTE,
    _ANY
    | dict.fromkeys((0x04, 0x48), 7 * 24 * _HOUR)
    | dict.fromkeys((0x1B, 0x2F, 0x35, 0x41, 0x42, 0x8F, 0x91, 0x93, 0xAF), 10 * _MINUTE),
)

_TYPES: Mapping[DeviceType, Timeouts] = {
    DeviceType.DISK: _DISK,
    DeviceType.ZONED_DISK: _DISK,
    DeviceType.OPTICAL: _DISK,
    # REWIND, READ REVERSE, SPACE, VERIFY, LOAD UNLOAD, LOCATE, SPACE(16), LOCATE(16), READ
    # REVERSE(16), VERIFY(16); ERASE, ERASE(16), FORMAT MEDIUM, SET CAPACITY.
    DeviceType.TAPE: Timeouts(
        15 * _MINUTE,
        _ANY
        | dict.fromkeys((0x01, 0x0F, 0x11, 0x13, 0x1B, 0x2B, 0x91, 0x92, 0x81, 0x8F), 4 * _HOUR)
        | dict.fromkeys((0x19, 0x93, 0x04, 0x0B), 36 * _HOUR),
    ),
    # INITIALIZE ELEMENT STATUS (WITH RANGE).
    DeviceType.CHANGER: Timeouts(15 * _MINUTE, _ANY | dict.fromkeys((0x07, 0x37, 0xE7), 4 * _HOUR)),
    # FORMAT UNIT, BLANK; START STOP UNIT, SYNCHRONIZE CACHE, RESERVE TRACK, SEND OPC, CLOSE TRACK.
    DeviceType.CD: Timeouts(
        _MINUTE,
        _ANY
        | dict.fromkeys((0x04, 0xA1), 4 * _HOUR)
        | dict.fromkeys((0x1B, 0x35, 0x53, 0x54, 0x5B), 30 * _MINUTE),
    ),
}
_OTHER = Timeouts(5 * _MINUTE, _ANY)


def timeouts(device_type: DeviceType) -> Timeouts:
    """Say how long commands to devices of a type may take."""
    return _TYPES.get(device_type, _OTHER)
