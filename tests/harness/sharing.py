"""A second virtual host in a house, which shares the unit of the first's LUN 0."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from vhost_pvscsi.adapter import Adapter
from vhost_pvscsi.identity import Address

from .frontend import FrontEnd
from .peer import Peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vhost_pvscsi.devices.unit import AttachableUnit

    from .house import House

HOST_0, HOST_1 = Address(0, 0, 0, 0), Address(1, 0, 0, 0)


class SecondHost(NamedTuple):
    """A virtual host and its guest, which has heard its unit attentions."""

    adapter: Adapter
    guest: FrontEnd


@asynccontextmanager
async def second_host(house: House) -> AsyncIterator[SecondHost]:
    """Make host 1, with the unit that host 0 has at its first LUN."""

    def peers(unit: AttachableUnit) -> list[tuple[Adapter, Address]]:
        hosts = (house.adapter, adapter)
        return [(a, m.address) for a in hosts for m in a.table if m.unit is unit]

    adapter = Adapter(house.engine, 1, peers)
    await adapter.attach(HOST_1, house.adapter.unit_at(HOST_0))
    ours, theirs = socket.socketpair()
    serving = asyncio.create_task(adapter.serve(ours))

    def start() -> FrontEnd:
        guest = FrontEnd(Peer(theirs)).start()
        guest.ready()
        return guest

    guest = await asyncio.to_thread(start)
    try:
        yield SecondHost(adapter, guest)
    finally:
        await asyncio.to_thread(guest.close)
        await serving
        adapter.close()
