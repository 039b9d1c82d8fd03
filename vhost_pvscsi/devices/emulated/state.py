"""What an emulated disk knows while it runs; its commands are given this."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from vhost_pvscsi.devices.attention import Attentions
from vhost_pvscsi.devices.gates import Cause, Gates
from vhost_pvscsi.devices.reservations import Reservations, restored
from vhost_pvscsi.errors import DeviceError
from vhost_pvscsi.scsi.cdb import Cdb
from vhost_pvscsi.scsi.request import Reply, Request

from .copies import Copies
from .exclusion import Exclusion
from .parameters import ModeParameters
from .removal import Removal

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from vhost_pvscsi.devices.allocation import FindRuns
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.devices.presentation import Presentation
    from vhost_pvscsi.medium import Medium
    from vhost_pvscsi.scsi.command import CommandSet

    from .description import DiskGeometry, DiskIdentity


#: The name of persistent reservations in nonvolatile memory.
RESERVATIONS = "reservations"


class Reached(NamedTuple):
    """A disk as a nexus reaches it at one address."""

    disk: DiskState
    shown: Presentation


class DiskState:
    """Identity, geometry, power state, unit attentions and reservations of one disk."""

    def __init__(
        self,
        identity: DiskIdentity,
        geometry: DiskGeometry,
        commands: CommandSet,
        *,
        flush: Callable[[], Awaitable[None]] | None = None,
        medium: Medium | None = None,
        memory: UnitMemory | None = None,
        neighbours: Callable[[str], Iterable[Reached]] = lambda _: (),
        copy_threads: Executor | None = None,
        find_runs: FindRuns | None = None,
    ) -> None:
        self.identity = identity
        self.geometry = geometry
        self.commands = commands
        self.flush = flush  #: makes all writes stable; None: there is nothing to do
        self.memory = memory  #: what outlives the daemon; None: nothing does
        self.neighbours = neighbours  #: the disks that a nexus reaches, this one too, for copies
        self.copies = Copies(copy_threads)
        self.find_runs = find_runs  #: finds the holes of the medium; None: it has none
        self.modes = ModeParameters(geometry, memory)
        #: Orders changes of mode parameters.
        self.mode_lock = asyncio.Lock()
        self.medium = medium  #: the engine's half of the disk
        self.switch_medium()
        self.gates = Gates()
        self.attentions = Attentions(self._attention_changed)
        self.stopped = False
        self.removal = Removal()
        self.exclusion = Exclusion(lambda shut: self.gates.turn_all(Cause.EXCLUSIVE, shut))
        self.reservations = _kept_reservations(memory)
        #: Orders their changes, so that gates and `reservations` agree.
        self.reserving = asyncio.Lock()
        # Orders one START STOP UNIT against another, so that gates and `stopped` agree.
        self._power = asyncio.Lock()

    def switch_medium(self) -> None:
        """Have the engine act on the mode parameters that concern it."""
        if self.medium is not None:
            self.medium.set_sync_writes(not self.modes.write_cache)
            self.medium.set_descriptor_sense(self.modes.descriptor_sense)

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


def _kept_reservations(memory: UnitMemory | None) -> Reservations:
    kept = memory.section(RESERVATIONS) if memory else None
    if memory is None or kept is None:
        return Reservations()
    try:
        return restored(kept)
    except ValueError as error:
        raise DeviceError(
            f"{memory.path}: kept reservations cannot be read: {error}",
            hint="move it away, and the unit starts with nothing saved",
        ) from error


#: One command: the disk, the request, its CDB's values.
Handler: TypeAlias = Callable[[DiskState, Request, Cdb], Awaitable[Reply]]


def truncated(data: bytes, cdb: Cdb) -> Reply:
    """Answer GOOD with data cut to the allocation length (SPC-5, "Allocation length")."""
    return Reply(data=data[: cdb["allocation_length"]])
