"""Fault rules as text, `KEY=VALUE:KEY=VALUE:...`, and as the tables of a rules file."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.scsi import opcodes
from vhost_pvscsi.scsi.names import CommandKeys, parse_commands
from vhost_pvscsi.scsi.request import Status

from .names import parse_sense, parse_status, parse_transport
from .rule import Extent, Rule
from .subject import can_be_corrupt, can_be_short, has_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vhost_pvscsi.scsi.command import Command

_LAST_LBA = (1 << 64) - 1
#: Counts and seeds; nobody waits for more commands than this.
_MAX_COUNT = (1 << 63) - 1
_MAX_DELAY = 3600.0
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
#: Most bytes of a rule that an error repeats.
_SHOWN = 200


def parse_rule(text: str) -> Rule:
    """Read a rule: keys with values and words without, a colon between any two.

    Raises:
        ConfigurationError: a piece of it cannot be used, or they do not go together.
    """
    pieces = []
    for piece in text.split(":"):
        key, has_value, value = piece.partition("=")
        pieces.append((key.strip(), value.strip() if has_value else None))
    return _rule(f"fault rule {text[:_SHOWN]!r}", text, pieces)


def parse_rules(text: str, *, of: str) -> tuple[Rule, ...]:
    """Read a rules file, TOML: a table [[rule]] for each, with the keys of `parse_rule`.

    `of` is its name, for messages.

    Raises:
        ConfigurationError: it is no TOML, or a rule cannot be used.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(
            f"{of}: is no TOML: {str(error) or 'nested too deep'}",
            hint="a table [[rule]] for each rule",
        ) from error
    rules = document.pop("rule", [])
    if document or not isinstance(rules, list) or not all(isinstance(one, dict) for one in rules):
        what = repr(next(iter(document))[:_SHOWN]) if document else "rule"
        raise ConfigurationError(
            f"{of}: {what} is no table [[rule]]", hint='[[rule]], and below it opcode = "read" ...'
        )
    return tuple(
        _of_table(table, f"{of}: rule {number}") for number, table in enumerate(rules, start=1)
    )


def _of_table(table: Mapping[str, Any], where: str) -> Rule:
    pieces = [
        (key, _as_text(key, value, where)) for key, value in table.items() if value is not False
    ]
    spelled = ":".join(key if value is None else f"{key}={value}" for key, value in pieces)
    return _rule(where, spelled, pieces)


def _as_text(key: str, value: object, where: str) -> str | None:
    """Spell a TOML value as the text of a rule has it; None: the key stands alone."""
    if value is True:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:#x}" if key == "opcode" else str(value)
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, list) and value:
        return "+".join(str(_as_text(key, one, where)) for one in value)
    raise ConfigurationError(
        f"{where}: {key[:_SHOWN]} has a value of no use", hint="text, a number, or true"
    )


def _rule(where: str, text: str, pieces: Iterable[tuple[str, str | None]]) -> Rule:
    values: dict[str, Any] = {}
    seen = set()
    for key, value in pieces:
        piece = key if value is None else f"{key}={value}"
        if key not in _KEYS:
            raise ConfigurationError(
                f"{where}: {key[:_SHOWN]!r} is not known", hint=f"a rule has {', '.join(_KEYS)}"
            )
        if key in seen:
            raise ConfigurationError(f"{where}: {key} is given twice", hint="say it once")
        seen.add(key)
        member, read, alone = _KEYS[key]
        if value is None and alone is None:
            raise ConfigurationError(f"{where}: {key} has no value", hint=f"{key}=...")
        if value is not None and read is None:
            raise ConfigurationError(
                f"{where}: {piece[:_SHOWN]}: {key} takes no value", hint=f"{key} alone"
            )
        try:
            values[member] = alone if value is None or read is None else read(value)
        except ConfigurationError as error:
            message = f"{where}: {piece[:_SHOWN]}: {error}"
            raise ConfigurationError(message, hint=error.hint) from None
    _complete(values, seen)
    rule = Rule(text, **values)
    _check(rule, where)
    return rule


def _complete(values: dict[str, Any], seen: set[str]) -> None:
    """Fill in what follows from the keys that were given."""
    if "sense" in values:
        values.setdefault("status", Status.CHECK_CONDITION)
    if "every" in seen:
        values.setdefault("nth", values["every"])
    elif "nth" in seen:
        # The nth alone, and not all that follow.
        values.setdefault("times", 1)


