"""The table of commands: each is described here once.

Dispatch, the check of reserved bits, REPORT SUPPORTED OPERATION CODES, the opcodes that go to
the medium executor and `docs/commands.md` are read from it. A new command begins here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from .cdb import SERVICE_ACTION_OPCODES, Cdb, Field, service_action_field, usage_mask
from .sense import INVALID_OPERATION_CODE, check_condition, invalid_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .request import Reply


class Opcode(enum.IntEnum):
    """Operation codes by name (SPC-5, SBC-4)."""

    TEST_UNIT_READY = 0x00
    REQUEST_SENSE = 0x03
    READ_6 = 0x08
    WRITE_6 = 0x0A
    INQUIRY = 0x12
    RESERVE_6 = 0x16
    RELEASE_6 = 0x17
    MODE_SENSE_6 = 0x1A
    START_STOP_UNIT = 0x1B
    PREVENT_ALLOW_MEDIUM_REMOVAL = 0x1E
    READ_CAPACITY_10 = 0x25
    READ_10 = 0x28
    WRITE_10 = 0x2A
    WRITE_AND_VERIFY_10 = 0x2E
    VERIFY_10 = 0x2F
    PRE_FETCH_10 = 0x34
    SYNCHRONIZE_CACHE_10 = 0x35
    READ_DEFECT_DATA_10 = 0x37
    WRITE_SAME_10 = 0x41
    UNMAP = 0x42
    RESERVE_10 = 0x56
    RELEASE_10 = 0x57
    MODE_SENSE_10 = 0x5A
    PERSISTENT_RESERVE_IN = 0x5E
    PERSISTENT_RESERVE_OUT = 0x5F
    READ_16 = 0x88
    COMPARE_AND_WRITE = 0x89
    WRITE_16 = 0x8A
    WRITE_AND_VERIFY_16 = 0x8E
    VERIFY_16 = 0x8F
    PRE_FETCH_16 = 0x90
    SYNCHRONIZE_CACHE_16 = 0x91
    WRITE_SAME_16 = 0x93
    SERVICE_ACTION_IN_16 = 0x9E
    REPORT_LUNS = 0xA0
    MAINTENANCE_IN = 0xA3
    READ_12 = 0xA8
    WRITE_12 = 0xAA
    WRITE_AND_VERIFY_12 = 0xAE
    VERIFY_12 = 0xAF
    READ_DEFECT_DATA_12 = 0xB7


class PersistentIn(enum.IntEnum):
    """Service actions of PERSISTENT RESERVE IN (SPC-5 6.15)."""

    READ_KEYS = 0x00
    READ_RESERVATION = 0x01
    REPORT_CAPABILITIES = 0x02
    READ_FULL_STATUS = 0x03


class PersistentOut(enum.IntEnum):
    """Service actions of PERSISTENT RESERVE OUT (SPC-5 6.16)."""

    REGISTER = 0x00
    RESERVE = 0x01
    RELEASE = 0x02
    CLEAR = 0x03
    PREEMPT = 0x04
    PREEMPT_AND_ABORT = 0x05
    REGISTER_AND_IGNORE = 0x06


#: Service actions of other operation codes.
READ_CAPACITY_16 = 0x10
REPORT_SUPPORTED_OPERATION_CODES = 0x0C
REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS = 0x0D


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

    opcode: Opcode
    name: str
    source: str  #: the standard that defines it
    length: int
    fields: Mapping[str, Field] = field(hash=False)
    usage: bytes  #: bits of the CDB that mean something here
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
        for byte, (value, mask) in enumerate(zip(raw, self.usage, strict=True)):
            stray = value & ~mask
            if byte == self.length - 1:
                stray &= 0x3F  # the top bits of CONTROL are vendor specific: ignored
            if stray:
                return invalid_field(byte, stray.bit_length() - 1)
        return Cdb(self.fields, raw)


def _layout(**fields: tuple[int, int, int]) -> Mapping[str, Field]:
    return MappingProxyType({name: Field(*place) for name, place in fields.items()})


def _command(
    opcode: Opcode,
    name: str,
    source: str,
    length: int,
    fields: Mapping[str, Field],
    direction: Direction = Direction.NONE,
    access: Access = Access.OTHER,
    *,
    service_action: int | None = None,
    timeout: int = 10,
    ignores_attention: bool = False,
    barrier: Barrier | None = None,
    harmless: Mapping[str, int] | None = None,
) -> Command:
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
        direction,
        access,
        service_action,
        timeout,
        ignores_attention,
        barrier or _BARRIERS.get(access, Barrier.WRITE),
        MappingProxyType(dict(harmless or {})),
    )


# Medium commands of each length share a layout. RDPROTECT, WRPROTECT and VRPROTECT are not in
# it: without protection information they have to be 0 (SBC-4, "Protection information model").
_CACHE_BITS = {"dpo": (1, 4, 1), "fua": (1, 3, 1)}
_LBA_10 = {"lba": (2, 0, 32), "group_number": (6, 0, 6), "transfer_length": (7, 0, 16)}
_LBA_12 = {"lba": (2, 0, 32), "transfer_length": (6, 0, 32), "group_number": (10, 0, 6)}
_LBA_16 = {"lba": (2, 0, 64), "transfer_length": (10, 0, 32), "group_number": (14, 0, 6)}
_RW_6 = _layout(lba=(1, 0, 21), transfer_length=(4, 0, 8))
_RW_10 = _layout(**_CACHE_BITS, **_LBA_10)
_RW_12 = _layout(**_CACHE_BITS, **_LBA_12)
_RW_16 = _layout(**_CACHE_BITS, **_LBA_16)
_VERIFY_BITS = {"dpo": (1, 4, 1), "bytchk": (1, 1, 2)}
_MODE_PAGE = {
    "dbd": (1, 3, 1),
    "page_control": (2, 6, 2),
    "page_code": (2, 0, 6),
    "subpage_code": (3, 0, 8),
}

_NONE, _IN, _OUT = Direction.NONE, Direction.IN, Direction.OUT
_READ, _WRITE, _FLUSH = Access.READ, Access.WRITE, Access.FLUSH


def _persistent(
    opcode: Opcode,
    actions: type[PersistentIn | PersistentOut],
    direction: Direction,
    **fields: tuple[int, int, int],
) -> tuple[Command, ...]:
    """The rows of PERSISTENT RESERVE IN or OUT.

    What stops them is no matter of the table: a RESERVE stops even its own nexus' (SPC-2
    5.5.2), and what a service action asks for decides on the rest.
    """
    title = opcode.name.replace("_", " ")
    return tuple(
        _command(
            opcode,
            f"{title}, {action.name.replace('_', ' ')}",
            "SPC-5",
            10,
            _layout(**fields),
            direction,
            service_action=action,
        )
        for action in actions
    )


# fmt: off
#: Every command that some unit of ours answers.
TABLE: tuple[Command, ...] = (
    _command(
        Opcode.TEST_UNIT_READY, "TEST UNIT READY", "SPC-5", 6, _layout(),
        barrier=Barrier.RESERVE,
    ),
    _command(
        Opcode.REQUEST_SENSE, "REQUEST SENSE", "SPC-5", 6,
        _layout(desc=(1, 0, 1), allocation_length=(4, 0, 8)),
        _IN, ignores_attention=True,
    ),
    _command(Opcode.READ_6, "READ(6)", "SBC-2", 6, _RW_6, _IN, _READ, timeout=30),
    _command(Opcode.WRITE_6, "WRITE(6)", "SBC-2", 6, _RW_6, _OUT, _WRITE, timeout=30),
    _command(
        Opcode.INQUIRY, "INQUIRY", "SPC-5", 6,
        _layout(evpd=(1, 0, 1), page_code=(2, 0, 8), allocation_length=(3, 0, 16)),
        _IN, ignores_attention=True,
    ),
    # Reservations of extents and for third parties are gone since SPC-2; their bits are refused.
    _command(Opcode.RESERVE_6, "RESERVE(6)", "SPC-2", 6, _layout()),
    _command(Opcode.RELEASE_6, "RELEASE(6)", "SPC-2", 6, _layout()),
    _command(
        Opcode.MODE_SENSE_6, "MODE SENSE(6)", "SPC-5", 6,
        _layout(**_MODE_PAGE, allocation_length=(4, 0, 8)), _IN, barrier=Barrier.READ,
    ),
    _command(
        Opcode.START_STOP_UNIT, "START STOP UNIT", "SBC-4", 6,
        _layout(
            immed=(1, 0, 1), power_condition_modifier=(3, 0, 4), power_condition=(4, 4, 4),
            no_flush=(4, 2, 1), loej=(4, 1, 1), start=(4, 0, 1),
        ), timeout=60, barrier=Barrier.WRITE, harmless={"start": 1, "power_condition": 0},
    ),
    _command(
        Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL, "PREVENT ALLOW MEDIUM REMOVAL", "SBC-4", 6,
        _layout(prevent=(4, 0, 2)), barrier=Barrier.WRITE, harmless={"prevent": 0},
    ),
    _command(
        # The LBA and PMI became obsolete with SBC-3; what older initiators mean by them is kept.
        Opcode.READ_CAPACITY_10, "READ CAPACITY(10)", "SBC-4", 10,
        _layout(lba=(2, 0, 32), pmi=(8, 0, 1)), _IN, barrier=Barrier.RESERVE,
    ),
    _command(Opcode.READ_10, "READ(10)", "SBC-4", 10, _RW_10, _IN, _READ, timeout=30),
    _command(Opcode.WRITE_10, "WRITE(10)", "SBC-4", 10, _RW_10, _OUT, _WRITE, timeout=30),
    _command(
        Opcode.WRITE_AND_VERIFY_10, "WRITE AND VERIFY(10)", "SBC-4", 10,
        _layout(**_VERIFY_BITS, **_LBA_10), _OUT, _WRITE, timeout=60,
    ),
    _command(
        Opcode.VERIFY_10, "VERIFY(10)", "SBC-4", 10,
        _layout(**_VERIFY_BITS, **_LBA_10), _OUT, _READ, timeout=30,
    ),
    _command(
        Opcode.PRE_FETCH_10, "PRE-FETCH(10)", "SBC-4", 10,
        _layout(immed=(1, 1, 1), **_LBA_10), _NONE, _READ, timeout=30,
    ),
    _command(
        Opcode.SYNCHRONIZE_CACHE_10, "SYNCHRONIZE CACHE(10)", "SBC-4", 10,
        _layout(immed=(1, 1, 1), **_LBA_10), _NONE, _FLUSH, timeout=60,
    ),
    _command(
        Opcode.READ_DEFECT_DATA_10, "READ DEFECT DATA(10)", "SBC-4", 10,
        _layout(
            req_plist=(2, 4, 1), req_glist=(2, 3, 1), defect_list_format=(2, 0, 3),
            allocation_length=(7, 0, 16),
        ), _IN, barrier=Barrier.READ,
    ),
    _command(
        Opcode.WRITE_SAME_10, "WRITE SAME(10)", "SBC-4", 10,
        _layout(unmap=(1, 3, 1), **_LBA_10), _OUT, _WRITE, timeout=120,
    ),
    _command(
        Opcode.UNMAP, "UNMAP", "SBC-4", 10,
        _layout(group_number=(6, 0, 6), parameter_list_length=(7, 0, 16)),
        _OUT, _WRITE, timeout=120,
    ),
    _command(Opcode.RESERVE_10, "RESERVE(10)", "SPC-2", 10, _layout()),
    _command(Opcode.RELEASE_10, "RELEASE(10)", "SPC-2", 10, _layout()),
    _command(
        Opcode.MODE_SENSE_10, "MODE SENSE(10)", "SPC-5", 10,
        _layout(llbaa=(1, 4, 1), **_MODE_PAGE, allocation_length=(7, 0, 16)),
        _IN, barrier=Barrier.READ,
    ),
    *_persistent(
        Opcode.PERSISTENT_RESERVE_IN, PersistentIn, _IN, allocation_length=(7, 0, 16),
    ),
    *_persistent(
        Opcode.PERSISTENT_RESERVE_OUT, PersistentOut, _OUT,
        scope=(2, 4, 4), type=(2, 0, 4), parameter_list_length=(5, 0, 32),
    ),
    _command(Opcode.READ_16, "READ(16)", "SBC-4", 16, _RW_16, _IN, _READ, timeout=30),
    _command(
        Opcode.COMPARE_AND_WRITE, "COMPARE AND WRITE", "SBC-4", 16,
        _layout(
            **_CACHE_BITS, lba=(2, 0, 64), number_of_blocks=(13, 0, 8), group_number=(14, 0, 6),
        ), _OUT, Access.EXCLUSIVE, timeout=30,
    ),
    _command(Opcode.WRITE_16, "WRITE(16)", "SBC-4", 16, _RW_16, _OUT, _WRITE, timeout=30),
    _command(
        Opcode.WRITE_AND_VERIFY_16, "WRITE AND VERIFY(16)", "SBC-4", 16,
        _layout(**_VERIFY_BITS, **_LBA_16), _OUT, _WRITE, timeout=60,
    ),
    _command(
        Opcode.VERIFY_16, "VERIFY(16)", "SBC-4", 16,
        _layout(**_VERIFY_BITS, **_LBA_16), _OUT, _READ, timeout=30,
    ),
    _command(
        Opcode.PRE_FETCH_16, "PRE-FETCH(16)", "SBC-4", 16,
        _layout(immed=(1, 1, 1), **_LBA_16), _NONE, _READ, timeout=30,
    ),
    _command(
        Opcode.SYNCHRONIZE_CACHE_16, "SYNCHRONIZE CACHE(16)", "SBC-4", 16,
        _layout(immed=(1, 1, 1), **_LBA_16), _NONE, _FLUSH, timeout=60,
    ),
    _command(
        Opcode.WRITE_SAME_16, "WRITE SAME(16)", "SBC-4", 16,
        _layout(unmap=(1, 3, 1), ndob=(1, 0, 1), **_LBA_16), _OUT, _WRITE, timeout=120,
    ),
    _command(
        Opcode.SERVICE_ACTION_IN_16, "READ CAPACITY(16)", "SBC-4", 16,
        _layout(lba=(2, 0, 64), allocation_length=(10, 0, 32), pmi=(14, 0, 1)),
        _IN, service_action=READ_CAPACITY_16, barrier=Barrier.RESERVE,
    ),
    _command(
        Opcode.REPORT_LUNS, "REPORT LUNS", "SPC-5", 12,
        _layout(select_report=(2, 0, 8), allocation_length=(6, 0, 32)),
        _IN, ignores_attention=True,
    ),
    _command(
        Opcode.MAINTENANCE_IN, "REPORT SUPPORTED OPERATION CODES", "SPC-5", 12,
        _layout(
            rctd=(2, 7, 1), reporting_options=(2, 0, 3), requested_opcode=(3, 0, 8),
            requested_service_action=(4, 0, 16), allocation_length=(6, 0, 32),
        ), _IN, service_action=REPORT_SUPPORTED_OPERATION_CODES,
        barrier=Barrier.READ,
    ),
    _command(
        Opcode.MAINTENANCE_IN, "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", "SPC-5", 12,
        _layout(repd=(2, 7, 1), allocation_length=(6, 0, 32)),
        _IN, service_action=REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS, barrier=Barrier.READ,
    ),
    _command(Opcode.READ_12, "READ(12)", "SBC-4", 12, _RW_12, _IN, _READ, timeout=30),
    _command(Opcode.WRITE_12, "WRITE(12)", "SBC-4", 12, _RW_12, _OUT, _WRITE, timeout=30),
    _command(
        Opcode.WRITE_AND_VERIFY_12, "WRITE AND VERIFY(12)", "SBC-4", 12,
        _layout(**_VERIFY_BITS, **_LBA_12), _OUT, _WRITE, timeout=60,
    ),
    _command(
        Opcode.VERIFY_12, "VERIFY(12)", "SBC-4", 12,
        _layout(**_VERIFY_BITS, **_LBA_12), _OUT, _READ, timeout=30,
    ),
    _command(
        Opcode.READ_DEFECT_DATA_12, "READ DEFECT DATA(12)", "SBC-4", 12,
        _layout(
            req_plist=(1, 4, 1), req_glist=(1, 3, 1), defect_list_format=(1, 0, 3),
            address_descriptor_index=(2, 0, 32), allocation_length=(6, 0, 32),
        ), _IN, barrier=Barrier.READ,
    ),
)
# fmt: on


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


#: What a disk's medium executor is asked to do.
MEDIUM_COMMANDS: tuple[Command, ...] = tuple(c for c in TABLE if c.access is not Access.OTHER)
MEDIUM_OPCODES: frozenset[int] = frozenset(int(c.opcode) for c in MEDIUM_COMMANDS)

_BY_KEY = {command.key: command for command in TABLE}


def command(opcode: Opcode, service_action: int | None = None) -> Command:
    """The table's row of a command; KeyError where it has none."""
    return _BY_KEY[opcode, service_action]
