"""Statistics as metrics, read back by Prometheus' own parsers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY, parser
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)

from vhost_pvscsi.daemon.control.operator import LunStatistics
from vhost_pvscsi.daemon.metrics.exposition import Exposition, HostStatistics, Snapshot
from vhost_pvscsi.engine import LunCounters
from vhost_pvscsi.identity import Address

if TYPE_CHECKING:
    from prometheus_client.core import Metric

BOUNDS = (0.001, 0.002)
COUNTERS = LunCounters(
    reads=6,
    writes=2,
    others=3,
    long_road=4,
    errors=1,
    bytes_read=4096,
    bytes_written=512,
    in_flight=5,
    read_latency=(1, 2, 3),
    write_latency=(2, 0, 0),
)
SNAPSHOT = Snapshot(
    "1.2.3",
    [HostStatistics(0, True, 1, 2), HostStatistics(7, False, 0, 0)],
    [LunStatistics(Address(0, 0, 1, 3), 'a "quoted"\\\n.img', 9, COUNTERS, 2)],
    BOUNDS,
)
LUN = {"host": "0", "vdev": "0:0:1:3"}


def families(accept: str = "") -> dict[str, Metric]:
    text, content_type = Exposition().render(SNAPSHOT, accept)
    assert ("openmetrics" in content_type) == bool(accept)
    read = read_openmetrics if accept else parser.text_string_to_metric_families
    return {family.name: family for family in read(text.decode())}


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_every_counter_is_told(accept: str) -> None:
    told = {
        sample.name: sample.value
        for family in families(accept).values()
        for sample in family.samples
        if sample.labels == LUN and "latency" not in sample.name
    }
    assert told == {
        "vhost_pvscsi_lun_reads_total": 6,
        "vhost_pvscsi_lun_writes_total": 2,
        "vhost_pvscsi_lun_others_total": 3,
        "vhost_pvscsi_lun_long_road_total": 4,
        "vhost_pvscsi_lun_errors_total": 1,
        "vhost_pvscsi_lun_denied_total": 2,
        "vhost_pvscsi_lun_read_bytes_total": 4096,
        "vhost_pvscsi_lun_written_bytes_total": 512,
        "vhost_pvscsi_lun_in_flight": 5,
    }


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_latencies_are_cumulative_histograms(accept: str) -> None:
    family = families(accept)["vhost_pvscsi_lun_read_latency_seconds"]
    assert family.type == "histogram"
    assert [(s.labels.get("le"), s.value) for s in family.samples] == [
        *(("0.001", 1), ("0.002", 3), ("+Inf", 6))
    ]


def test_hosts_names_and_the_process_are_told() -> None:
    told = families()
    assert [s.value for s in told["vhost_pvscsi_host_connected"].samples] == [1, 0]
    assert [s.value for s in told["vhost_pvscsi_host_luns"].samples] == [1, 0]
    connects = told["vhost_pvscsi_host_connects"].samples
    assert [(s.name, s.labels["host"], s.value) for s in connects] == [
        ("vhost_pvscsi_host_connects_total", "0", 2),
        ("vhost_pvscsi_host_connects_total", "7", 0),
    ]
    assert told["vhost_pvscsi_build_info"].samples[0].labels == {"version": "1.2.3"}
    assert told["vhost_pvscsi_lun_info"].samples[0].labels["pdev"] == 'a "quoted"\\\n.img'
    assert told["process_resident_memory_bytes"].samples[0].value > 1 << 20


def test_every_metric_has_help_and_the_registry_of_all_is_left_alone() -> None:
    before = sorted(family.name for family in REGISTRY.collect())
    assert all(family.documentation for family in families().values())
    assert sorted(family.name for family in REGISTRY.collect()) == before


def test_nothing_attached_is_told_too() -> None:
    text, _ = Exposition().render(Snapshot("1", [], [], BOUNDS), "")
    assert b"# TYPE vhost_pvscsi_lun_reads_total counter" in text
