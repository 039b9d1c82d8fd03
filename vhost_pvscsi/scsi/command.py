"""One command as the table has it: code, CDB, direction, what it does, what stops it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from .cdb import SERVICE_ACTION_OPCODES, Cdb, Field, service_action_field, usage_mask
from .sense import INVALID_OPERATION_CODE, check_condition, invalid_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .codes import ChangerOpcode, MultimediaOpcode, Opcode, SequentialOpcode
    from .request import Reply


class Direction(enum.Enum):
    """Which way a command's data goes, seen from the guest."""

    NONE = "-"
    IN = "in"
    OUT = "out"


class Access(enum.Enum):
    """What a command does to the medium; anything but OTHER is the medium executor's."""

    OTHER = "-"
    READ = "read"
    WRITE = "write"
    FLUSH = "flush"
    EXCLUSIVE = "alone"  #: a write that no other command of the medium may run beside


class Barrier(enum.Enum):
    """Which reservations of another nexus stop a command (SPC-5 5.14.1, SBC-4 4.17, SPC-2 5.5)."""

    NONE = "-"  #: none
    RESERVE = "reserve"  #: that of RESERVE, but no persistent one
    READ = "read"  #: those that keep others from reading
    WRITE = "write"  #: all


#: What a command does to the medium says what stops it; whatever is not here changes it.
_BARRIERS = {Access.OTHER: Barrier.NONE, Access.READ: Barrier.READ}


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its code, its CDB and its class."""

    opcode: Opcode | SequentialOpcode | ChangerOpcode | MultimediaOpcode
    name: str
    source: str  #: the standard that defines it
    length: int
    fields: Mapping[str, Field] = field(hash=False)
    usage: bytes  #: bits of the CDB that mean something here
    ignored: bytes  #: bits that mean nothing, and are not refused
    direction: Direction
    access: Access
    service_action: int | None
    timeout: int  #: recommended command timeout, seconds
    ignores_attention: bool  #: neither reports nor clears a unit attention (SAM-5 5.14)
    barrier: Barrier
    harmless: Mapping[str, int] = field(hash=False)  #: with these values nothing stops it

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> tuple[int, int | None]:
        """Operation code and service action."""
        return self.opcode, self.service_action

    @property
    def usage_data(self) -> bytes:
        """CDB usage data (SPC-5, "One_command parameter data format").

        The mask, in which the operation code and the service action stand as themselves.
        """
        usage = bytearray(self.usage)
        usage[0] = self.opcode
        where = service_action_field(self.opcode)
        if where is not None and self.service_action is not None:
            value = where.place(self.service_action, self.length)
            mask = where.place((1 << where.width) - 1, self.length)
            usage = bytearray(u & ~m & 0xFF | v for u, m, v in zip(usage, mask, value, strict=True))
        return bytes(usage)

    def barrier_of(self, cdb: bytes) -> Barrier:
        """Which reservations stop the command with this CDB."""
        if len(cdb) < self.length or not self.harmless:
            return self.barrier
        values = Cdb(self.fields, cdb[: self.length])
        harmless = all(values[name] == value for name, value in self.harmless.items())
        return Barrier.NONE if harmless else self.barrier

    def parse(self, cdb: bytes) -> Cdb | Reply:
        """Read a CDB of this command; one with a reserved bit set is refused.

        SPC-5, "CDB": a reserved bit that is set may end the command with INVALID FIELD IN CDB.
        NACA is such a bit here, because ACA is not supported (SAM-5 5.2).
        """
        if len(cdb) < self.length:
            return invalid_field(len(cdb))
        raw = cdb[: self.length]
        for byte, value in enumerate(raw):
            stray = value & ~(self.usage[byte] | self.ignored[byte])
            if byte == self.length - 1:
                stray &= 0x3F  # the top bits of CONTROL are vendor specific: ignored
            if stray:
                return invalid_field(byte, stray.bit_length() - 1)
        return Cdb(self.fields, raw)


def layout(**fields: tuple[int, int, int]) -> Mapping[str, Field]:
    """Declare a CDB's fields: name = (first byte, lowest bit in the last byte, width in bits)."""
    return MappingProxyType({name: Field(*place) for name, place in fields.items()})


def row(
    opcode: Opcode | SequentialOpcode | ChangerOpcode | MultimediaOpcode,
    name: str,
    source: str,
    length: int,
    fields: Mapping[str, Field],
    direction: Direction = Direction.NONE,
    access: Access = Access.OTHER,
    *,
    ignored: Mapping[str, Field] = MappingProxyType({}),
    service_action: int | None = None,
    timeout: int = 10,
    ignores_attention: bool = False,
    barrier: Barrier | None = None,
    harmless: Mapping[str, int] | None = None,
) -> Command:
    """Make a row; what is not said follows from the rest.

    Raises:
        ValueError: operation code and service action do not go together.
    """
    if (opcode in SERVICE_ACTION_OPCODES) != (service_action is not None):
        msg = f"{name}: operation code {opcode:#04x} and service action do not go together"
        raise ValueError(msg)
    where = service_action_field(opcode)
    if where is not None:
        fields = MappingProxyType({"service_action": where, **fields})
    usage = usage_mask(fields, length)
    return Command(
        opcode,
        name,
        source,
        length,
        fields,
        usage,
        usage_mask(ignored, length),
        direction,
        access,
        service_action,
        timeout,
        ignores_attention,
        barrier or _BARRIERS.get(access, Barrier.WRITE),
        MappingProxyType(dict(harmless or {})),
    )


class CommandSet:
    """The commands that one kind of unit answers, in the table's order."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self._commands = {command.key: command for command in commands}
        self._opcodes = frozenset(opcode for opcode, _ in self._commands)

    def __iter__(self) -> Iterator[Command]:
        return iter(self._commands.values())

    def has_opcode(self, opcode: int) -> bool:
        """Whether any command has that operation code."""
        return opcode in self._opcodes

    def get(self, opcode: int, service_action: int | None = None) -> Command | None:
        """The command of that name, if the unit has it."""
        return self._commands.get((opcode, service_action))

    def find(self, cdb: bytes) -> Command | Reply:
        """Look a CDB's command up, or make the answer that it has none (SPC-5, "CDB")."""
        opcode = cdb[0]
        if opcode not in self._opcodes:
            return check_condition(INVALID_OPERATION_CODE)
        where = service_action_field(opcode)
        if where is None:
            return self._commands[opcode, None]
        command = self._commands.get((opcode, where.read(cdb)))
        return invalid_field(where.byte, where.top_bit) if command is None else command
