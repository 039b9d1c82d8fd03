"""The table of a report, in terminals of any size."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.unit.cli.top.test_rates import lun, report, sample
from vhost_pvscsi.cli import figures
from vhost_pvscsi.cli.top.history import ASCII, History, sparkline
from vhost_pvscsi.cli.top.rates import Order, Report
from vhost_pvscsi.cli.top.table import Look, draw, remember, room_for_luns, unseen


def busy(count: int, hosts: int = 1) -> Report:
    """Many LUNs with the largest figures there are; the highest address does most."""
    big = 10**9
    luns = [
        lun(
            f"{number % hosts}:0:{number % 256}:{number // 256}",
            attachment=number,
            reads=big + number,
            writes=big,
            bytes_read=big * 4096,
            bytes_written=big * 4096,
            in_flight=12345,
            errors=123456,
            read_latency=[0, 1],
            write_latency=[0, 0, 1],
            pdev="/srv/images/a-very-long-name-of-an-image.img",
        )
        for number in range(count)
    ]
    connected = dict.fromkeys(range(hosts), True)
    return report(sample(1.0, hosts=connected), sample(1.5, *luns, hosts=connected))


def lines(
    drawn: Report, width: int, luns: int | None = None, height: int | None = None
) -> list[str]:
    history = History()
    remember(history, drawn)
    console = Console(file=io.StringIO(), width=width, height=height or 25, highlight=False)
    console.print(draw(drawn, history, Look(width), luns=luns, height=height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 110, 132, 200])
def test_every_figure_is_whole_whatever_the_width(width: int) -> None:
    text = lines(busy(3), width)
    assert max(map(len, text)) <= width
    assert [line.split()[0] for line in text[1:]] == [
        "total",
        "host",
        "0:0:2:0",
        "0:0:1:0",
        "0:0:0:0",
    ]
    for line in text[3:]:
        assert "2.00G" in line or "2G" in line
        assert "12.3k" in line
        assert "123k" in line
        assert "…" not in line[:60]
    assert ("pdev" in text[0]) == (width >= 110)


@pytest.mark.parametrize(("height", "hosts"), [(24, 1), (24, 3), (24, 200), (6, 1), (60, 30)])
def test_a_table_is_not_longer_than_its_terminal(height: int, hosts: int) -> None:
    drawn = busy(500, hosts)
    most = room_for_luns(height, hosts)
    text = lines(drawn, 80, most, height)
    # With the headline, and the line that tells how many are not shown.
    assert len(text) + 2 <= height
    assert unseen(drawn, most) == 500 - most
    # Those that do most are shown.
    assert text[-most].startswith("0:0:243:1" if hosts == 1 else "")


def test_nothing_attached_is_a_table_too() -> None:
    text = lines(report(sample(1.0), sample(2.0)), 80)
    assert [line.split()[0] for line in text[1:]] == ["total", "host"]


def test_names_are_what_is_cut_where_there_is_no_room() -> None:
    huge = [lun("65535:0:255:16383", attachment=1, reads=10**9, errors=10**9)]
    text = lines(
        report(sample(1.0, hosts={65535: True}), sample(2.0, *huge, hosts={65535: True})), 80
    )
    assert max(map(len, text)) <= 80
    assert text[3].startswith("65535:0:255:16383")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (0.001, "<0.01"),
        (0.25, "0.25"),
        (3, "3"),
        (12.5, "12.5"),
        (20, "20"),
        (8231.4, "8231"),
        (45_123, "45.1k"),
        (999_999, "1000k"),
        (2_300_000, "2.30M"),
        (5e9, "5G"),
    ],
)
def test_counts_are_short(value: float, said: str) -> None:
    assert figures.count(value) == said
    assert len(said) <= 6


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (0.0000851, "85.1us"),
        (0.00124, "1.24ms"),
        (0.5, "500ms"),
        (2.5, "2.50s"),
        (float("inf"), ">10s"),
    ],
)
def test_latencies_have_a_unit(value: float | None, said: str) -> None:
    assert figures.seconds(value, longest=10.0) == said


def test_a_graph_is_as_high_as_its_highest_value() -> None:
    assert sparkline([0, 1, 4, 8], 6) == "   ▂▅█"
    assert sparkline([5, 5], 2) == "██"
    assert sparkline([0, 0], 3) == "   "
    assert sparkline([1, 2, 3], 2, ASCII) == "*#"
    assert sparkline([], 4) == "    "


def test_the_history_of_a_row_that_is_gone_is_forgotten() -> None:
    history = History(length=3)
    for value in range(5):
        history.add({"a": value, "b": 1.0})
    history.add({"a": 9.0})
    assert history.of("a") == (3.0, 4.0, 9.0)
    assert history.of("b") == ()


def test_every_order_has_a_word() -> None:
    assert [order.value for order in Order] == [
        "iops",
        "bytes",
        "latency",
        "queue",
        "errors",
        "name",
    ]
