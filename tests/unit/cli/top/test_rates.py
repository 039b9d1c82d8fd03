"""Rates of two samples: values alone."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from vhost_pvscsi.cli.top.describe import describe
from vhost_pvscsi.cli.top.rates import Order, Report, compare
from vhost_pvscsi.cli.top.sample import Sample, read_sample
from vhost_pvscsi.errors import ControlError

IDLE: dict[str, Any] = {
    "pdev": "ram:64M",
    "attachment": 1,
    "reads": 0,
    "writes": 0,
    "others": 0,
    "long-road": 0,
    "errors": 0,
    "bytes-read": 0,
    "bytes-written": 0,
    "in-flight": 0,
    "read-latency": [],
    "write-latency": [],
}


def lun(vdev: str, **counters: object) -> dict[str, Any]:
    return {"vdev": vdev, **IDLE, **{name.replace("_", "-"): v for name, v in counters.items()}}


def sample(time: float, *luns: dict[str, Any], hosts: dict[int, bool] | None = None) -> Sample:
    connected = {0: True} if hosts is None else hosts
    return read_sample(
        {"time": time, "latency-bounds": [0.001, 0.01], "luns": list(luns)},
        [{"host": number, "connected": there} for number, there in connected.items()],
    )


def report(before: Sample, after: Sample) -> Report:
    found = compare(before, after)
    assert found is not None
    return found


def test_rates_are_by_the_daemon_s_clock() -> None:
    before = sample(100.0, lun("0:0:0:0", reads=10, bytes_read=4096, writes=1, others=3))
    after = sample(
        102.0, lun("0:0:0:0", reads=30, bytes_read=12288, writes=2, others=3, in_flight=7)
    )
    found = report(before, after)
    rates = found.luns[0].rates
    assert (found.elapsed, rates.reads, rates.writes, rates.others) == (2.0, 10.0, 0.5, 0.0)
    assert (rates.bytes_read, rates.iops, rates.in_flight) == (4096.0, 10.5, 7)
    assert found.total == rates


def test_latencies_are_of_what_ended_between_the_samples() -> None:
    before = sample(1.0, lun("0:0:0:0", read_latency=[1000]))
    after = sample(2.0, lun("0:0:0:0", read_latency=[1000, 10], write_latency=[0, 0, 1]))
    rates = report(before, after).luns[0].rates
    assert rates.read_latency.counts == (0, 10)
    assert rates.read_latency.quantile(0.5) == pytest.approx(0.0055)
    assert rates.latency.counts == (0, 10, 1)


def test_a_lun_attached_anew_under_its_address_begins_anew() -> None:
    before = sample(1.0, lun("0:0:0:0", reads=1000, errors=9, read_latency=[1000]))
    after = sample(2.0, lun("0:0:0:0", attachment=2, reads=2000, errors=1, read_latency=[2000]))
    rates = report(before, after).luns[0].rates
    assert (rates.reads, rates.new_errors, rates.read_latency.total) == (2000.0, 1, 2000)


def test_counters_that_go_back_give_no_negative_rate() -> None:
    before = sample(1.0, lun("0:0:0:0", reads=1000, bytes_read=9, errors=9, read_latency=[9]))
    rates = report(before, sample(2.0, lun("0:0:0:0", reads=5))).luns[0].rates
    assert (rates.reads, rates.bytes_read, rates.new_errors) == (0, 0, 0)
    assert rates.latency.quantile(0.5) is None


def test_luns_come_and_go() -> None:
    before = sample(1.0, lun("0:0:0:0", reads=5))
    found = report(before, sample(2.0, lun("0:0:1:0", reads=7)))
    assert [(one.vdev, one.rates.reads) for one in found.luns] == [("0:0:1:0", 7.0)]


@pytest.mark.parametrize("time", [100.0, 3.0])
def test_a_clock_that_does_not_go_on_is_another_daemon_s(time: float) -> None:
    assert compare(sample(100.0), sample(time)) is None


def test_hosts_and_the_total_are_sums() -> None:
    before = sample(1.0, hosts={0: True, 1: False, 2: False})
    after = sample(
        2.0,
        lun("0:0:0:0", reads=1, in_flight=1, read_latency=[1]),
        lun("2:0:0:0", attachment=2, reads=4, errors=1),
        lun("0:0:1:0", attachment=3, reads=2, in_flight=2, read_latency=[0, 2]),
        hosts={0: True, 1: False, 2: False},
    )
    found = report(before, after)
    assert [(h.number, h.connected, h.luns, h.rates.reads) for h in found.hosts] == [
        (0, True, 2, 3.0),
        (1, False, 0, 0.0),
        (2, False, 1, 4.0),
    ]
    assert found.hosts[0].rates.read_latency.counts == (1, 2)
    assert (found.total.reads, found.total.in_flight, found.total.errors) == (7.0, 3, 1)


def test_luns_are_sorted_by_what_is_asked_for() -> None:
    luns = [
        lun("0:0:10:0", reads=1, bytes_written=900, errors=1, read_latency=[1]),
        lun("0:0:2:0", attachment=2, writes=9, in_flight=2, write_latency=[0, 9]),
        lun("0:0:1:0", attachment=3),
    ]
    found = report(sample(1.0), sample(2.0, *luns))

    def by(order: Order) -> list[str]:
        return [one.vdev.split(":")[2] for one in found.sorted_luns(order)]

    assert by(Order.IOPS) == ["2", "10", "1"]
    assert by(Order.BYTES) == ["10", "1", "2"]
    assert by(Order.LATENCY) == ["2", "10", "1"]
    assert by(Order.QUEUE) == ["2", "1", "10"]
    assert by(Order.ERRORS) == ["10", "1", "2"]
    assert by(Order.NAME) == ["1", "2", "10"]


def test_a_report_is_plain_json() -> None:
    before = sample(1.0, lun("0:0:0:0"))
    after = sample(2.0, lun("0:0:0:0", reads=3, read_latency=[2, 0, 1]))
    found = report(before, after)
    told = json.loads(json.dumps(describe(found, found.luns), allow_nan=False))
    assert told["luns"][0]["vdev"] == "0:0:0:0"
    assert told["luns"][0]["reads-per-second"] == 3.0
    # What took longer than the last bound is told as that.
    assert told["luns"][0]["read-latency"] == {"p50": 0.00075, "p99": 0.01}
    assert told["luns"][0]["write-latency"] == {"p50": None, "p99": None}
    assert [host["host"] for host in told["hosts"]] == [0]


@pytest.mark.parametrize(
    "stats",
    [
        {},
        {"time": "now", "latency-bounds": [], "luns": []},
        {"time": 1, "latency-bounds": [], "luns": [{"vdev": "0:0:0:0"}]},
        {"time": 1, "latency-bounds": [], "luns": [lun("0:0:0:0", read_latency=None)]},
    ],
)
def test_an_answer_of_another_kind_is_no_sample(stats: dict[str, Any]) -> None:
    with pytest.raises(ControlError, match="statistics cannot be read"):
        read_sample(stats, [])


def test_samples_are_values() -> None:
    one = sample(1.0, lun("0:0:0:0"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.time = 2.0  # type: ignore[misc]