def _check(rule: Rule, where: str) -> None:
    moves = rule.short is not None or rule.corrupt > 0
    answers = rule.status is not None
    if not (rule.delay or rule.hang or rule.transport is not None or answers or moves):
        raise ConfigurationError(
            f"{where}: does nothing",
            hint="it wants one of delay, hang, transport, status, sense, short, corrupt",
        )
    if rule.transport is not None and (answers or moves):
        raise ConfigurationError(
            f"{where}: transport goes with no other end", hint="only delay and hang go with it"
        )
    if answers and rule.corrupt:
        raise ConfigurationError(
            f"{where}: corrupt and a status do not go together", hint="make two rules of it"
        )
    for key, wanted, possible in (
        ("lba", rule.lba is not None, has_blocks),
        ("short", rule.short is not None, can_be_short),
        ("corrupt", rule.corrupt > 0, can_be_corrupt),
    ):
        if wanted and not any(map(possible, _rows(rule.commands))):
            raise ConfigurationError(
                f"{where}: {key} does not apply to these commands",
                hint=f"{key} is for {_GOOD_FOR[key]}",
            )


_GOOD_FOR = {
    "lba": "commands that name blocks, like read, write or verify",
    "short": "read, write, write-and-verify, and commands that only return data",
    "corrupt": "commands that return, store or send data, like read, write or inquiry",
}


def _rows(keys: CommandKeys | None) -> list[Command]:
    if keys is None:
        return list(opcodes.TABLE)
    return [command for command in opcodes.TABLE if {command.key, (command.opcode, None)} & keys]


def _number(text: str, least: int, most: int) -> int:
    match = re.fullmatch(r"0x[0-9a-f]{1,16}|[0-9]{1,20}", text.lower(), re.ASCII)
    number = int(match[0], 16 if match[0].startswith("0x") else 10) if match else -1
    if not least <= number <= most:
        raise ConfigurationError(
            f"{text!r} is no number that fits", hint=f"{least} to {most}, or hexadecimal with 0x"
        )
    return number


def _lba(text: str) -> Extent:
    extent = _read_extent(text)
    if extent is None:
        raise ConfigurationError(
            f"{text!r} is no range of blocks",
            hint="100 (one block), 100-200 (200 too), 100+8 (8 blocks) or 100- (to the end)",
        )
    return extent


def _read_extent(text: str) -> Extent | None:
    match = re.fullmatch(r"(\w+)(?:(-)(\w*)|\+(\w+))?", text, re.ASCII)
    try:
        return _extent(*match.groups()) if match else None
    except ConfigurationError:
        return None


def _extent(start: str, dash: str | None, end: str | None, count: str | None) -> Extent:
    first = _number(start, 0, _LAST_LBA)
    if count is not None:
        return Extent(first, first + _number(count, 1, _LAST_LBA) - 1)
    if end:
        return Extent(first, _number(end, first, _LAST_LBA))
    return Extent(first, None if dash else first)


def _count(text: str) -> int:
    return _number(text, 1, _MAX_COUNT)


def _bytes(text: str) -> int:
    return _number(text, 0, _MAX_COUNT)


def _probability(text: str) -> float:
    match = re.fullmatch(r"[0-9]{0,20}\.?[0-9]{1,20}(e-[0-9]{1,2})?", text.lower(), re.ASCII)
    chance = float(match[0]) if match else 0.0
    if not 0 < chance <= 1:
        raise ConfigurationError(f"{text!r} is no probability", hint="above 0 and up to 1: 0.01")
    return chance


def _delay(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,12})(us|ms|s)", text, re.ASCII)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else -1.0
    if not 0 < seconds <= _MAX_DELAY:
        raise ConfigurationError(
            f"{text!r} is no delay",
            hint="a number with us, ms or s, up to an hour: 500us, 30s",
        )
    return seconds


#: Key -> the member of `Rule`, what reads its value (None: it has none), and what it means
#: without one (None: it needs one).
_KEYS: Mapping[str, tuple[str, Callable[[str], object] | None, object]] = {
    "opcode": ("commands", parse_commands, None),
    "lba": ("lba", _lba, None),
    "nth": ("nth", _count, None),
    "every": ("every", _count, None),
    "times": ("times", _count, None),
    "probability": ("probability", _probability, None),
    "seed": ("seed", _bytes, None),
    "delay": ("delay", _delay, None),
    "hang": ("hang", None, True),
    "transport": ("transport", parse_transport, None),
    "status": ("status", parse_status, None),
    "sense": ("sense", parse_sense, None),
    "short": ("short", _bytes, None),
    "corrupt": ("corrupt", _count, 1),
}
