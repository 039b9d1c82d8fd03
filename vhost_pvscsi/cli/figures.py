"""Figures as short as a column of a table has room for: at most six characters."""

from __future__ import annotations

import math


def count(value: float) -> str:
    """Say a number or a rate: 0, 0.25, 12.5, 8231, 45.1k, 2.30M."""
    if value == 0:
        return "0"
    for limit, divisor, unit in ((1e4, 1.0, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M")):
        if value < limit:
            return f"{_digits(value / divisor)}{unit}"
    return f"{_digits(value / 1e9)}G"


def megabytes(bytes_: float) -> str:
    """Say bytes as MB: millions of them, as disks and iostat count."""
    return count(bytes_ / 1e6)


def seconds(value: float | None, longest: float = math.inf) -> str:
    """Say a latency: 85us, 1.24ms, 2.50s; "-": there is none; infinity: more than `longest`."""
    if value is None:
        return "-"
    if math.isinf(value):
        return f">{seconds(longest)}" if math.isfinite(longest) else ">"
    for limit, divisor, unit in ((1e-3, 1e-6, "us"), (1.0, 1e-3, "ms")):
        if value < limit:
            return f"{_digits(value / divisor)}{unit}"
    return f"{_digits(value)}s"


def _digits(value: float) -> str:
    """Three digits that count, none after the point that do not."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}".removesuffix(".0")
    text = f"{value:.2f}"
    # So small that it would look like none at all.
    return "<0.01" if text == "0.00" else text.removesuffix(".00")
