"""Tables or JSON one after another, for files, pipes and scripts."""

from __future__ import annotations

import itertools
import json
import sys
import time
from typing import TYPE_CHECKING

import click
from rich.console import Console

from .describe import describe
from .history import History
from .screen import levels_for
from .table import Look, draw, remember, unseen
from .watch import Watch, reports

if TYPE_CHECKING:
    from .rates import Order, Report


async def print_tables(watch: Watch, order: Order, limit: int | None, count: int | None) -> None:
    """Print `count` tables, None: without end.

    Raises:
        ControlError: there is no daemon, or no more.
    """
    console = Console(file=sys.stdout, highlight=False)
    look = Look(console.width, order, levels_for(console))
    history = History()
    numbers = itertools.count(1)
    async for report in reports(watch):
        remember(history, report)
        number = next(numbers)
        if number > 1:
            console.print()
        console.print(_headline(report))
        console.print(draw(report, history, look, luns=limit))
        if others := unseen(report, limit):
            console.print(f"{others} other LUNs")
        sys.stdout.flush()
        if number == count:
            return


async def print_json(watch: Watch, order: Order, limit: int | None, count: int | None) -> None:
    """Print a line of JSON for each report, `count` of them; raises as `print_tables`."""
    numbers = itertools.count(1)
    async for report in reports(watch):
        click.echo(json.dumps(describe(report, report.sorted_luns(order)[:limit])))
        if next(numbers) == count:
            return


def _headline(report: Report) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} over {report.elapsed:.2f} s"
