"""Reads `[[auto-attach]]`: rules by which devices of the host are attached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vhost_pvscsi.daemon.following.rules import (
    CONDITIONS,
    Rule,
    check_pattern,
    check_template,
)
from vhost_pvscsi.devices.lun_options import OPTION_NAMES, parse_options
from vhost_pvscsi.devices.pdev import absolute_pdev, join_commas, parse_pdev, split_commas
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import Address

from .mistakes import SHOWN

if TYPE_CHECKING:
    from .file import Document
    from .notes import Notes, Place, Table

TABLE = "auto-attach"
#: A device of which nothing but that it is forwarded matters: options are checked with it.
_ANY = "serial:any"
#: Names of a LUN's options that are conditions here. What is the same for all devices of a rule
#: would be no name.
_CONDITIONS_FIRST = frozenset({"serial", "wwn", "vendor", "product"})
_OPTIONS = tuple(
    name for name in OPTION_NAMES if name not in _CONDITIONS_FIRST and name != "forward"
)


def read_rules(document: Document, notes: Notes) -> tuple[Rule, ...]:
    """Read all of them; what is wrong is noted."""
    rules: list[Rule] = []
    for at, table in notes.tables(TABLE):
        _rule(rules, document, notes, at, table)
    return tuple(rules)


def _rule(rules: list[Rule], document: Document, notes: Notes, at: Place, table: Table) -> None:
    before = len(notes.mistakes)
    table = notes.known(at, table, ("vdev", *CONDITIONS, *_OPTIONS))
    vdev = table.pop("vdev", None)
    if isinstance(vdev, str):
        with notes.noting((*at, "vdev"), f"[[{TABLE}]] "):
            check_template(vdev)
    else:
        right = 'an address, in which {n} counts: "0:0:{n}:0"'
        notes.wrong((*at, "vdev"), f"[[{TABLE}]] vdev is missing, or no text", right)
    conditions = []
    for name in CONDITIONS:
        if name in table:
            with notes.noting((*at, name), f"[[{TABLE}]] "):
                conditions.append((name, _patterns(name, table.pop(name))))
    if not conditions and len(notes.mistakes) == before:
        notes.wrong(at, f"[[{TABLE}]] has no condition", f"at least one of {', '.join(CONDITIONS)}")
    options = {name: value for name, value in table.items() if name in _OPTIONS}
    words = notes.words(at, options.items(), lambda word: parse_options([word]))
    if len(notes.mistakes) != before:
        return
    with notes.noting(at, f"[[{TABLE}]] "):
        text = absolute_pdev(join_commas((_ANY, *words)), document.folder)
        parse_pdev(Address(0, 0, 0, 0), text)
        more = tuple(split_commas(text)[1:])
        rules.append(Rule(str(vdev), tuple(conditions), more, document.place(*at)))


def _patterns(name: str, value: object) -> tuple[str, ...]:
    values: list[Any] = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, str) for one in values):
        raise ConfigurationError(
            f"{name}: {str(value)[:SHOWN]} cannot be used",
            hint=f'a pattern or a list of them, in quotes: {name} = "LTO*"',
        )
    return tuple(check_pattern(name, one) for one in values)
