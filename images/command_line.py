"""The command line of a module that makes something: it is made, and said where it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol, TypeVar

from .errors import RigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Made_co = TypeVar("Made_co", covariant=True)
Made = TypeVar("Made")


class Maker(Protocol[Made_co]):
    """Makes it, and reports each step that takes long."""

    def __call__(self, *, report: Callable[[str], None]) -> Made_co:
        """Make it.

        Raises:
            RigError: it cannot be made.
        """


def run(make: Maker[Made], lines: Callable[[Made], Iterable[object]] = lambda made: (made,)) -> int:
    """Make it, print what `lines` says of it; the exit status."""
    try:
        made = make(report=lambda step: print(step, file=sys.stderr))
    except RigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(*lines(made), sep="\n")
    return 0
