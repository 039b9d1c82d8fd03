"""Latencies as histograms: what is between two of them, and their quantiles."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by latency. Trailing buckets that are empty may be missing.

    Bucket N counts what took at most `bounds[N]` seconds and longer than the bound before; one
    more than there are bounds counts what took longer than the last.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        """How many were counted."""
        return sum(self.counts)

    def since(self, before: Histogram) -> Histogram:
        """What was counted since `before`; nothing is negative, whatever `before` is."""
        return self._combined(before, -1)

    def plus(self, other: Histogram) -> Histogram:
        """What both have counted."""
        return self._combined(other, 1)

    def _combined(self, other: Histogram, sign: int) -> Histogram:
        if other.bounds != self.bounds:
            return self
        pairs = itertools.zip_longest(self.counts, other.counts, fillvalue=0)
        return Histogram(self.bounds, tuple(max(0, one + sign * two) for one, two in pairs))

    def quantile(self, share: float) -> float | None:
        """The latency in seconds that `share` (0 to 1) of all were within; None: of none at all.

        Within a bucket latencies are taken to be spread evenly, as Prometheus' histogram_quantile
        does, so that both say the same. Of what took longer than the last bound nothing is known
        but that: infinity.
        """
        wanted = share * self.total
        if not self.counts or not self.total:
            return None
        seen = 0
        for number, count in enumerate(self.counts):
            if count and seen + count >= wanted:
                return self._within(number, (wanted - seen) / count)
            seen += count
        return math.inf  # rounding only: `wanted` is not more than all of them

    def _within(self, number: int, share: float) -> float:
        if number >= len(self.bounds):
            return math.inf
        low = self.bounds[number - 1] if number else 0.0
        return low + (self.bounds[number] - low) * share


def merged(bounds: tuple[float, ...], histograms: Sequence[Histogram]) -> Histogram:
    """What all of them have counted."""
    columns = itertools.zip_longest(*(one.counts for one in histograms), fillvalue=0)
    return Histogram(bounds, tuple(map(sum, columns)))
