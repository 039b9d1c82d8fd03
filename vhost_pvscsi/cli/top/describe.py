"""A report as JSON: one object for each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vhost_pvscsi.cli.latency import Histogram

    from .rates import Lun, Rates, Report

#: Digits after the point of a rate, and of a latency in seconds: nothing is measured finer.
_RATE_DIGITS, _LATENCY_DIGITS = 3, 9


def describe(report: Report, luns: Sequence[Lun]) -> dict[str, Any]:
    """Make the object of a report, with those LUNs in that order."""
    return {
        "time": report.time,
        "elapsed": round(report.elapsed, _LATENCY_DIGITS),
        "total": _rates(report.total),
        "hosts": [
            {
                "host": host.number,
                "connected": host.connected,
                "luns": host.luns,
                **_rates(host.rates),
            }
            for host in report.hosts
        ],
        "luns": [{"vdev": lun.vdev, "pdev": lun.pdev, **_rates(lun.rates)} for lun in luns],
    }


def _rates(rates: Rates) -> dict[str, Any]:
    return {
        "reads-per-second": round(rates.reads, _RATE_DIGITS),
        "writes-per-second": round(rates.writes, _RATE_DIGITS),
        "others-per-second": round(rates.others, _RATE_DIGITS),
        "bytes-read-per-second": round(rates.bytes_read, _RATE_DIGITS),
        "bytes-written-per-second": round(rates.bytes_written, _RATE_DIGITS),
        "read-latency": _latency(rates.read_latency),
        "write-latency": _latency(rates.write_latency),
        "in-flight": rates.in_flight,
        "errors": rates.errors,
        "new-errors": rates.new_errors,
    }


def _latency(histogram: Histogram) -> dict[str, float | None]:
    """Give quantiles in seconds; null: there were no commands.

    JSON has no infinity: what took longer than the last bound is told as that bound.
    """
    told: dict[str, float | None] = {}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        value = histogram.quantile(share)
        if value is not None and math.isinf(value):
            value = histogram.bounds[-1] if histogram.bounds else None
        told[name] = None if value is None else round(value, _LATENCY_DIGITS)
    return told
