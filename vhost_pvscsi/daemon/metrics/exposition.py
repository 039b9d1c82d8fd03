"""Statistics as Prometheus metrics: values in, text out. Imported only where it is asked for."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client.core import Metric

    from vhost_pvscsi.daemon.control.operator import LunStatistics
    from vhost_pvscsi.engine import LunCounters

_LUN = ("host", "vdev")


@dataclass(frozen=True, slots=True)
class HostStatistics:
    """A virtual host, as monitoring sees it."""

    number: int
    connected: bool
    luns: int
    connects: int  #: front-ends that have connected since the daemon began


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that metrics are made of."""

    version: str
    hosts: Sequence[HostStatistics]
    luns: Sequence[LunStatistics]
    bounds: tuple[float, ...]  #: of the buckets of latencies, in seconds


#: Name, help, and what it is of a LUN's statistics.
_COUNTERS: tuple[tuple[str, str, Callable[[LunStatistics], int]], ...] = (
    ("reads", "Read commands that have ended.", lambda lun: lun.counters.reads),
    ("writes", "Write commands that have ended.", lambda lun: lun.counters.writes),
    ("others", "Other commands that have ended.", lambda lun: lun.counters.others),
    (
        "long_road",
        "Commands that the daemon's Python has answered.",
        lambda lun: lun.counters.long_road,
    ),
    ("errors", "Commands that failed because the host's I/O did.", lambda lun: lun.counters.errors),
    ("denied", "Commands that the LUN's policy has refused.", lambda lun: lun.denied),
    ("read_bytes", "Bytes read.", lambda lun: lun.counters.bytes_read),
    ("written_bytes", "Bytes written.", lambda lun: lun.counters.bytes_written),
)

_HISTOGRAMS: tuple[tuple[str, str, Callable[[LunCounters], tuple[int, ...]]], ...] = (
    ("read_latency_seconds", "How long read commands took.", lambda c: c.read_latency),
    ("write_latency_seconds", "How long write commands took.", lambda c: c.write_latency),
)


class Exposition:
    """Makes the text. Its registry is its own; the library's global one is not touched."""

    def __init__(self) -> None:
        # Reads /proc when it is asked, and nothing before.
        self._process = ProcessCollector(registry=None)

    def render(self, snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
        """Make the text of a snapshot in the format that a client likes best, and its type.

        Takes its time with thousands of LUNs: for a thread.
        """
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Once(snapshot, self._process))
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type


class _Once:
    """The collector of one snapshot."""

    def __init__(self, snapshot: Snapshot, process: ProcessCollector) -> None:
        self._snapshot = snapshot
        self._process = process

    def describe(self) -> list[Metric]:
        # Nobody else is in the registry: there are no names to collide with.
        return []

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "vhost_pvscsi_build", "The daemon.", value={"version": self._snapshot.version}
        )
        yield from self._hosts()
        yield from self._luns()
        yield from self._latencies()
        yield from self._process.collect()

    def _hosts(self) -> Iterator[Metric]:
        connected = GaugeMetricFamily(
            "vhost_pvscsi_host_connected", "Whether a front-end is connected.", labels=["host"]
        )
        luns = GaugeMetricFamily(
            "vhost_pvscsi_host_luns", "LUNs that are attached.", labels=["host"]
        )
        connects = CounterMetricFamily(
            "vhost_pvscsi_host_connects", "Front-ends that have connected.", labels=["host"]
        )
        for host in self._snapshot.hosts:
            labels = [str(host.number)]
            connected.add_metric(labels, host.connected)
            luns.add_metric(labels, host.luns)
            connects.add_metric(labels, host.connects)
        yield from (connected, luns, connects)

    def _luns(self) -> Iterator[Metric]:
        info = InfoMetricFamily("vhost_pvscsi_lun", "What is attached.", labels=[*_LUN])
        in_flight = GaugeMetricFamily(
            "vhost_pvscsi_lun_in_flight", "Commands that have not ended.", labels=_LUN
        )
        counters = [
            (CounterMetricFamily(f"vhost_pvscsi_lun_{name}", text, labels=_LUN), read)
            for name, text, read in _COUNTERS
        ]
        for lun in self._snapshot.luns:
            labels = [str(lun.address.host), str(lun.address)]
            info.add_metric(labels, {"pdev": lun.pdev})
            in_flight.add_metric(labels, lun.counters.in_flight)
            for family, read in counters:
                family.add_metric(labels, read(lun))
        yield from (info, in_flight, *(family for family, _ in counters))

    def _latencies(self) -> Iterator[Metric]:
        bounds = [*map(floatToGoString, self._snapshot.bounds), "+Inf"]
        for name, text, read in _HISTOGRAMS:
            family = HistogramMetricFamily(f"vhost_pvscsi_lun_{name}", text, labels=_LUN)
            # One by one, as they are written: all of them at once are a hundred thousand objects
            # of thousands of LUNs, and the garbage collector stops everybody to look at them.
            family.samples = cast("list[Sample]", self._buckets(family.name, bounds, read))
            yield family

    def _buckets(
        self, name: str, bounds: Sequence[str], read: Callable[[LunCounters], tuple[int, ...]]
    ) -> Iterator[Sample]:
        # No sum, which the engine does not keep, and so no count: the last bucket is that.
        for lun in self._snapshot.luns:
            counts = read(lun.counters)
            if not any(counts):
                continue
            labels = {"host": str(lun.address.host), "vdev": str(lun.address)}
            for bound, total in zip(bounds, itertools.accumulate(counts), strict=True):
                yield Sample(f"{name}_bucket", {**labels, "le": bound}, total)
