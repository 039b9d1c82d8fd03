"""The table of commands: each is described once, in `rows/`.

Dispatch, the check of reserved bits, REPORT SUPPORTED OPERATION CODES, the opcodes that go to
the medium executor and `docs/commands.md` are read from it. A new command begins with a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .command import Access, Command
from .rows import blocks, copying, primary, reservations

if TYPE_CHECKING:
    from .codes import Opcode

#: Every command that some unit of ours answers, in numeric order.
TABLE: tuple[Command, ...] = tuple(
    sorted(
        (*primary.ROWS, *blocks.ROWS, *reservations.ROWS, *copying.ROWS),
        key=lambda command: (command.opcode, command.service_action or 0),
    )
)

#: What a disk's medium executor is asked to do.
MEDIUM_COMMANDS: tuple[Command, ...] = tuple(c for c in TABLE if c.access is not Access.OTHER)
MEDIUM_OPCODES: frozenset[int] = frozenset(int(c.opcode) for c in MEDIUM_COMMANDS)

_BY_KEY = {command.key: command for command in TABLE}


def command(opcode: Opcode, service_action: int | None = None) -> Command:
    """The table's row of a command; KeyError where it has none."""
    return _BY_KEY[opcode, service_action]
