"""Where the tables and keys of a TOML text stand; the standard library's parser does not tell.

TOML 1.0. The text has been accepted by `tomllib` before it comes here, so nothing is checked.
"""

from __future__ import annotations

import tomllib
from typing import TypeAlias

#: Keys and places in arrays from the document's root to a value.
Path: TypeAlias = tuple[str | int, ...]

_BLANK = " \t"
_SPACE = " \t\r\n"
_QUOTES = ('"""', "'''", '"', "'")


def lines_of(text: str) -> dict[Path, int]:
    """The line, counted from 1, that each table, key and element of an array begins in.

    A table that is only mentioned on the way to another one stands where it is first mentioned.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.found


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counts: dict[Path, int] = {}  # arrays of tables, and how many they have so far
        self.found: dict[Path, int] = {(): 1}

    def document(self) -> None:
        table: Path = ()
        while self._skip(_SPACE):
            if self._peek("["):
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        of_array = self._text.startswith("[[", self._at)
        line = self._line
        self._move(2 if of_array else 1)
        *way, last = self._key()
        self._move(2 if of_array else 1)
        table: Path = ()
        for word in way:
            table = self._enter((*table, word), line)
        table = (*table, last)
        if not of_array:
            self._note(table, line)
            return table
        number = self._counts.get(table, 0)
        self._counts[table] = number + 1
        self._note(table, line)
        table = (*table, number)
        self._note(table, line)
        return table

    def _enter(self, table: Path, line: int) -> Path:
        """Go into a table on the way to another; of an array of tables, into its last."""
        self._note(table, line)
        return (*table, self._counts[table] - 1) if table in self._counts else table

    def _pair(self, table: Path) -> None:
        line = self._line
        for word in self._key():
            table = (*table, word)
            self._note(table, line)
        self._move(1)  # =
        self._skip(_BLANK)
        self._value(table)

    def _key(self) -> list[str]:
        words = []
        while True:
            self._skip(_BLANK)
            words.append(self._word())
            self._skip(_BLANK)
            if not self._peek("."):
                return words
            self._move(1)

    def _word(self) -> str:
        start = self._at
        if self._text[start] in "\"'":
            self._string()
            # Escapes are the parser's own to read.
            return str(tomllib.loads(f"word = {self._text[start : self._at]}")["word"])
        while self._text[self._at] not in f"{_SPACE}.=]":
            self._move(1)
        return self._text[start : self._at]

    def _value(self, path: Path) -> None:
        if self._peek("{"):
            self._inline_table(path)
        elif self._peek("["):
            self._array(path)
        elif self._peek('"', "'"):
            self._string()
        else:
            while self._at < len(self._text) and not self._peek(",", "]", "}", "#", "\n"):
                self._move(1)

    def _inline_table(self, path: Path) -> None:
        self._move(1)
        while not self._skip_to("}"):
            self._pair(path)
            self._skip_comma()
        self._move(1)

    def _array(self, path: Path) -> None:
        self._move(1)
        number = 0
        while not self._skip_to("]"):
            self._note((*path, number), self._line)
            self._value((*path, number))
            self._skip_comma()
            number += 1
        self._move(1)

    def _string(self) -> None:
        quotes = next(one for one in _QUOTES if self._text.startswith(one, self._at))
        self._move(len(quotes))
        while not self._text.startswith(quotes, self._at):
            self._move(2 if quotes[0] == '"' and self._peek("\\") else 1)
        self._move(len(quotes))
        # Up to two quotes may stand before the three that end it.
        while len(quotes) == 3 and self._peek(quotes[0]):
            self._move(1)

    def _skip_to(self, end: str) -> bool:
        self._skip(_SPACE)
        return self._peek(end)

    def _skip_comma(self) -> None:
        self._skip(_SPACE)
        if self._peek(","):
            self._move(1)

    def _skip(self, space: str) -> bool:
        """Skip space and comments; whether anything follows."""
        while self._at < len(self._text):
            if self._peek("#"):
                while self._at < len(self._text) and not self._peek("\n"):
                    self._move(1)
            elif self._text[self._at] in space:
                self._move(1)
            else:
                return True
        return False

    def _peek(self, *characters: str) -> bool:
        return self._text.startswith(characters, self._at)

    def _move(self, count: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def _note(self, path: Path, line: int) -> None:
        self.found.setdefault(path, line)
