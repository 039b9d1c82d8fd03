"""What is wrong with a configuration file: all of it at once, each with its line."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import REFUSED, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: How much of a wrong value a message repeats, in characters.
SHOWN = 60


@dataclass(frozen=True, slots=True)
class Mistake:
    """One of them."""

    place: str  #: FILE:LINE
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class MistakesError(ConfigurationError):
    """A configuration that cannot be used, with everything that is wrong with it."""

    def __init__(self, mistakes: Sequence[Mistake], *, refused: bool = False) -> None:
        """Say all of it; `refused`: what was asked is right in itself, and cannot be had here."""
        super().__init__("; ".join(map(str, mistakes)))
        if refused:
            self.exit_status = REFUSED
        self.mistakes = tuple(mistakes)

    def told(self) -> str:
        """One line for each, and below it what would be right."""
        lines = []
        for mistake in self.mistakes:
            lines.append(f"error: {mistake.place}: {mistake.message}")
            if mistake.hint:
                lines.append(f"hint: {mistake.hint}")
        return "\n".join(lines)


def not_known(what: str, name: str, known: Iterable[str]) -> tuple[str, str]:
    """Say that there is no such name, and which is nearest; message and hint."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"{near[0]!r} is; all are {', '.join(names)}" if near else f"known: {', '.join(names)}"
    return f"{what}{name[:SHOWN]!r} is not known", hint
