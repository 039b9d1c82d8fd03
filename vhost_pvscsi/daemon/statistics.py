"""The counters of all LUNs, read without keeping others waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .control.operator import LunStatistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .inventory import VirtualHost

#: LUNs whose counters are read in one go: well below a millisecond.
_CHUNK = 64


async def lun_statistics(hosts: Iterable[VirtualHost]) -> list[LunStatistics]:
    """Read the counters of every LUN of these hosts, by address.

    Between two chunks others have their turn. A LUN that is detached meanwhile is left out.
    """
    found: list[LunStatistics] = []
    for host in tuple(hosts):
        adapter = host.adapter
        for number, mapping in enumerate(adapter.table):
            if number % _CHUNK == _CHUNK - 1:
                await asyncio.sleep(0)
            if adapter.is_attached(mapping.id):
                found.append(
                    LunStatistics(
                        mapping.address,
                        mapping.unit.name,
                        mapping.id,
                        adapter.counters(mapping.id),
                        adapter.denied(mapping.id),
                    )
                )
    return found
