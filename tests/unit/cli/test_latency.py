"""Histograms of latency: differences and quantiles."""

from __future__ import annotations

import math

import pytest

from vhost_pvscsi.cli.latency import Histogram, merged

BOUNDS = (0.001, 0.002, 0.004)


def histogram(*counts: int) -> Histogram:
    return Histogram(BOUNDS, counts)


@pytest.mark.parametrize(
    ("counts", "share", "seconds"),
    [
        ((), 0.5, None),
        ((0, 0, 0, 0), 0.5, None),
        ((10,), 0.5, 0.0005),  # the first bucket begins at nothing
        ((0, 10), 0.5, 0.0015),
        ((0, 10), 1.0, 0.002),
        ((0, 0, 100), 0.99, 0.00398),
        ((1, 1, 0, 0), 0.5, 0.001),  # exactly on a bound
        ((1, 0, 1), 0.75, 0.003),  # empty buckets hold no quantile
        ((0, 0, 0, 1), 0.5, math.inf),  # longer than the last bound: nobody knows how long
        ((99, 0, 0, 1), 0.99, 0.001),
        ((98, 0, 0, 2), 0.99, math.inf),
    ],
)
def test_quantiles_lie_evenly_within_a_bucket(
    counts: tuple[int, ...], share: float, seconds: float | None
) -> None:
    found = histogram(*counts).quantile(share)
    assert found == (seconds if seconds is None else pytest.approx(seconds))


def test_a_difference_counts_what_came_since() -> None:
    assert histogram(5, 7, 1).since(histogram(5, 3)).counts == (0, 4, 1)
    assert histogram(5, 7).since(histogram()).counts == (5, 7)


def test_a_difference_is_never_negative() -> None:
    assert histogram(1).since(histogram(5, 3)).counts == (0, 0)


def test_other_bounds_are_another_daemon_s() -> None:
    assert histogram(1, 2).since(Histogram((1.0,), (1,))).counts == (1, 2)


def test_several_are_merged() -> None:
    assert merged(BOUNDS, [histogram(1), histogram(2, 3), histogram()]).counts == (3, 3)
    assert merged(BOUNDS, []).total == 0
