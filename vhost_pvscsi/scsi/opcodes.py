"""The table of commands: each is described once, in `rows/`.

Dispatch, the check of reserved bits, REPORT SUPPORTED OPERATION CODES, the opcodes that go to
the medium executor and `docs/commands.md` are read from it. A new command begins with a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import Opcode
from .command import Access, Command
from .rows import (
    blocks,
    copying,
    medium_changer,
    multimedia,
    primary,
    reservations,
    sequential,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .codes import ChangerOpcode, MultimediaOpcode, SequentialOpcode


def _ordered(rows: Iterable[Command]) -> tuple[Command, ...]:
    return tuple(sorted(rows, key=lambda command: (command.opcode, command.service_action or 0)))


#: Every command that a disk of ours answers, in numeric order.
TABLE: tuple[Command, ...] = _ordered(
    (*primary.ROWS, *blocks.ROWS, *reservations.ROWS, *copying.ROWS)
)
#: Every command that a tape of ours answers. One operation code may mean one thing here and another
#: there.
SEQUENTIAL: tuple[Command, ...] = _ordered((*primary.ROWS, *sequential.ROWS, *reservations.ROWS))
#: Every command that a changer of ours answers.
CHANGER: tuple[Command, ...] = _ordered((*primary.ROWS, *medium_changer.ROWS, *reservations.ROWS))

#: By MMC-6 these two codes are SEND KEY and REPORT KEY, which a drive without keys does not have.
_NOT_MULTIMEDIA = frozenset({Opcode.MAINTENANCE_IN, Opcode.MAINTENANCE_OUT})
#: Every command that a CD or DVD drive of ours answers.
MULTIMEDIA: tuple[Command, ...] = _ordered(
    (
        *(row for row in primary.ROWS if row.opcode not in _NOT_MULTIMEDIA),
        *multimedia.ROWS,
        *reservations.ROWS,
    )
)

#: What a disk's medium executor is asked to do.
MEDIUM_COMMANDS: tuple[Command, ...] = tuple(c for c in TABLE if c.access is not Access.OTHER)
MEDIUM_OPCODES: frozenset[int] = frozenset(int(c.opcode) for c in MEDIUM_COMMANDS)

#: What a tape's is asked to do.
TAPE_OPCODES: frozenset[int] = frozenset(
    int(c.opcode) for c in SEQUENTIAL if c.access is not Access.OTHER
)

#: What that of a disc is asked to do.
DISC_OPCODES: frozenset[int] = frozenset(
    int(c.opcode) for c in MULTIMEDIA if c.access is not Access.OTHER
)

_BY_KEY = {command.key: command for command in TABLE}
_SEQUENTIAL_BY_KEY = {command.key: command for command in SEQUENTIAL}
_MULTIMEDIA_BY_KEY = {command.key: command for command in MULTIMEDIA}
_CHANGER_BY_KEY = {command.key: command for command in CHANGER}


def medium_command_name(opcode: int, opcodes: frozenset[int]) -> str:
    """What a medium's command is called, by the medium's operation codes; else its number."""
    table = {TAPE_OPCODES: SEQUENTIAL, DISC_OPCODES: MULTIMEDIA}.get(opcodes, TABLE)
    known = (c for c in table if c.opcode == opcode and c.access is not Access.OTHER)
    return next((str(c) for c in known), f"{opcode:02X}h")


def command(opcode: Opcode, service_action: int | None = None) -> Command:
    """The table's row of a command; KeyError where it has none."""
    return _BY_KEY[opcode, service_action]


def tape_command(opcode: Opcode | SequentialOpcode, service_action: int | None = None) -> Command:
    """The row of a command of tapes; KeyError where it has none."""
    return _SEQUENTIAL_BY_KEY[opcode, service_action]


def disc_command(opcode: Opcode | MultimediaOpcode, service_action: int | None = None) -> Command:
    """The row of a command of CD and DVD drives; KeyError where it has none."""
    return _MULTIMEDIA_BY_KEY[opcode, service_action]


def changer_command(opcode: Opcode | ChangerOpcode, service_action: int | None = None) -> Command:
    """The row of a command of changers; KeyError where it has none."""
    return _CHANGER_BY_KEY[opcode, service_action]
