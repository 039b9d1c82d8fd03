"""What each row was lately, and a graph of it in one line of text."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: How many values are kept of a row: as many as the widest graph shows.
LENGTH = 60

BLOCKS = "▁▂▃▄▅▆▇█"
#: For terminals that have no other characters.
ASCII = "_.-=+*%#"


class History:
    """The latest values of rows by name; rows that are gone are forgotten."""

    def __init__(self, length: int = LENGTH) -> None:
        self._length = length
        self._rows: dict[str, deque[float]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """Take the next value of each row."""
        self._rows = {name: self._rows.get(name) or deque(maxlen=self._length) for name in values}
        for name, value in values.items():
            self._rows[name].append(value)

    def of(self, name: str) -> tuple[float, ...]:
        """The values of a row, the latest last."""
        return tuple(self._rows.get(name, ()))


def sparkline(values: Iterable[float], width: int, levels: str = BLOCKS) -> str:
    """Draw the last `width` values, each as high as it is beside the highest of them.

    Nothing is a space, the least that there is the lowest level; the latest is at the right.
    """
    shown = list(values)[-width:]
    highest = max(shown, default=0.0)
    drawn = "".join(
        levels[min(int(value / highest * len(levels)), len(levels) - 1)] if value > 0 else " "
        for value in shown
    )
    return drawn.rjust(width)
