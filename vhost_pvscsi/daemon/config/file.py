"""The text of a configuration file, read whole, with the places of everything in it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vhost_pvscsi.errors import DeviceError

from .lines import lines_of
from .mistakes import Mistake, MistakesError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from . import lines

#: Largest file that is read, in bytes: tens of thousands of LUNs.
MAX_FILE = 4 << 20


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says, and where."""

    path: Path
    content: Mapping[str, Any]
    lines: Mapping[lines.Path, int]

    @property
    def folder(self) -> Path:
        """What relative paths in it are relative to."""
        return self.path.absolute().parent

    def place(self, *keys: str | int) -> str:
        """Where a value stands, as FILE:LINE; or what it should be in, where it is missing."""
        while keys not in self.lines:
            keys = keys[:-1]
        return f"{self.path}:{self.lines[keys]}"


def load(path: Path) -> Document:
    """Read a file.

    Raises:
        DeviceError: it cannot be read.
        MistakesError: it is no TOML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise DeviceError(
            f"{path}: {error.strerror or error}", hint="--config FILE, a configuration, TOML"
        ) from error
    if len(data) > MAX_FILE:
        raise MistakesError([Mistake(str(path), "is too long", f"at most {MAX_FILE} bytes")])
    try:
        text = data.decode("utf-8")
        return Document(path, tomllib.loads(text), lines_of(text))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MistakesError([Mistake(f"{path}:{line}", "is not UTF-8", "TOML is")]) from error
    except tomllib.TOMLDecodeError as error:
        raise MistakesError([_no_toml(path, text, error)]) from error
    except RecursionError as error:
        raise MistakesError([Mistake(str(path), "is nested too deep")]) from error


def _no_toml(path: Path, text: str, error: tomllib.TOMLDecodeError) -> Mistake:
    # "Expected ... (at line 3, column 7)"; only the end of the text is told in words.
    message, _, where = str(error).partition(" (at ")
    number = where.removeprefix("line ").partition(",")[0]
    line = int(number) if number.isdigit() else text.rstrip("\n").count("\n") + 1
    return Mistake(f"{path}:{line}", f"is no TOML: {message}", "docs/config.md has an example")
