"""The samples of a daemon, one after another, over restarts of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.cli.client import Client
from vhost_pvscsi.errors import ControlError

from .rates import Report, compare
from .sample import Sample, read_sample

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: How long a daemon may take to answer, in seconds, before it counts as gone.
ANSWER_DEADLINE = 10.0


@dataclass(frozen=True, slots=True)
class Watch:
    """What to watch, and how often."""

    control: Path
    interval: float  #: seconds
    host: int | None = None  #: LUNs of this virtual host only


async def reports(watch: Watch) -> AsyncIterator[Report]:
    """Give a report each interval, of two samples over one connection.

    Raises:
        ControlError: there is no daemon, it refuses, or it went away.
    """
    loop = asyncio.get_running_loop()
    async with Client(watch.control) as client:
        before = await _sample(client, watch.host)
        due = loop.time()
        while True:
            # From when the last one was due, so that delays do not add up; but never in a row.
            due = max(due + watch.interval, loop.time())
            await asyncio.sleep(due - loop.time())
            after = await _sample(client, watch.host)
            if report := compare(before, after):
                yield report
            before = after


async def check(watch: Watch) -> None:
    """Find out whether there is anything to watch.

    Raises:
        ControlError: there is no daemon, or it refuses.
    """
    async with Client(watch.control) as client:
        await _sample(client, watch.host)


async def reports_for_ever(watch: Watch) -> AsyncIterator[Report | ControlError]:
    """Give reports, and where there is none why; the daemon may go and come back."""
    while True:
        try:
            async for report in reports(watch):
                yield report
        except ControlError as error:
            yield error
        await asyncio.sleep(watch.interval)


async def _sample(client: Client, host: int | None) -> Sample:
    arguments = {} if host is None else {"host": host}
    try:
        async with asyncio.timeout(ANSWER_DEADLINE):
            stats = await client.execute("query-lun-stats", arguments)
            hosts = await client.execute("query-hosts")
    except TimeoutError:
        raise ControlError(
            f"the daemon has not answered for {ANSWER_DEADLINE:g} s", hint="its log may say why"
        ) from None
    shown = [one for one in hosts if host is None or one["host"] == host]
    return read_sample(stats, shown)
