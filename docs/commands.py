"""Writes docs/commands.md from the opcode table: `python docs/commands.py`."""

from __future__ import annotations

from pathlib import Path

from vhost_pvscsi.devices.changer.handlers import commands as changer_commands
from vhost_pvscsi.devices.emulated.handlers import commands
from vhost_pvscsi.devices.optical.handlers import commands as drive_commands
from vhost_pvscsi.devices.tape.handlers import commands as tape_commands
from vhost_pvscsi.scsi.command import Access, Command

COMMANDS = commands(nonvolatile=True)
TAPE_COMMANDS = tape_commands(nonvolatile=True)
DRIVE_COMMANDS = drive_commands(nonvolatile=True)
CHANGER_COMMANDS = changer_commands(nonvolatile=True)

PAGE = Path(__file__).with_name("commands.md")

HEAD = """\
# Commands of the emulated disk, of the tape, of the changer and of the CD/DVD drive

This page is written by `python docs/commands.py` from the table in `vhost_pvscsi/scsi/rows/`;
a test fails where the two differ. A guest gets the same from REPORT SUPPORTED OPERATION CODES.

- *Usage* is the CDB usage data (SPC-5): the operation code, and the service action if there is
  one, then a mask of the bits that mean something. Any other
  bit that is set gets ILLEGAL REQUEST, INVALID FIELD IN CDB, with a pointer at the bit; the
  two vendor specific bits of the CONTROL byte are ignored, and so are RELADR and FUA_NV, obsolete
  bits of READ, WRITE and VERIFY.
- *Medium* commands are done by the engine, on the short road where nothing stands in the way.
- *UA*: whether a pending unit attention is reported by the command ("yes"), passed by ("no"), or
  told in its data ("data").
- *Stopped by*: which reservations of another guest stop the command: none ("-"), that of RESERVE
  alone ("reserve"), those that keep others from reading too ("read"), all ("write"). START STOP
  UNIT that starts and PREVENT ALLOW that allows are never stopped. PERSISTENT RESERVE IN and OUT
  conflict with any RESERVE, even of the same guest; RESERVE, RELEASE and PERSISTENT RESERVE OUT
  have conflicts of their own (SPC-5 5.14, SPC-4 5.12.3).
- *Timeout* is the recommended command timeout in seconds.

SET IDENTIFYING INFORMATION is there with `--state-directory` only.

Every other operation code gets ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE, and every other
service action of these INVALID FIELD IN CDB.

| code | command | defined in | data | medium | UA | stopped by | timeout | usage |
|---|---|---|---|---|---|---|---|---|
"""


TAPE = """
## The tape

The same of the emulated tape ([tape.md](tape.md)). READ POSITION is answered in the forms 00h, 01h,
06h and 08h, the short, long and extended one; any other is INVALID FIELD IN CDB.

| code | command | defined in | data | medium | UA | stopped by | timeout | usage |
|---|---|---|---|---|---|---|---|---|
"""


DRIVE = """
## The CD/DVD drive

The same of the emulated drive ([cd.md](cd.md)). READ CD and READ CD MSF give the user data of
sectors, or with no bit of byte 9 nothing; what an image does not hold (headers, error correction,
sub-channels) is INVALID FIELD IN CDB, and sectors of audio or mode 2 are ILLEGAL MODE FOR THIS
TRACK.

| code | command | defined in | data | medium | UA | stopped by | timeout | usage |
|---|---|---|---|---|---|---|---|---|
"""

CHANGER = """
## The changer

The same of the emulated medium changer ([changer.md](changer.md)). READ ELEMENT STATUS with CURDATA
is never stopped.

| code | command | defined in | data | medium | UA | stopped by | timeout | usage |
|---|---|---|---|---|---|---|---|---|
"""


def render() -> str:
    """Make the page."""
    disk, tape, changer, drive = (
        "".join(_row(command) for command in known)
        for known in (COMMANDS, TAPE_COMMANDS, CHANGER_COMMANDS, DRIVE_COMMANDS)
    )
    return HEAD + disk + TAPE + tape + CHANGER + changer + DRIVE + drive


def _row(command: Command) -> str:
    code = f"{command.opcode:02X}h"
    if command.service_action is not None:
        code += f"/{command.service_action:02X}h"
    attention = "no" if command.ignores_attention else "yes"
    cells = (
        code,
        command.name,
        command.source,
        command.direction.value,
        command.access.value if command.access is not Access.OTHER else "-",
        "data" if command.name == "REQUEST SENSE" else attention,
        command.barrier.value,
        str(command.timeout),
        f"`{command.usage_data.hex(' ')}`",
    )
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
