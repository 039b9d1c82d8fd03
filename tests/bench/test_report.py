"""What is made of measurements: weights, tables, comparisons."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.backend import resident_kib
from tests.bench.compare import judge
from tests.bench.report import Results, render
from tests.bench.series import Contender, Medium, Store, contenders

SMAPS = """\
55d0c0000000-55d0c0021000 r-xp 00000000 fe:00 1 /usr/bin/python3
Size:                132 kB
Rss:                 100 kB
Pss:                 100 kB
7f0000000000-7f0010000000 rw-s 00000000 00:01 9 /memfd:vhost-pvscsi-guest (deleted)
Size:             262144 kB
Rss:              200000 kB
7f1000000000-7f1000001000 rw-p 00000000 00:00 0
Rss:                   4 kB
"""


def sample(contender: str, iops: float, **figures: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "kind": "sample",
        "contender": contender,
        "medium": "null",
        "load": "randread 4k qd1",
        "iops": iops,
    }
    for figure in ("mb_s", "lat_p50_us", "lat_p99_us", "lat_p999_us", "back_end_cpu_us"):
        row[figure] = 1.0
    return row | {"calls_per_request": 1.0} | figures


def results(contender: str, *iops: float) -> Results:
    return Results.of([sample(contender, value) for value in iops])


def test_the_guests_memory_is_not_the_daemons_weight() -> None:
    assert resident_kib(SMAPS) == 104


def test_a_table_gives_medians_and_their_ratio_to_the_peer() -> None:
    rows = [sample("ours", value) for value in (100.0, 300.0, 9000.0)]
    rows += [sample("qsd", value) for value in (150.0, 1.0, 200.0)]
    text = render(Results.of(rows))
    ours = next(line for line in text.splitlines() if line.startswith("ours"))
    assert ours.split()[1] == "300"
    assert ours.split()[-1] == "2.00x"


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ((100, 101, 102), (200, 201, 202), "1.99x+"),
        ((200, 201, 202), (100, 101, 102), "0.50x-"),
        ((100, 150, 200), (120, 180, 220), "1.20x "),  # the rounds overlap
        ((100,), (200,), "2.00x "),  # too few rounds to say
    ],
)
def test_a_comparison_marks_only_what_the_rounds_bear_out(
    old: tuple[int, ...], new: tuple[int, ...], verdict: str
) -> None:
    point = ("null", "randread 4k qd1", "ours")
    found = judge(results("ours", *old), results("ours", *new), point, "iops", more_is_better=True)
    assert found == verdict


def test_less_latency_is_better() -> None:
    def three(*values: float) -> Results:
        return Results.of([sample("ours", 1.0, lat_p50_us=value) for value in values])

    point = ("null", "randread 4k qd1", "ours")
    found = judge(three(10, 11, 12), three(5, 6, 7), point, "lat_p50_us", more_is_better=False)
    assert found == "0.55x+"


def test_ours_polls_only_where_its_name_says_so(tmp_path: Any) -> None:
    store = Store(1 << 20, tmp_path / "disk", tmp_path / "tmpfs")
    found = {one.name: one for one in contenders({"ours": "p"}, "q")}
    assert list(found) == ["ours", "qsd", "ours poll", "qsd nopoll"]

    def polls(one: Contender) -> str:
        return " ".join(one.command(Medium.NULL, store, 3))

    assert "--poll-us" not in polls(found["ours"])
    assert "--poll-us 32" in polls(found["ours poll"])
    assert "poll-max-ns=32000" in polls(found["qsd"])
    assert "poll-max-ns=0" in polls(found["qsd nopoll"])
