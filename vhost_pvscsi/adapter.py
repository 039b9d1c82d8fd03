"""One virtual host: its LUNs, its front-end, and the long road between them.

The engine hands up what no worker may finish; each such request is a task here, which asks
the pipeline and gives the answer back. A virtual host outlives its front-ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from . import pipeline
from .denials import Denial, Denials
from .devices.gates import Cause
from .devices.presentation import PLAIN, Presentation
from .engine import Engine, Gate, GateReason, MapEntry
from .errors import ProtocolError, RingError
from .identity import MAX_REQUEST_QUEUES
from .scsi import sense
from .scsi.request import ManagementOutcome, Reply, Request, Service, TaskManagement
from .tasks import Attachment, Tasks
from .translation import Mapping, Table
from .transports.arrival import Arrival
from .transports.base import Announcement, AttachedLun, GuestState, Happening
from .transports.connection import Connection

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator

    from .devices.unit import AttachableUnit
    from .engine import Failures, LunCounters
    from .identity import Address

log = logging.getLogger(__name__)

#: How long `detach` lets commands of workers end by themselves before it ends them, in seconds.
DETACH_PATIENCE = 2.0

#: Parameters changed: capacity, mode parameters, reservations... (SPC-5, "ASC and ASCQ").
_PARAMETERS_CHANGED = 0x2A

_GATE_REASONS = {cause: GateReason[cause.name] for cause in Cause}

#: Causes that do not concern commands which are in the task set already: these go on (SAM-5
#: 5.14; SPC-5 5.14.1). A guest's slow command must not hold another guest's PREEMPT up.
_LETS_GO_ON = frozenset({Cause.ATTENTION, Cause.RESERVATION, Cause.LOST})


class Adapter:
    """A virtual host (HBA): one I_T nexus to each of its units."""

    def __init__(
        self,
        engine: Engine,
        number: int,
        peers: Callable[[AttachableUnit], Iterable[tuple[Adapter, Address]]],
        on_front_end: Callable[[bool], None] = lambda _: None,
        on_denial: Callable[[Denial], None] = lambda _: None,
        on_failed: Callable[[Adapter, int], None] = lambda _adapter, _mapping: None,
        *,
        queues: int = MAX_REQUEST_QUEUES,
    ) -> None:
        """Make an empty host; `peers` finds all places that a unit is attached at.

        `on_front_end` is called when a front-end comes (True) and goes, which may have so many
        request `queues`; `on_denial` when a LUN's policy has refused a command, not too often;
        `on_failed` with a mapping where the host's I/O has failed: `take_failures` says how often.
        """
        self._queues = queues
        self._denials = Denials(on_denial)
        self._on_front_end = on_front_end
        self._on_failed = on_failed
        self.number = number
        self.nexus = f"host{number}"
        self._engine = engine
        self._host = engine.add_host(self.nexus, self)
        self._tasks = Tasks(self._host, Table(number), peers)
        # Orders changes of the table: each is made from the last one.
        self._changing = asyncio.Lock()
        #: Mappings that are about to go: no front-end is told of them any more.
        self._leaving: set[int] = set()
        #: By target: mappings that may have no REPORTED LUNS DATA HAS CHANGED pending.
        self._untold: defaultdict[int, set[int]] = defaultdict(set)
        self._held: dict[int, asyncio.Task[Reply]] = {}
        self._transport: Arrival | None = None
        self._departed = asyncio.Event()
        self._departed.set()
        self._draining = False

    # -- LUNs

    @property
    def table(self) -> Table:
        """What is attached, as it stands now."""
        return self._tasks.table

    @property
    def units(self) -> Iterator[AttachableUnit]:
        """Every unit that a command may come to, as often as it is attached."""
        return (self._tasks.attached[mapping.id].unit for mapping in self.table)

    def unit_at(self, address: Address) -> AttachableUnit:
        """The unit at an address.

        Raises:
            ConfigurationError: nothing is attached there.
        """
        return self._tasks.attached[self.table.find(address).id].unit

    @property
    def session_id(self) -> int | None:
        """The engine's number for the connected front-end."""
        return self._transport.session_id if self._transport else None

    def is_offline(self, mapping_id: int) -> bool:
        """Whether a mapping has a command that did not end when it should have."""
        return mapping_id in self._tasks.offline

    def guest_state(self, mapping_id: int) -> GuestState | None:
        """What the guest that is there has made of a mapping; None: it does not say."""
        return self._transport.guest_state(mapping_id) if self._transport else None

    async def abort_all(self) -> None:
        """End all commands of this host's front-end."""
        await self._tasks.abort_all(Service.ABORTED)

    def denied(self, mapping_id: int) -> int:
        """How many commands a mapping's policy has refused."""
        return self._denials.count(mapping_id)

    def gate(self, mapping_id: int) -> Gate:
        """The gate of one of its mappings."""
        return self._host.gate(mapping_id)

    def counters(self, mapping_id: int) -> LunCounters:
        """What one of its mappings has carried since it was attached."""
        return self._host.counters(mapping_id)

    def is_attached(self, mapping_id: int) -> bool:
        """Whether a mapping is in service."""
        return mapping_id in self._tasks.attached

    def take_failures(self, mapping_id: int) -> tuple[Address, Failures, frozenset[int]] | None:
        """What the host's I/O has failed to do since this was asked last; None: nothing more.

        Where, what, and the operation codes of the medium there. Then the next failure is told.
        """
        attachment = self._tasks.attached.get(mapping_id)
        if attachment is None:
            return None
        failures = self._host.take_failures(mapping_id)
        opcodes = attachment.unit.medium_opcodes
        return (attachment.address, failures, opcodes) if failures.count else None

    async def attach(
        self, address: Address, unit: AttachableUnit, presentation: Presentation = PLAIN
    ) -> None:
        """Put a unit at an address, and tell the guest that is there.

        Raises:
            ConfigurationError: something is attached there.
        """
        async with self._changing:
            await self._attach(address, unit, presentation)
            await self._announce_change(Happening.LUN_ADDED, self.table.find(address))

    async def _attach(
        self, address: Address, unit: AttachableUnit, presentation: Presentation
    ) -> None:
        mapping_id = self._engine.new_mapping()
        table = self.table.attach(address, unit, mapping_id, presentation)
        # The engine first: until our own table has the mapping, its commands find an absent unit.
        await self._host.change_map(
            table.generation, added=[_entry(address, mapping_id, unit, presentation)]
        )
        gate = self._host.gate(mapping_id)

        async def keep(cause: Cause, shut: bool) -> None:
            if shut:
                await gate.close(_GATE_REASONS[cause], wait=cause not in _LETS_GO_ON)
            else:
                gate.open(_GATE_REASONS[cause])

        async def end() -> None:
            if mapping_id in self._tasks.attached:
                await self._tasks.abort(self._tasks.attached[mapping_id], Service.ABORTED)

        try:
            await unit.connect(self.nexus, keep, end)
        except BaseException:
            unit.disconnect(self.nexus, keep)
            await self._host.change_map(self.table.generation, removed=[mapping_id])
            raise
        unwatch = unit.watch(
            self.nexus, lambda code, begins: self._note_attention(attachment, code, begins=begins)
        )
        attachment = Attachment(mapping_id, address, unit, keep, unwatch)
        self._tasks.attached[mapping_id] = attachment
        self._untold[address.target].add(mapping_id)
        self._tasks.table = table
        # Only now may workers finish its commands: everything that shuts the gate has done so.
        gate.open(GateReason.NEW)

    async def renew(self, address: Address) -> None:
        """Tell the engine again of the unit at an address: another device is behind it.

        Commands that it has taken go on with what they began with.

        Raises:
            ConfigurationError: nothing is attached there.
        """
        async with self._changing:
            mapping = self.table.find(address)
            unit = self._tasks.attached[mapping.id].unit
            entry = _entry(address, mapping.id, unit, mapping.presentation)
            await self._host.change_map(self.table.generation, added=[entry], removed=[mapping.id])

    async def detach(self, address: Address, *, patience: float = DETACH_PATIENCE) -> bool:
        """Take the unit at an address away, and tell the guest that is there.

        The guest may take `patience` seconds to let go of it, where it says when it has done so,
        and commands in flight what is left of them to end by themselves.

        True: it has gone, with all that was done there for this nexus: where it is attached
        nowhere else, its file may be closed. False: the kernel still holds one of its commands;
        the LUN stays, offline, and can be detached when that has ended.

        Raises:
            ConfigurationError: nothing is attached there.
        """
        async with self._changing:
            before, after = self.table, self.table.detach(address)
            attachment = self._tasks.attached[before.find(address).id]
            patience = await self._part(before.find(address), patience)
            # From here on commands come by the long road and find an absent unit.
            gate = self._host.gate(attachment.id)
            gate.shut(GateReason.DRAINING)
            self._tasks.table = after
            gone = False
            try:
                gone = await self._leave(attachment, patience)
            finally:
                if not gone:
                    self._tasks.table = before
                    gate.open(GateReason.DRAINING)
            if gone:
                attachment.unwatch()
                attachment.unit.disconnect(self.nexus, attachment.keeper)
                del self._tasks.attached[attachment.id]
                self._tasks.offline.discard(attachment.id)
                self._denials.forget(attachment.id)
                await self._host.change_map(after.generation, removed=[attachment.id])
                # After the LUN has gone: Linux looks whether it still answers.
                await self._announce_change(Happening.LUN_REMOVED, before.find(address))
            return gone

    async def _part(self, mapping: Mapping, patience: float) -> float:
        """Let the guest let go of a mapping; how many seconds of `patience` are left."""
        if self._transport is None:
            return patience
        now = asyncio.get_running_loop().time
        end = now() + patience
        self._leaving.add(mapping.id)
        try:
            async with asyncio.timeout_at(end):
                await self._transport.part(_attached(mapping))
        except TimeoutError:
            log.warning("%s is taken from its guest, which has not let go of it", mapping.address)
        finally:
            self._leaving.discard(mapping.id)
        return max(end - now(), 0)

    async def _leave(self, attachment: Attachment, patience: float) -> bool:
        """End all that goes on at a mapping; with a unit's last one of this host its nexus."""
        if not await self._tasks.drain(attachment, patience):
            return False
        here = [one for one in self._tasks.attached.values() if one.unit is attachment.unit]
        if len(here) == 1:
            # While it is connected: its gates are the unit's to turn, and copies that others
            # of its commands do there are known by them.
            await attachment.unit.nexus_lost(self.nexus)
        return True

    def announce(self, announcement: Announcement) -> None:
        """Tell the guest that is there what happened to a LUN; never waits."""
        if self._transport is not None:
            self._transport.announce(announcement)

    def _note_attention(
        self, attachment: Attachment, code: sense.SenseCode, *, begins: bool
    ) -> None:
        address, detail = attachment.address, 0
        if not begins:
            self._untold[address.target].add(attachment.id)
            return
        if code.asc == _PARAMETERS_CHANGED:
            happening, detail = Happening.PARAMETERS_CHANGED, code.asc | code.ascq << 8
        elif code == sense.BUS_DEVICE_RESET and attachment.id not in self._tasks.resetting:
            # virtio 1.2, 5.6.6.3.1: HARD is what this unit attention "maps to", and needs no
            # feature bit. Who asked for the reset knows of it by its answer. Linux says that
            # it does not know the reason, and does nothing; QEMU never sends it.
            happening = Happening.LUN_RESET
        else:
            return
        self.announce(Announcement(happening, address.target, address.lun, detail))

    async def _announce_change(self, happening: Happening, changed: Mapping) -> None:
        """Say that a LUN came or went: to the guest, and by the other LUNs of its target."""
        # Of a thousand LUNs most have it pending from the last change. `_untold` has the others.
        address = changed.address
        attachments = [
            self._tasks.attached[mapping_id]
            for mapping_id in self._untold.pop(address.target, ())
            if mapping_id in self._tasks.attached
        ]
        code = sense.REPORTED_LUNS_DATA_HAS_CHANGED
        # At once: gates that are to be shut need not wait for each other.
        await asyncio.gather(
            *(
                one.unit.attend(code, nexus=self.nexus)
                for one in attachments
                if one.address != address
            )
        )
        self._untold[address.target] |= {one.id for one in attachments if one.address == address}
        lun = _attached(changed)
        self.announce(Announcement(happening, address.target, address.lun, lun_attached=lun))

    # -- the front-end

    async def serve(self, sock: socket.socket) -> None:
        """Serve a front-end that has just connected, until it leaves."""
        while self._transport is not None:
            if not self._transport.leaving:
                log.warning(
                    "host %d: a second front-end is turned away: one at a time", self.number
                )
                sock.close()
                return
            # A guest that is started again at once may be quicker than the end of the last one.
            await self._departed.wait()
        if self._draining:
            sock.close()
            return
        transport = Arrival(
            Connection(sock),
            self._host,
            self,
            name=f"host {self.number}",
            request_queues=self._queues,
        )
        self._transport = transport
        self._departed.clear()
        log.info("host %d: a front-end has connected", self.number)
        self._on_front_end(True)
        try:
            reason = await transport.run()
            log.info("host %d: disconnected: %s", self.number, reason)
        except (ProtocolError, RingError) as error:
            reason = error.line()
            log.error("host %d: front-end disconnected: %s", self.number, reason)  # noqa: TRY400
        except Exception:
            # A bug of ours costs this front-end its connection, and the others nothing.
            log.exception("host %d: front-end disconnected by a bug of ours", self.number)
        finally:
            # What it had taken is given up for as long as it is there.
            await self._tasks.lose_nexus(sense.I_T_NEXUS_LOSS, always=False)
            self._transport = None
            self._departed.set()
            self._on_front_end(False)

    async def drain(self) -> None:
        """Finish what is in flight, let the front-end go, and take no other."""
        self._draining = True
        if self._transport is not None:
            await self._transport.drain()
        await self._departed.wait()

    def close(self) -> None:
        """Leave the units; the front-end has gone."""
        for attachment in self._tasks.attached.values():
            attachment.unwatch()
            attachment.unit.disconnect(self.nexus, attachment.keeper)
        self._tasks.attached.clear()
        self._engine.remove_host(self._host)

    # -- what the engine hands up (engine.HostHandler)

    def command(self, request: Request, mapping: int, generation: int) -> None:
        """Answer a command of the long road, in a task of its own."""
        del generation  # a mapping's id is never used again: it names the same unit as then
        found = self.table.by_id(mapping, request.target, request.lun)
        if self._transport is not None and self._transport.transfer_limit:
            request = replace(
                request,
                transfer_limit=self._transport.transfer_limit,
                block_limit=self._transport.block_limit,
            )
        task = asyncio.create_task(self._serve(request, found))
        self._held[request.token] = task
        # Not the task's own last act: one that is cancelled before it began has none.
        task.add_done_callback(lambda done: self._answer(request.token, done))

    async def _serve(self, request: Request, mapping: Mapping) -> Reply:
        if mapping.id in self._tasks.offline:
            return sense.check_condition(sense.LOGICAL_UNIT_FAILURE)
        refused = self._denials.check(request, mapping)
        if refused is not None:
            return refused
        return await pipeline.serve(request, mapping)

    def _answer(self, token: int, task: asyncio.Task[Reply]) -> None:
        self._held.pop(token, None)
        # A cancelled task is answered too; the engine has marked how its request ends.
        reply = Reply(service=Service.ABORTED) if task.cancelled() else task.result()
        self._host.complete(token, reply)

    def cancel(self, token: int, service: Service) -> None:
        """End a request that a task management function is about."""
        task = self._held.get(token)
        if task is not None:
            task.cancel()
        else:
            self._host.complete(token, Reply(service=service))

    def control(self, session: int, token: int, data: bytes, writable: int) -> None:
        """Pass a control request to the front-end's transport."""
        if self._transport is not None and self._transport.session_id == session:
            self._transport.control(token, data, writable)

    def broken(self, session: int, queue: int, reason: str) -> None:
        """Let the front-end go whose ring is broken."""
        if self._transport is not None and self._transport.session_id == session:
            self._transport.fail(f"ring {queue}: {reason}")

    def failed(self, mapping: int) -> None:
        """Tell who wants to know that the host's I/O has failed there."""
        self._on_failed(self, mapping)

    # -- task management (transports.base.TaskManager)

    async def manage(self, task: TaskManagement) -> ManagementOutcome:
        """Carry out a task management function (SAM-5 7)."""
        return await self._tasks.manage(task)

    async def abort_unit(self, address: Address, service: Service) -> ManagementOutcome:
        """End all commands of this nexus at an address (tasks.Neighbour)."""
        found = self._tasks.find(address.target, address.lun)
        if isinstance(found, ManagementOutcome):
            return ManagementOutcome.COMPLETE  # it went meanwhile, and its commands with it
        return await self._tasks.abort(found, service)

    def luns(self) -> Iterator[AttachedLun]:
        """All that is attached, and not about to go."""
        return (_attached(mapping) for mapping in self.table if mapping.id not in self._leaving)

    def notifications(self, target: int, lun: int) -> int | ManagementOutcome:
        """Say which asynchronous notifications a LUN can give (virtio 1.2, 5.6.6.2)."""
        found = self._tasks.find(target, lun)
        return found if isinstance(found, ManagementOutcome) else found.unit.notifications

    async def device_reset(self) -> None:
        """The guest has reset its adapter: to its units that is a bus reset by this nexus.

        As a hard reset (SAM-5 6.3.2), but for this nexus alone: others share the units.
        """
        await self._tasks.lose_nexus(sense.SCSI_BUS_RESET, always=True)


def _entry(
    address: Address, mapping_id: int, unit: AttachableUnit, presentation: Presentation
) -> MapEntry:
    return MapEntry(
        address.target,
        address.lun,
        mapping_id,
        unit.medium,
        pipeline.short_road_opcodes(unit, presentation),
        presentation.protected,
        unit.device,
        pipeline.munged_opcodes() if unit.device else frozenset(),
    )


def _attached(mapping: Mapping) -> AttachedLun:
    return AttachedLun(mapping.id, mapping.address, mapping.unit.name)
