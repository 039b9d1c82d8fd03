"""One virtual host: its LUNs, its front-end, and the long road between them.

The engine hands up what no worker may finish; each such request is a task here, which asks
the pipeline and gives the answer back. A virtual host outlives its front-ends.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from . import pipeline
from .devices.gates import Cause, Keeper
from .engine import Engine, Gate, GateReason, MapEntry
from .errors import ProtocolError, RingError
from .scsi import sense
from .scsi.request import (
    ManagementOutcome,
    Reply,
    Request,
    Service,
    TaskFunction,
    TaskManagement,
)
from .translation import Mapping, Table
from .transports.base import Announcement, Happening
from .transports.connection import Connection
from .transports.vhost_user.transport import VhostUserTransport

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator

    from .devices.unit import AttachableUnit
    from .identity import Address

log = logging.getLogger(__name__)

#: How long a task management function waits for the kernel to let go of a command. Linux
#: guests give up on a TMF after 30 s or so and then reset harder.
TMF_DEADLINE = 20.0

#: How long `detach` lets commands of workers end by themselves before it ends them.
DETACH_PATIENCE = 2.0

#: Parameters changed: capacity, mode parameters, reservations... (SPC-5, "ASC and ASCQ").
_PARAMETERS_CHANGED = 0x2A

_GATE_REASONS = {cause: GateReason[cause.name] for cause in Cause}


class Adapter:
    """A virtual host (HBA): one I_T nexus to each of its units."""

    def __init__(
        self,
        engine: Engine,
        number: int,
        peers: Callable[[AttachableUnit], Iterable[tuple[Adapter, Address]]],
    ) -> None:
        """Make an empty host; `peers` finds all places that a unit is attached at."""
        self.number = number
        self.nexus = f"host{number}"
        self._engine = engine
        self._peers = peers
        self._host = engine.add_host(self.nexus, self)
        self._table = Table(number)
        self._attached: dict[int, tuple[AttachableUnit, Keeper]] = {}
        self._unwatch: dict[int, Callable[[], None]] = {}
        # Orders changes of the table: each is made from the last one.
        self._changing = asyncio.Lock()
        self._offline: set[int] = set()
        self._held: dict[int, asyncio.Task[Reply]] = {}
        self._transport: VhostUserTransport | None = None
        self._departed = asyncio.Event()
        self._departed.set()
        self._draining = False

    # -- LUNs

    @property
    def table(self) -> Table:
        """What is attached, as it stands now."""
        return self._table

    @property
    def units(self) -> Iterator[AttachableUnit]:
        """Every unit that is attached, as often as it is."""
        return (unit for unit, _ in self._attached.values())

    def unit_at(self, address: Address) -> AttachableUnit:
        """The unit at an address.

        Raises:
            ConfigurationError: nothing is attached there.
        """
        unit, _ = self._attached[self._table.find(address).id]
        return unit

    @property
    def session_id(self) -> int | None:
        """The engine's number for the connected front-end."""
        return self._transport.session_id if self._transport else None

    def gate(self, mapping_id: int) -> Gate:
        """The gate of one of its mappings."""
        return self._host.gate(mapping_id)

    async def attach(self, address: Address, unit: AttachableUnit) -> None:
        """Put a unit at an address, and tell the guest that is there.

        Raises:
            ConfigurationError: something is attached there.
        """
        async with self._changing:
            await self._attach(address, unit)
            await self._announce_change(Happening.LUN_ADDED, address)

    async def _attach(self, address: Address, unit: AttachableUnit) -> None:
        mapping_id = self._engine.new_mapping()
        table = self._table.attach(address, unit, mapping_id)
        # The engine first: until our own table has the mapping, its commands find an absent unit.
        await self._tell_engine(table)
        gate = self._host.gate(mapping_id)

        async def keep(cause: Cause, shut: bool) -> None:
            if shut:
                await gate.close(_GATE_REASONS[cause])
            else:
                gate.open(_GATE_REASONS[cause])

        async def end() -> None:
            await self.abort_unit(address, Service.ABORTED)

        await unit.connect(self.nexus, keep, end)
        self._attached[mapping_id] = unit, keep
        self._table = table
        # Only now may workers finish its commands: everything that shuts the gate has done so.
        self._unwatch[mapping_id] = unit.watch(
            self.nexus, lambda code: self._note_attention(address, code)
        )
        gate.open(GateReason.NEW)

    async def detach(self, address: Address, *, patience: float = DETACH_PATIENCE) -> bool:
        """Take the unit at an address away, and tell the guest that is there.

        Commands in flight may take `patience` seconds to end by themselves.

        True: all its commands have ended. False: the kernel still holds one, so that the unit's
        file must not be closed.

        Raises:
            ConfigurationError: nothing is attached there.
        """
        async with self._changing:
            table = self._table.detach(address)
            mapping = self._table.resolve(address.target, address.lun)
            unit, keeper = self._attached[mapping.id]
            # From here on commands come by the long road and find an absent unit.
            self._table = table
            gate = self._host.gate(mapping.id)
            gate.shut(GateReason.DRAINING)
            try:
                async with asyncio.timeout(patience):
                    await gate.close(GateReason.DRAINING)
            except TimeoutError:
                log.info("%s: commands are ended for its removal", address)
            ended = await self._abort(mapping, Service.ABORTED) is ManagementOutcome.COMPLETE
            self._unwatch.pop(mapping.id)()
            unit.disconnect(self.nexus, keeper)
            del self._attached[mapping.id]
            if all(known is not unit for known, _ in self._attached.values()):
                await unit.nexus_lost(self.nexus)
            await self._tell_engine(table)
            self._offline.discard(mapping.id)
            # After the LUN has gone: Linux looks whether it still answers.
            await self._announce_change(Happening.LUN_REMOVED, address)
            return ended

    def announce(self, announcement: Announcement) -> None:
        """Tell the guest that is there what happened to a LUN; never waits."""
        if self._transport is not None:
            self._transport.announce(announcement)

    def _note_attention(self, address: Address, code: sense.SenseCode) -> None:
        if code.asc == _PARAMETERS_CHANGED:
            detail = code.asc | code.ascq << 8
            self.announce(
                Announcement(Happening.PARAMETERS_CHANGED, address.target, address.lun, detail)
            )

    async def _announce_change(self, happening: Happening, address: Address) -> None:
        """Say that a LUN came or went: to the guest, and by the other LUNs of its target."""
        for mapping in self._table:
            place = mapping.address
            if place.target == address.target and place.lun != address.lun:
                unit, _ = self._attached[mapping.id]
                await unit.attend(sense.REPORTED_LUNS_DATA_HAS_CHANGED, nexus=self.nexus)
        self.announce(Announcement(happening, address.target, address.lun))

    async def _tell_engine(self, table: Table) -> None:
        entries = [
            MapEntry(
                mapping.address.target,
                mapping.address.lun,
                mapping.id,
                mapping.unit.medium,
                pipeline.short_road_opcodes(mapping.unit),
            )
            for mapping in table
        ]
        await self._host.set_map(table.generation, entries)

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
        transport = VhostUserTransport(
            Connection(sock), self._host, self, name=f"host {self.number}"
        )
        self._transport = transport
        self._departed.clear()
        log.info("host %d: a front-end has connected", self.number)
        try:
            reason = await transport.run()
            log.info("host %d: disconnected: %s", self.number, reason)
        except (ProtocolError, RingError) as error:
            log.error("host %d: front-end disconnected: %s", self.number, error)  # noqa: TRY400
        except Exception:
            # A bug of ours costs this front-end its connection, and the others nothing.
            log.exception("host %d: front-end disconnected by a bug of ours", self.number)
        finally:
            await self._lose_nexus()
            self._transport = None
            self._departed.set()

    async def _lose_nexus(self) -> None:
        """Give up what its front-end had taken for as long as it is there."""
        for unit, _ in tuple(self._attached.values()):
            if await unit.nexus_lost(self.nexus):
                await unit.attend(sense.I_T_NEXUS_LOSS, nexus=self.nexus)

    async def drain(self) -> None:
        """Finish what is in flight, let the front-end go, and take no other."""
        self._draining = True
        if self._transport is not None:
            await self._transport.drain()
        await self._departed.wait()

    def close(self) -> None:
        """Leave the units; the front-end has gone."""
        for unwatch in self._unwatch.values():
            unwatch()
        self._unwatch.clear()
        for unit, keeper in self._attached.values():
            unit.disconnect(self.nexus, keeper)
        self._attached.clear()
        self._engine.remove_host(self._host)

    # -- what the engine hands up (engine.HostHandler)

    def command(self, request: Request, mapping: int, generation: int) -> None:
        """Answer a command of the long road, in a task of its own."""
        del generation  # a mapping's id is never used again: it names the same unit as then
        found = self._table.by_id(mapping, request.target, request.lun)
        task = asyncio.create_task(self._serve(request, found))
        self._held[request.token] = task
        # Not the task's own last act: one that is cancelled before it began has none.
        task.add_done_callback(lambda done: self._answer(request.token, done))

    async def _serve(self, request: Request, mapping: Mapping) -> Reply:
        if mapping.id in self._offline:
            return sense.check_condition(sense.LOGICAL_UNIT_FAILURE)
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

    # -- task management (transports.base.TaskManager)

    async def manage(self, task: TaskManagement) -> ManagementOutcome:
        """Carry out a task management function (SAM-5 7)."""
        if task.function is TaskFunction.I_T_NEXUS_RESET:
            return await self._reset_nexus()
        mapping = self._table.resolve(task.target, task.lun)
        if mapping.id not in self._attached:
            known = bool(mapping.siblings)
            return ManagementOutcome.INCORRECT_LUN if known else ManagementOutcome.BAD_TARGET
        if task.function in {TaskFunction.QUERY_TASK, TaskFunction.QUERY_TASK_SET}:
            return await self._query(task)
        return await self._end_tasks(task, mapping)

    def notifications(self, target: int, lun: int) -> int | ManagementOutcome:
        """Say which asynchronous notifications a LUN can give (virtio 1.2, 5.6.6.2)."""
        mapping = self._table.resolve(target, lun)
        if mapping.id in self._attached:
            return 0  # they are about removable media of MMC's kinds; a disk has none
        known = bool(mapping.siblings)
        return ManagementOutcome.INCORRECT_LUN if known else ManagementOutcome.BAD_TARGET

    async def device_reset(self) -> None:
        """The guest has reset its adapter: to its units that is a bus reset by this nexus.

        As a hard reset (SAM-5 6.3.2), but for this nexus alone: others share the units.
        """
        for unit in {id(unit): unit for unit, _ in self._attached.values()}.values():
            await unit.nexus_lost(self.nexus)
            await unit.attend(sense.SCSI_BUS_RESET, nexus=self.nexus)

    async def _end_tasks(self, task: TaskManagement, mapping: Mapping) -> ManagementOutcome:
        unit, _ = self._attached[mapping.id]
        match task.function:
            case TaskFunction.ABORT_TASK:
                return await self._abort(mapping, Service.ABORTED, tag=task.tag)
            case TaskFunction.ABORT_TASK_SET:
                return await self._abort(mapping, Service.ABORTED)
            case TaskFunction.CLEAR_TASK_SET:
                return await self._abort_everywhere(unit, Service.ABORTED)
            case TaskFunction.LOGICAL_UNIT_RESET:
                outcome = await self._abort_everywhere(unit, Service.RESET)
                await unit.reset()
                return outcome
            case _:
                # CLEAR ACA: no such condition is ever established, NORMACA is 0 (SPC-5 6.7.2).
                return ManagementOutcome.REJECTED

    async def _query(self, task: TaskManagement) -> ManagementOutcome:
        tag = task.tag if task.function is TaskFunction.QUERY_TASK else -1
        found = await self._host.count(target=task.target, lun=task.lun, tag=tag)
        return ManagementOutcome.SUCCEEDED if found else ManagementOutcome.COMPLETE

    async def _abort_everywhere(self, unit: AttachableUnit, service: Service) -> ManagementOutcome:
        outcomes = [
            await adapter.abort_unit(address, service) for adapter, address in self._peers(unit)
        ]
        failed = ManagementOutcome.FAILED in outcomes
        return ManagementOutcome.FAILED if failed else ManagementOutcome.COMPLETE

    async def abort_unit(self, address: Address, service: Service) -> ManagementOutcome:
        """End all commands of this nexus at an address."""
        return await self._abort(self._table.resolve(address.target, address.lun), service)

    async def _reset_nexus(self) -> ManagementOutcome:
        outcome = ManagementOutcome.COMPLETE
        for mapping in self._table:
            if await self._abort(mapping, Service.RESET) is ManagementOutcome.FAILED:
                outcome = ManagementOutcome.FAILED
            unit, _ = self._attached[mapping.id]
            await unit.nexus_lost(self.nexus)
            await unit.attend(sense.I_T_NEXUS_LOSS, nexus=self.nexus)
        return outcome

    async def _abort(
        self, mapping: Mapping, service: Service, *, tag: int = -1
    ) -> ManagementOutcome:
        address = mapping.address
        try:
            async with asyncio.timeout(TMF_DEADLINE):
                await self._host.abort(service, target=address.target, lun=address.lun, tag=tag)
        except TimeoutError:
            # The kernel still has the guest's pages: nothing is pretended, and no more is risked.
            log.error(  # noqa: TRY400
                "%s: commands did not end within %.0f s of a task management function; "
                "the LUN is offline",
                address,
                TMF_DEADLINE,
            )
            self._offline.add(mapping.id)
            self._host.gate(mapping.id).shut(GateReason.STOPPED)
            return ManagementOutcome.FAILED
        return ManagementOutcome.COMPLETE
