"""What a guest can make happen as often as it likes, and the log shall have once in a while."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

#: Seconds in which the same thing is told once.
PAUSE = 60.0
#: What is remembered at once. Beyond it the oldest is forgotten, and told again when it recurs.
_MOST = 4096

K = TypeVar("K", bound="Hashable")


@dataclass(slots=True)
class _Told:
    again: float  #: not before that moment
    unsaid: int = 0


class Repeats(Generic[K]):
    """When each thing was last told, and how often it happened since."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[K, _Told] = {}

    def happened(self, key: K) -> int | None:
        """Count one; return how many before it were not told, or None: do not tell this one."""
        now = self._clock()
        told = self._told.get(key)
        if told is not None and now < told.again:
            told.unsaid += 1
            return None
        self._told.pop(key, None)
        if len(self._told) >= _MOST:
            del self._told[next(iter(self._told))]
        self._told[key] = _Told(now + PAUSE)
        return told.unsaid if told else 0

    def forget(self, concerned: Callable[[K], bool]) -> None:
        """Forget all keys for which that is true."""
        for key in [key for key in self._told if concerned(key)]:
            del self._told[key]


def more(unsaid: int) -> str:
    """Return how a line ends that stands for so many others, too."""
    return f"; {unsaid} more since the last line" if unsaid else ""
