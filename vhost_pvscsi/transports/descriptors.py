"""FdSet: file descriptors that came with a message, owned from the moment they arrive."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType


class FdSet:
    """Owns descriptors until somebody takes them over with `steal`, or closes them."""

    def __init__(self, descriptors: Iterable[int] = ()) -> None:
        self._descriptors = tuple(descriptors)

    def __len__(self) -> int:
        return len(self._descriptors)

    def add(self, descriptors: Iterable[int]) -> None:
        """Own these too."""
        self._descriptors += tuple(descriptors)

    def peek(self) -> tuple[int, ...]:
        """Look at them; they stay owned by this set."""
        return self._descriptors

    def steal(self) -> tuple[int, ...]:
        """Take all of them over: the caller owns them now."""
        descriptors, self._descriptors = self._descriptors, ()
        return descriptors

    def close(self) -> None:
        """Close those that nobody took."""
        close_all(self.steal())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors, all of them even where one complains."""
    for descriptor in descriptors:
        try:
            os.close(descriptor)
        except OSError:
            # close(2) frees the number in any case; EIO here is the front-end's file's trouble.
            continue
