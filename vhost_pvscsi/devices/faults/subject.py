"""What a command is about, for rules to look at: which it is, its blocks, what it moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import opcodes
from vhost_pvscsi.scsi.cdb import Cdb, service_action
from vhost_pvscsi.scsi.codes import Opcode
from vhost_pvscsi.scsi.command import Access, Command, CommandSet, Direction

from .rule import Extent

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.names import CommandKeys

#: What a disk answers.
DISK_COMMANDS = CommandSet(opcodes.TABLE)

#: The field that counts blocks, by the name the table has for it.
_COUNTS = ("transfer_length", "number_of_blocks")

#: A number of blocks of 0 stands for these (SBC-4 5.13, SBC-2 for WRITE(6)).
_SIX_BYTE_COUNT = 256
_SIX_BYTE = frozenset({Opcode.READ_6, Opcode.WRITE_6})

#: With a number of blocks of 0 these go on to the end of the medium.
_TO_THE_END = frozenset(
    {
        Opcode.PRE_FETCH_10,
        Opcode.PRE_FETCH_16,
        Opcode.SYNCHRONIZE_CACHE_10,
        Opcode.SYNCHRONIZE_CACHE_16,
    }
)

_READS = frozenset({Opcode.READ_6, Opcode.READ_10, Opcode.READ_12, Opcode.READ_16})
_WRITES = frozenset(
    {
        Opcode.WRITE_6,
        Opcode.WRITE_10,
        Opcode.WRITE_12,
        Opcode.WRITE_16,
        Opcode.WRITE_AND_VERIFY_10,
        Opcode.WRITE_AND_VERIFY_12,
        Opcode.WRITE_AND_VERIFY_16,
    }
)


@dataclass(frozen=True, slots=True)
class Subject:
    """One command."""

    command: Command | None  #: its row, None: the table has none
    opcode: int
    service_action: int | None
    lba: int = 0
    blocks: int = 0
    extent: Extent | None = None  #: its blocks; None: it has none in its CDB

    def among(self, keys: CommandKeys) -> bool:
        """Whether it is one of these commands."""
        return (self.opcode, None) in keys or (self.opcode, self.service_action) in keys

    @property
    def on_medium(self) -> bool:
        """Whether the medium executor runs it, and moves its data."""
        return self.command is not None and self.command.access is not Access.OTHER

    @property
    def reads_blocks(self) -> bool:
        """Whether it is a READ."""
        return self.opcode in _READS

    @property
    def outgoing(self) -> bool:
        """Whether its data goes to the unit."""
        return self.command is not None and self.command.direction is Direction.OUT


def subject_of(cdb: bytes, known: CommandSet = DISK_COMMANDS) -> Subject:
    """Look at a CDB; whatever is in it, this is an answer."""
    found = known.find(cdb)
    command = found if isinstance(found, Command) else None
    action = service_action(cdb)
    if command is None or len(cdb) < command.length or not has_blocks(command):
        return Subject(command, cdb[0], action)
    values = Cdb(command.fields, cdb[: command.length])
    lba = values["lba"]
    blocks = values[next(name for name in _COUNTS if name in command.fields)]
    if blocks == 0 and command.opcode in _SIX_BYTE:
        blocks = _SIX_BYTE_COUNT
    extent = None
    if blocks:
        extent = Extent(lba, lba + blocks - 1)
    elif command.opcode in _TO_THE_END:
        extent = Extent(lba, None)
    return Subject(command, cdb[0], action, lba, blocks, extent)


def has_blocks(command: Command) -> bool:
    """Whether a command names blocks in its CDB: UNMAP does not."""
    return "lba" in command.fields and any(name in command.fields for name in _COUNTS)


def can_be_short(command: Command) -> bool:
    """Whether less than all of a command's data can be moved.

    COMPARE AND WRITE, VERIFY and WRITE SAME would become other commands by it.
    """
    if command.access is Access.OTHER:
        return command.direction is Direction.IN
    return command.opcode in _READS | _WRITES


def can_be_corrupt(command: Command) -> bool:
    """Whether a command moves data that can be changed on the way, or leaves some behind."""
    if command.access is Access.OTHER:
        return command.direction is not Direction.NONE
    stores = command.access in {Access.WRITE, Access.EXCLUSIVE} and has_blocks(command)
    return stores or command.opcode in _READS
