"""What an emulated disk knows while it runs; its commands are given this."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.devices.attention import Attentions
from vhost_pvscsi.devices.gates import Cause, Gates
from vhost_pvscsi.devices.reservations import Reservations
from vhost_pvscsi.scsi.cdb import Cdb
from vhost_pvscsi.scsi.request import Reply, Request

from .exclusion import Exclusion

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.command import CommandSet

    from .description import DiskGeometry, DiskIdentity


class DiskState:
    """Identity, geometry, power state, unit attentions and reservations of one disk."""

    def __init__(
        self,
        identity: DiskIdentity,
        geometry: DiskGeometry,
        commands: CommandSet,
        flush: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self.identity = identity
        self.geometry = geometry
        self.commands = commands
        self.flush = flush  #: makes all writes stable; None: there is nothing to do
        self.gates = Gates()
        self.attentions = Attentions(self._attention_changed)
        self.stopped = False
        self.exclusion = Exclusion(lambda shut: self.gates.turn_all(Cause.EXCLUSIVE, shut))
        self.reservations = Reservations()
        #: Orders their changes, so that gates and `reservations` agree.
        self.reserving = asyncio.Lock()
        # Orders one START STOP UNIT against another, so that gates and `stopped` agree.
        self._power = asyncio.Lock()

    async def set_stopped(self, stopped: bool) -> None:
        """Stop or start the unit. It is stopped only behind shut gates."""
        async with self._power:
            if stopped:
                await self.gates.turn_all(Cause.STOPPED, True)
                self.stopped = True
            elif self.stopped:
                self.stopped = False
                await self.gates.turn_all(Cause.STOPPED, False)

    async def _attention_changed(self, nexus: str, pending: bool) -> None:
        await self.gates.turn(nexus, Cause.ATTENTION, pending)


#: One command: the disk, the request, its CDB's values.
Handler: TypeAlias = Callable[[DiskState, Request, Cdb], Awaitable[Reply]]


def truncated(data: bytes, cdb: Cdb) -> Reply:
    """Answer GOOD with data cut to the allocation length (SPC-5, "Allocation length")."""
    return Reply(data=data[: cdb["allocation_length"]])
