"""Gathers what is wrong with a document, while it is read."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ConfigurationError

from .mistakes import SHOWN, Mistake, not_known

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from typing import Any

    from .file import Document

    Table = Mapping[str, Any]
    Place = tuple[str | int, ...]


class Notes:
    """The mistakes of a document, each where it stands."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.mistakes: list[Mistake] = []

    def wrong(self, at: Place, message: str, hint: str | None = None) -> None:
        """Note a mistake."""
        self.mistakes.append(Mistake(self._document.place(*at), message, hint))

    @contextlib.contextmanager
    def noting(self, at: Place, what: str = "") -> Iterator[None]:
        """Note the mistake that is raised in here, and go on after it; `what` stands before it."""
        try:
            yield
        except ConfigurationError as error:
            self.wrong(at, f"{what}{error}", error.hint)

    def tables(self, name: str) -> Iterator[tuple[Place, Table]]:
        """Every table of an array of tables, and its place."""
        tables = self._document.content.get(name, [])
        if not isinstance(tables, list):
            self.wrong((name,), f"{name} is no list of tables", f"begin each with [[{name}]]")
            return
        for number, table in enumerate(tables):
            if isinstance(table, dict):
                yield (name, number), table
            else:
                self.wrong((name, number), f"{name} is no table", f"begin it with [[{name}]]")

    def known(self, at: Place, table: Table, names: Collection[str]) -> dict[str, Any]:
        """What a table has under these names; others are mistakes."""
        for name in table:
            if name not in names:
                self.wrong((*at, name), *not_known(f"[[{at[0]}]] ", name, names))
        return {name: value for name, value in table.items() if name in names}

    def words(
        self, at: Place, options: Iterable[tuple[str, object]], check: Callable[[str], object]
    ) -> list[str]:
        """Write options as on the command line, `name=value` each; those that are good."""
        words = []
        for name, value in options:
            many = isinstance(value, list)
            for number, one in enumerate(value) if isinstance(value, list) else [(0, value)]:
                place = (*at, name, number) if many else (*at, name)
                with self.noting(place, f"[[{at[0]}]] "):
                    word = _word(name, one)
                    check(word)
                    words.append(word)
        return words


def _word(name: str, value: object) -> str:
    if isinstance(value, bool):
        return name if value else f"{name}=off"
    if isinstance(value, str | int):
        return f"{name}={value}"
    raise ConfigurationError(
        f"{name}: {str(value)[:SHOWN]} cannot be used",
        hint="text, a whole number, true or false, or a list of them",
    )
