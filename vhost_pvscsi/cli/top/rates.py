"""What LUNs and hosts did between two samples. Values in, values out."""

from __future__ import annotations

import enum
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.cli.latency import Histogram, merged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sample import LunSample, Sample


class Order(enum.Enum):
    """What LUNs are sorted by: most of it first."""

    IOPS = "iops"
    BYTES = "bytes"
    LATENCY = "latency"
    QUEUE = "queue"
    ERRORS = "errors"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Rates:
    """What one LUN did, or several together."""

    reads: float  #: commands per second, as `writes` and `others`
    writes: float
    others: float
    bytes_read: float  #: per second
    bytes_written: float
    in_flight: int  #: when the second sample was taken
    errors: int  #: since the LUN was attached
    new_errors: int  #: between the samples
    read_latency: Histogram  #: of what ended between the samples
    write_latency: Histogram

    @property
    def iops(self) -> float:
        """Commands per second, of all kinds."""
        return self.reads + self.writes + self.others

    @property
    def bytes(self) -> float:
        """Bytes per second, both ways."""
        return self.bytes_read + self.bytes_written

    @property
    def latency(self) -> Histogram:
        """Of reads and writes together."""
        return self.read_latency.plus(self.write_latency)


@dataclass(frozen=True, slots=True)
class Lun:
    """A LUN and what it did."""

    vdev: str
    pdev: str
    host: int
    rates: Rates

    @property
    def place(self) -> list[int]:
        """Its address, to be sorted by."""
        return [int(part) for part in self.vdev.split(":")]


@dataclass(frozen=True, slots=True)
class Host:
    """A virtual host, and what its LUNs did together."""

    number: int
    connected: bool
    luns: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Report:
    """What happened between two samples."""

    time: float  #: the daemon's monotonic clock at the second, in seconds
    elapsed: float  #: seconds between them
    total: Rates
    hosts: tuple[Host, ...]  #: by number
    luns: tuple[Lun, ...]  #: by address

    def sorted_luns(self, order: Order) -> list[Lun]:
        """LUNs, what is most first; those that are alike by address."""
        return sorted(self.luns, key=lambda lun: (_rank(lun.rates, order), lun.place))


def compare(before: Sample, after: Sample) -> Report | None:
    """Say what happened between two samples; None: they are not of one daemon's life."""
    elapsed = after.time - before.time
    if elapsed <= 0:
        return None
    earlier = {lun.vdev: lun for lun in before.luns}
    luns = [
        Lun(lun.vdev, lun.pdev, lun.host, _between(earlier.get(lun.vdev), lun, elapsed))
        for lun in after.luns
    ]
    luns.sort(key=lambda lun: lun.place)
    by_host = {
        number: list(group) for number, group in itertools.groupby(luns, lambda lun: lun.host)
    }
    hosts = [
        Host(number, connected, len(mine := by_host.get(number, [])), _sum(mine))
        for number, connected in sorted(after.connected.items())
    ]
    return Report(after.time, elapsed, _sum(luns), tuple(hosts), tuple(luns))


def _between(before: LunSample | None, after: LunSample, elapsed: float) -> Rates:
    if before is None or before.attachment != after.attachment:
        # Attached since: all that it has done, it has done since.
        before = None

    def grown(name: str) -> int:
        now: int = getattr(after, name)
        return max(0, now - getattr(before, name)) if before else now

    return Rates(
        reads=grown("reads") / elapsed,
        writes=grown("writes") / elapsed,
        others=grown("others") / elapsed,
        bytes_read=grown("bytes_read") / elapsed,
        bytes_written=grown("bytes_written") / elapsed,
        in_flight=after.in_flight,
        errors=after.errors,
        new_errors=grown("errors"),
        read_latency=after.read_latency.since(before.read_latency)
        if before
        else after.read_latency,
        write_latency=after.write_latency.since(before.write_latency)
        if before
        else after.write_latency,
    )


def _sum(luns: Sequence[Lun]) -> Rates:
    all_rates = [lun.rates for lun in luns]
    bounds = all_rates[0].read_latency.bounds if all_rates else ()
    return Rates(
        reads=sum(one.reads for one in all_rates),
        writes=sum(one.writes for one in all_rates),
        others=sum(one.others for one in all_rates),
        bytes_read=sum(one.bytes_read for one in all_rates),
        bytes_written=sum(one.bytes_written for one in all_rates),
        in_flight=sum(one.in_flight for one in all_rates),
        errors=sum(one.errors for one in all_rates),
        new_errors=sum(one.new_errors for one in all_rates),
        read_latency=merged(bounds, [one.read_latency for one in all_rates]),
        write_latency=merged(bounds, [one.write_latency for one in all_rates]),
    )


def _rank(rates: Rates, order: Order) -> float:
    match order:
        case Order.IOPS:
            return -rates.iops
        case Order.BYTES:
            return -rates.bytes
        case Order.LATENCY:
            slow = rates.latency.quantile(0.99)
            return math.inf if slow is None else -slow
        case Order.QUEUE:
            return -rates.in_flight
        case Order.ERRORS:
            return -rates.errors
        case Order.NAME:
            return 0.0
