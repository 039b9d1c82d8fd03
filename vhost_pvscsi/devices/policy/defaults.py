"""What guests may send to each type of device, if nothing else is said.

What the standards give the type is let through, but for what outlives the guest or reaches beyond
the unit: new firmware (WRITE BUFFER), another format of a disk (FORMAT UNIT, SANITIZE), its defects
(REASSIGN BLOCKS, WRITE LONG), its locks (SECURITY PROTOCOL OUT), commands of another set (ATA
PASS-THROUGH), other hosts' access (SET TARGET PORT GROUPS). Vendor specific codes are let through
nowhere: nobody here knows what they do.

Numbers, for most are no commands of ours and have no row in `scsi/rows/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.pages import DeviceType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhost_pvscsi.scsi.names import CommandKey, CommandKeys


def _codes(text: str) -> set[CommandKey]:
    """Read operation codes; what stands behind a slash are the service actions that are meant."""
    keys: set[CommandKey] = set()
    for word in text.split():
        code, _, actions = word.partition("/")
        keys |= {(int(code, 16), int(one, 16) if one else None) for one in actions.split(",")}
    return keys


#: SPC-5: TEST UNIT READY, REQUEST SENSE, INQUIRY, MODE SELECT, RESERVE, RELEASE, MODE SENSE,
#: diagnostics, LOG SELECT, LOG SENSE, PERSISTENT RESERVE IN and OUT, third-party copy, READ BUFFER,
#: REPORT LUNS, SECURITY PROTOCOL IN; REPORT IDENTIFYING INFORMATION, TARGET PORT GROUPS, ALIASES,
#: SUPPORTED OPERATION CODES, SUPPORTED TASK MANAGEMENT FUNCTIONS, PRIORITY, TIMESTAMP; SET
#: IDENTIFYING INFORMATION.
_PRIMARY = _codes(
    "00 03 12 15 16 17 1a 1c 1d 4c 4d 55 56 57 5a 5e 5f 83 84 3c 9b a0 a2 "
    "a3/05,0a,0b,0c,0d,0e,0f a4/06"
)

#: SBC-4: READ, WRITE, SEEK, START STOP UNIT, PREVENT ALLOW, capacity, VERIFY, WRITE AND VERIFY,
#: PRE-FETCH, SYNCHRONIZE CACHE, READ DEFECT DATA, READ LONG, WRITE SAME, UNMAP, COMPARE AND WRITE,
#: ORWRITE, WRITE ATOMIC, zones (ZBC), GET LBA STATUS, GET STREAM STATUS, the commands of 32 bytes.
_DISK = _codes(
    "08 0a 0b 1b 1e 25 28 2a 2b 2e 2f 34 35 37 3e 41 42 88 89 8a 8b 8e 8f 90 91 93 94 95 9c "
    "9e/10,11,12,16 a8 aa ae af b7 7f/0009,000a,000b,000c,000d,000e,0012,0018"
)

#: SSC-5: REWIND, READ BLOCK LIMITS, FORMAT MEDIUM (partitions), READ, WRITE, SET CAPACITY, READ
#: REVERSE, WRITE FILEMARKS, SPACE, VERIFY, ERASE, LOAD UNLOAD, PREVENT ALLOW, LOCATE, READ
#: POSITION, REPORT DENSITY SUPPORT, ALLOW OVERWRITE, READ and WRITE ATTRIBUTE, SECURITY PROTOCOL
#: OUT (it sets the key that a backup program encrypts with); READ DYNAMIC RUNTIME ATTRIBUTE, SET
#: TIMESTAMP.
_TAPE = _codes(
    "01 04 05 08 0a 0b 0f 10 11 13 19 1b 1e 2b 34 44 80 81 82 88 8a 8c 8d 8f 91 92 93 b5 "
    "a3/1e a4/0f"
)

#: SMC-3: INITIALIZE ELEMENT STATUS (WITH RANGE), POSITION TO ELEMENT, OPEN/CLOSE IMPORT/EXPORT
#: ELEMENT, PREVENT ALLOW, READ and WRITE ATTRIBUTE, MOVE and EXCHANGE MEDIUM, volume tags, READ
#: ELEMENT STATUS (ATTACHED).
_CHANGER = _codes("07 37 2b 1b 1e 8c 8d a5 a6 b4 b5 b6 b8")

#: MMC-6: FORMAT UNIT (of a rewritable medium), READ, WRITE, START STOP UNIT, capacities,
#: SYNCHRONIZE CACHE, VERIFY, audio, TOC, GET CONFIGURATION, GET EVENT STATUS NOTIFICATION, disc,
#: track and session, BLANK, keys (A3h and A4h are others than SPC's here), GET PERFORMANCE,
#: structures, speed, MECHANISM STATUS, READ CD.
_CD = _codes(
    "04 1b 1e 23 25 28 2a 2b 2e 2f 35 42 43 44 45 46 47 48 4a 4b 4e 51 52 53 54 58 5b 5c 5d "
    "a1 a3 a4 a6 a7 a8 aa ac ad b6 b9 ba bb bd be bf"
)

_ALLOWED: Mapping[DeviceType, CommandKeys] = {
    DeviceType.DISK: frozenset(_PRIMARY | _DISK),
    DeviceType.ZONED_DISK: frozenset(_PRIMARY | _DISK),
    DeviceType.TAPE: frozenset(_PRIMARY | _TAPE),
    DeviceType.CHANGER: frozenset(_PRIMARY | _CHANGER),
    DeviceType.CD: frozenset(_PRIMARY | _CD),
}
#: Enclosures, processors and what nobody has thought of.
_OTHER = frozenset(_PRIMARY)


def allowed(device_type: DeviceType) -> CommandKeys:
    """Say what guests may send to devices of a type."""
    return _ALLOWED.get(device_type, _OTHER)
