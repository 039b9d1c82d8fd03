"""A report as a table: the total, virtual hosts, LUNs; as wide and as long as there is room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from vhost_pvscsi.cli import figures

from .history import BLOCKS, History, sparkline
from .rates import Order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vhost_pvscsi.cli.latency import Histogram

    from .rates import Rates, Report

#: From how many columns on reads and writes have latencies of their own, and PDEVs are shown.
WIDE = 110
#: Columns of a graph; from `_ROOMY` columns on it has more.
_GRAPH, _GRAPH_ROOMY, _ROOMY = 12, 24, 140
#: What all but the PDEV and the graph take at most in a wide table: a name, ten figures.
_FIXED = 18 + 10 * 7
_SMALL = {"qd", "err"}
#: Lines that are no LUN: the headline, a line of heads, the total, the line that tells of others.
_FRAME = 4


@dataclass(frozen=True, slots=True)
class Look:
    """How a table shall be."""

    width: int  #: columns of the terminal
    order: Order = Order.IOPS
    levels: str = BLOCKS  #: the characters of graphs

    @property
    def wide(self) -> bool:
        """Whether there is room for everything."""
        return self.width >= WIDE

    @property
    def graph(self) -> int:
        """How many columns a graph has."""
        return _GRAPH_ROOMY if self.width >= _ROOMY else _GRAPH


def room_for_luns(height: int, hosts: int) -> int:
    """How many LUNs, and at most how many hosts, are shown on so many lines: the number of LUNs."""
    return max(1, height - _FRAME - min(hosts, _most_hosts(height)))


def _most_hosts(height: int) -> int:
    return max(1, height // 3)


def remember(history: History, report: Report) -> None:
    """Put what graphs show of a report into the history."""
    history.add(
        {
            "total": report.total.iops,
            **{f"host {host.number}": host.rates.iops for host in report.hosts},
            **{lun.vdev: lun.rates.iops for lun in report.luns},
        }
    )


def draw(
    report: Report, history: History, look: Look, *, luns: int | None, height: int | None = None
) -> Table:
    """Draw a report; `luns` is how many of them at most, None: all."""
    table = _empty(look)

    def row(name: str, shown: Text, rates: Rates, pdev: str = "") -> None:
        line = sparkline(history.of(name), look.graph, look.levels)
        table.add_row(shown, *_cells(rates, look), Text(line, "cyan"), *([pdev] * look.wide))

    row("total", Text("total", "bold"), report.total)
    hosts = report.hosts if height is None else report.hosts[: _most_hosts(height)]
    for host in hosts:
        name = f"host {host.number}"
        # Whose guest is not there does nothing, and that is why.
        shown = Text(name, "bold") if host.connected else Text(f"{name} waiting", "dim")
        row(name, shown, host.rates)
    chosen = report.sorted_luns(look.order)[:luns]
    for lun in chosen:
        row(lun.vdev, Text(lun.vdev), lun.rates, lun.pdev)
    return table


def unseen(report: Report, luns: int | None) -> int:
    """How many LUNs a table of so many does not show."""
    return 0 if luns is None else max(0, len(report.luns) - luns)


def _empty(look: Look) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, expand=False)
    table.add_column("", no_wrap=True, overflow="ellipsis", min_width=9)
    for head in _heads(look):
        # As wide as most figures are, so that the table stands still while they change.
        table.add_column(head, justify="right", no_wrap=True, min_width=4 if head in _SMALL else 5)
    table.add_column("IO/s lately", no_wrap=True)
    if look.wide:
        # Paths are long, and figures must not suffer for them.
        rest = look.width - _FIXED - look.graph - 1
        table.add_column("pdev", no_wrap=True, overflow="ellipsis", max_width=rest)
    return table


def _heads(look: Look) -> Iterator[str]:
    yield from ("r/s", "w/s", "rMB/s", "wMB/s")
    if look.wide:
        yield from ("r-p50", "r-p99", "w-p50", "w-p99")
    else:
        yield from ("p50", "p99")
    yield from ("qd", "err")


def _cells(rates: Rates, look: Look) -> Iterator[Text]:
    yield _figure(figures.count(rates.reads), rates.reads)
    yield _figure(figures.count(rates.writes), rates.writes)
    yield _figure(figures.megabytes(rates.bytes_read), rates.bytes_read)
    yield _figure(figures.megabytes(rates.bytes_written), rates.bytes_written)
    both: Iterable[Histogram] = (
        (rates.read_latency, rates.write_latency) if look.wide else (rates.latency,)
    )
    for histogram in both:
        longest = histogram.bounds[-1] if histogram.bounds else float("inf")
        for share in (0.5, 0.99):
            value = histogram.quantile(share)
            yield _figure(figures.seconds(value, longest), value)
    yield _figure(figures.count(rates.in_flight), rates.in_flight)
    style = "bold red" if rates.new_errors else "red" if rates.errors else "dim"
    yield Text(figures.count(rates.errors), style)


def _figure(text: str, value: float | None) -> Text:
    # Rows that do something stand out among those that do not.
    return Text(text, "" if value else "dim")
