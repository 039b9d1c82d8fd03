"""What people call commands.

A name is written as the standards have it, but in any case, and with any punctuation:
`READ(10)`, `read-10` and `READ_10` are one name, so that a shell needs no quotes.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.errors import ConfigurationError

from . import opcodes
from .codes import ChangerOpcode, MultimediaOpcode, Opcode, SequentialOpcode

if TYPE_CHECKING:
    from collections.abc import Mapping

#: An operation code with a service action; one of None stands for all of them.
CommandKey: TypeAlias = tuple[int, int | None]
CommandKeys: TypeAlias = frozenset[CommandKey]


def plain(name: str) -> str:
    """Spell a name in the one way that is looked up."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


#: Where two kinds of units mean different things by one number, the first has its name.
_TABLES = (opcodes.TABLE, opcodes.SEQUENTIAL, opcodes.CHANGER, opcodes.MULTIMEDIA)
_CODES = (*Opcode, *SequentialOpcode, *ChangerOpcode, *MultimediaOpcode)


def _commands() -> dict[str, CommandKeys]:
    """Every name of the table, and those that stand for several commands."""
    keys: dict[str, set[tuple[int, int | None]]] = {}
    for code in _CODES:
        keys.setdefault(plain(code.name), set()).add((code, None))
    for command in itertools.chain(*_TABLES):
        whole = plain(command.name)
        # READ stands for READ(6) to READ(16), PERSISTENT RESERVE IN for all it can be asked.
        family = plain(command.name.partition(",")[0])
        for name in {whole, family, re.sub(r"-(6|10|12|16|32)$", "", whole)}:
            keys.setdefault(name, set()).add(command.key)
    return {name: frozenset(known) for name, known in keys.items()}


COMMANDS: Mapping[str, CommandKeys] = _commands()


def parse_commands(text: str) -> CommandKeys:
    """Read names or numbers of commands, with + in between.

    Raises:
        ConfigurationError: one is none.
    """
    return frozenset().union(*(_command(word) for word in text.split("+")))


def _command(word: str) -> CommandKeys:
    if known := COMMANDS.get(plain(word)):
        return known
    number = re.fullmatch(r"0x([0-9a-f]{1,2})(?:/0x([0-9a-f]{1,4}))?", word.lower(), re.ASCII)
    if number is None:
        raise ConfigurationError(
            f"{word!r} is no command",
            hint="a name, like read, write-10 or report-luns, or a number, like 0x28 or 0x9e/0x10",
        )
    return frozenset({(int(number[1], 16), int(number[2], 16) if number[2] else None)})


def name_of(opcode: int, service_action: int | None) -> str:
    """What the tables call a command, in small letters with hyphens; else its numbers."""
    for command in itertools.chain(*_TABLES):
        if command.key == (opcode, service_action):
            return plain(command.name)
    for code in _CODES:
        if code == opcode and service_action is None:
            return plain(code.name)
    return f"{opcode:#04x}" + ("" if service_action is None else f"/{service_action:#04x}")
