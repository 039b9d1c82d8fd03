"""`top`: its command line. What draws is imported when it is needed: the other verbs do not."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from vhost_pvscsi.cli.common import HELP_NAMES, common_options, telling_failures
from vhost_pvscsi.identity import MAX_HOST

from .rates import Order

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

#: Shorter ones would measure the asking.
_SHORTEST, _LONGEST = 0.1, 3600.0


def _top(
    control: Path,
    as_json: bool,
    interval: float,
    count: int | None,
    host: int | None,
    sort: str,
    limit: int | None,
) -> None:
    from . import batch, screen, watch  # noqa: PLC0415 -- rich takes longer than most verbs

    what = watch.Watch(control, interval, host)
    order = Order(sort)
    work: Coroutine[None, None, None]
    if as_json:
        work = batch.print_json(what, order, limit, count)
    elif count is not None or not sys.stdout.isatty():
        work = batch.print_tables(what, order, limit, count)
    else:
        work = screen.Screen(what, order, limit).run()
    try:
        with telling_failures():
            asyncio.run(work)
    except KeyboardInterrupt:
        sys.exit(0)


TOP = click.Command(
    "top",
    callback=_top,
    params=[
        click.Option(
            ["--interval"],
            type=click.FloatRange(_SHORTEST, _LONGEST),
            default=1.0,
            show_default=True,
            metavar="SECONDS",
            help="Time between two samples.",
        ),
        click.Option(
            ["--count"],
            type=click.IntRange(min=1),
            metavar="N",
            help="Print N tables one after another, and end. The first takes an interval.",
        ),
        click.Option(
            ["--host"],
            type=click.IntRange(0, MAX_HOST),
            metavar="HOST",
            help="LUNs of this virtual host only.",
        ),
        click.Option(
            ["--sort"],
            type=click.Choice([order.value for order in Order]),
            default=Order.IOPS.value,
            show_default=True,
            help="What LUNs are sorted by, most first.",
        ),
        click.Option(
            ["--limit"],
            type=click.IntRange(min=1),
            metavar="N",
            help="Show N LUNs at most; as many as there is room for if not given.",
        ),
        *common_options(),
    ],
    help="""Show what LUNs do, live.

    For each LUN, each virtual host and all together: reads and writes per second, MB per second,
    the latency that half and 99% of commands were within, commands in flight, errors, and a graph
    of what came before. The key q ends it, s sorts by something else.

    Where standard output is no terminal, or with --count, tables are printed one after another;
    --json prints a line for each. These end with an error if the daemon goes, the live table
    waits for the next one.

    \b
    Example:
      vhost-pvscsi top --interval 5 --count 12 --sort latency --limit 10
    """,
    context_settings=HELP_NAMES,
)
