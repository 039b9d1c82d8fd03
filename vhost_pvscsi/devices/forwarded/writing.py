"""Commands that change a medium: a LUN that is attached read-only may not send them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.pages import DeviceType

if TYPE_CHECKING:
    from collections.abc import Mapping

#: FORMAT, WRITE BUFFER and SECURITY PROTOCOL OUT: whatever the type.
_ANY = frozenset({0x04, 0x3B, 0xB5})

#: SBC-4: REASSIGN BLOCKS, WRITE, WRITE AND VERIFY, WRITE LONG, WRITE SAME, UNMAP, SANITIZE,
#: EXTENDED COPY, COMPARE AND WRITE, ORWRITE, WRITE STREAM, WRITE ATOMIC, zone commands, those of 32
#: bytes; XDWRITE.
_DISK = _ANY | frozenset(
    b"\x07\x0a\x2a\x2e\x3f\x41\x42\x48\x50\x7f\x83\x89\x8a\x8b\x8e\x93\x94\x9a\x9c\x9f\xaa\xae"
)

_WRITES: Mapping[DeviceType, frozenset[int]] = {
    DeviceType.DISK: _DISK,
    DeviceType.ZONED_DISK: _DISK,
    DeviceType.OPTICAL: _DISK,
    # SSC-5: SET CAPACITY, WRITE, WRITE FILEMARKS, ERASE, ALLOW OVERWRITE, WRITE ATTRIBUTE.
    DeviceType.TAPE: _ANY | frozenset(b"\x0a\x0b\x10\x19\x80\x82\x83\x8a\x8d\x93"),
    # MMC-6: WRITE, RESERVE TRACK, SEND OPC, REPAIR TRACK, CLOSE TRACK, SEND CUE SHEET, BLANK, SEND
    # DISC STRUCTURE.
    DeviceType.CD: _ANY | frozenset(b"\x0a\x2a\x2e\x53\x54\x58\x5b\x5d\xa1\xaa\xbf"),
    # SMC-3: moving media writes none; WRITE ATTRIBUTE and SEND VOLUME TAG do.
    DeviceType.CHANGER: _ANY | frozenset(b"\x8d\xb6"),
}


def writing(device_type: DeviceType) -> frozenset[int]:
    """Say which operation codes change a medium, on devices of a type."""
    return _WRITES.get(device_type, _ANY)
