"""The engine's tickets and events as asyncio; with medium.py the one importer of `_engine`."""

from __future__ import annotations

import asyncio
import enum
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from . import _engine
from .errors import RingError
from .scsi.request import Reply, Request, Service, Status, TaskAttribute
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .medium import Medium
    from .sg import Device, DeviceSpec

log = logging.getLogger(__name__)

_ATTRIBUTES = {member.value: member for member in TaskAttribute}

#: Events taken from the engine in one go; a batch keeps the loop responsive.
BATCH = 256

#: Bytes of data-out copies that one virtual host may make us hold (design: a budget per host).
HOST_BUDGET = 8 << 20


#: Upper bounds of the buckets of latencies in seconds, ascending; one more bucket has none.
LATENCY_BOUNDS: tuple[float, ...] = _engine.LATENCY_BOUNDS


class GateReason(enum.IntEnum):
    """Why a gate is shut; the value is the bit, once for reads and once for writes."""

    NEW = 0  #: the mapping is not in service yet
    ATTENTION = 1  #: a unit attention is pending
    RESERVATION = 2  #: a reservation is in the way
    WRITE_PROTECT = 3
    STOPPED = 4  #: START STOP UNIT
    DRAINING = 5
    RESIZED = 6
    FAULTS = 7  #: fault rules are set
    EXCLUSIVE = 8  #: one command has the blocks alone
    LOST = 9  #: the device of a forwarded unit has gone, or a drive has no disc
    TEST = 15  #: for tests that want the long road


@dataclass(frozen=True, slots=True)
class MapEntry:
    """One LUN of a virtual host, as the engine sees it."""

    target: int
    lun: int
    mapping: int
    medium: Medium | None
    opcodes: frozenset[int]  #: what workers may finish by themselves
    protected: bool = False  #: the executor refuses its writes, as those of a read-only medium
    device: Device | None = None  #: that its commands go to, in place of a medium
    copied: frozenset[int] = frozenset()  #: of those the ones whose data-out comes up


@dataclass(frozen=True, slots=True)
class LunCounters:
    """What a mapping has carried since it was made, on whichever road."""

    reads: int  #: commands that read blocks and have ended
    writes: int  #: commands that write blocks and have ended
    others: int  #: other commands that have ended
    long_road: int  #: how many of all of these Python has answered
    errors: int  #: how many failed on the host, or with MEDIUM ERROR or HARDWARE ERROR
    bytes_read: int
    bytes_written: int
    in_flight: int  #: commands that have not ended
    read_latency: tuple[int, ...]  #: reads by bucket of `LATENCY_BOUNDS`
    write_latency: tuple[int, ...]  #: writes, likewise


@dataclass(frozen=True, slots=True)
class Failures:
    """How often the host's I/O has failed, and the last time of it."""

    count: int
    opcode: int
    errno: int


class HostHandler(Protocol):
    """Receives what happens at one virtual host; every call is on the event loop."""

    def command(self, request: Request, mapping: int, generation: int) -> None:
        """A command for the long road; answer it with `Host.complete`."""

    def control(self, session: int, token: int, data: bytes, writable: int) -> None:
        """A request on a control ring; answer it with `Session.complete_control`."""

    def cancel(self, token: int, service: Service) -> None:
        """A held request shall end now."""

    def broken(self, session: int, queue: int, reason: str) -> None:
        """A session's rings have stopped for good."""

    def failed(self, mapping: int) -> None:
        """The host's I/O has failed there; `Host.take_failures` says how often."""


class Engine:
    """The engine threads, driven from one event loop."""

    def __init__(self, threads: int, *, io_uring: bool = True, poll_us: int = 0) -> None:
        self._core = _engine.Engine(threads, io_uring=io_uring, poll_us=poll_us)
        self._tickets: dict[int, asyncio.Future[int]] = {}
        self._executions: dict[int, asyncio.Future[Reply]] = {}
        self._hosts: dict[int, Host] = {}
        self._mappings = 0
        self._handlers: dict[int, Callable[..., None]] = {
            _engine.COMMAND: self._on_command,
            _engine.CONTROL: self._on_control,
            _engine.DONE: self._on_done,
            _engine.BROKEN: self._on_broken,
            _engine.CANCEL: self._on_cancel,
            _engine.EXECUTED: self._on_executed,
            _engine.FAILED: self._on_failed,
        }
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._core.fileno(), self._deliver)

    @property
    def io_uring(self) -> bool:
        """False where the kernel has none or forbids it."""
        return self._core.io_uring

    def add_host(self, nexus: str, handler: HostHandler, budget: int = HOST_BUDGET) -> Host:
        """Make a virtual host; what happens at it is told to `handler`."""
        host = Host(self, self._core, self._core.add_host(budget), nexus, handler)
        self._hosts[host.id] = host
        return host

    def counters(self, session: int) -> list[tuple[int, int, int, int, int, int, int, int]]:
        """Tell what the rings of a front-end have carried; see `_engine.Engine.counters`."""
        return self._core.counters(session)

    def remove_host(self, host: Host) -> None:
        """Forget a virtual host whose sessions have ended."""
        self._hosts.pop(host.id, None)
        self._core.remove_host(host.id)

    def new_mapping(self) -> int:
        """A mapping id that no mapping has had."""
        self._mappings += 1
        return self._mappings

    async def execute(self, medium: Medium, request: Request) -> Reply:
        """Let the medium executor run a held request; its data moves in the engine.

        It runs `request.cdb`, which may be another than the guest's: what a fault rule or a
        munger made of it, shorter or in another place. Raises ValueError for one of more than
        32 bytes.
        """
        self._core.execute(request.token, medium.handle, request.cdb)
        return await self._execution(request.token)

    async def forward(
        self,
        device: Device,
        request: Request,
        *,
        send: bytes | None = None,
        fetch: int | None = None,
    ) -> Reply:
        """Let a device of the host carry out a held request, as `request.cdb` says.

        Its data moves in the engine, but for `send` in place of its data-out, and up to `fetch`
        bytes of data-in that the reply brings.
        """
        self._core.forward(request.token, device.handle, request.cdb, send=send, fetch=fetch)
        reply = await self._execution(request.token)
        # What was fetched has still to be given to the guest, and is counted then.
        return reply if fetch is None else replace(reply, transferred=None)

    async def _execution(self, token: int) -> Reply:
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._executions[token] = future
        # A cancelled task must not orphan the engine's run: the guest's pages are in use until
        # it ends (the caller's cancellation is answered by the engine, which ends it early).
        return await asyncio.shield(future)

    def add_device(self, spec: DeviceSpec) -> Device:
        """Have a SCSI device of the host for `forward`; the caller keeps its descriptor.

        Raises:
            DeviceError: it cannot be opened again.
        """
        return spec.open(self._core)

    def remove_device(self, device: Device) -> None:
        """Let go of a device whose commands have ended; it is closed then."""
        self._core.remove_device(device.handle)
        device.close()

    async def close(self) -> None:
        """Stop the threads. All sessions must have been closed."""
        self._loop.remove_reader(self._core.fileno())
        await asyncio.to_thread(self._core.stop)

    async def done(self, ticket: int) -> int:
        """Wait for the end of an order; RingError when it could not be carried out."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._tickets[ticket] = future
        return await future

    def _deliver(self) -> None:
        for kind, *fields in self._core.take(BATCH):
            try:
                self._handlers[kind](*fields)
            except Exception:
                # A bug of ours in one handler must not lose the events of other hosts.
                log.exception("an engine event of kind %d was not handled: %r", kind, fields[:4])

    def _on_command(self, host_id: int, _session: int, *fields: Any) -> None:
        if host := self._hosts.get(host_id):
            host.deliver_command(*fields)

    def _on_control(
        self, host_id: int, session: int, token: int, data: bytes, writable: int
    ) -> None:
        if host := self._hosts.get(host_id):
            host.handler.control(session, token, data, writable)

    def _on_done(self, ticket: int, value: int, error: str) -> None:
        if future := self._tickets.pop(ticket, None):
            _settle(future, value, error)

    def _on_executed(
        self, token: int, service: int, status: int, sense: bytes, transferred: int, data: bytes
    ) -> None:
        execution = self._executions.pop(token, None)
        if execution is not None and not execution.done():
            reply = Reply(Status(status), Service(service), sense, data, transferred)
            execution.set_result(reply)

    def _on_cancel(self, host_id: int, _session: int, token: int, service: int) -> None:
        if host := self._hosts.get(host_id):
            host.handler.cancel(token, Service(service))

    def _on_broken(self, host_id: int, session: int, queue: int, reason: str) -> None:
        if host := self._hosts.get(host_id):
            host.handler.broken(session, queue, reason)

    def _on_failed(self, host_id: int, mapping: int) -> None:
        if host := self._hosts.get(host_id):
            host.handler.failed(mapping)


def _settle(future: asyncio.Future[int], value: int, error: str) -> None:
    if future.done():
        return
    if error:
        future.set_exception(RingError(error))
    else:
        future.set_result(value)


class Host:
    """One virtual host in the engine: its map, its gates, its requests."""

    def __init__(
        self, engine: Engine, core: _engine.Engine, id_: int, nexus: str, handler: HostHandler
    ) -> None:
        self.id = id_
        self.nexus = nexus
        self.handler = handler
        self.engine = engine
        self._core = core

    def deliver_command(
        self,
        token: int,
        mapping: int,
        generation: int,
        target: int,
        lun: int,
        tag: int,
        attribute: int,
        cdb: bytes,
        data_out: bytes,
        data_out_length: int,
        data_in_length: int,
    ) -> None:
        """Hand a command event to the handler, as a `Request`."""
        request = Request(
            nexus=self.nexus,
            target=target,
            lun=lun,
            cdb=cdb,
            tag=tag,
            # A reserved attribute is taken as SIMPLE, as QEMU does.
            attribute=_ATTRIBUTES.get(attribute, TaskAttribute.SIMPLE),
            data_out=data_out,
            data_out_length=data_out_length,
            data_in_length=data_in_length,
            token=token,
        )
        self.handler.command(request, mapping, generation)

    async def change_map(
        self, generation: int, *, added: Iterable[MapEntry] = (), removed: Iterable[int] = ()
    ) -> None:
        """Swap the map for one that has these mappings besides, and lacks those.

        Returns when no thread looks up in the old one.
        """
        rows = [
            (
                e.target,
                e.lun,
                e.mapping,
                e.medium.handle if e.medium else None,
                e.device.handle if e.device else None,
                e.opcodes,
                e.copied,
                e.protected,
            )
            for e in added
        ]
        ticket = self._core.change_map(self.id, generation, rows, list(removed))
        await self.engine.done(ticket)

    def counters(self, mapping: int) -> LunCounters:
        """What a mapping has carried since it was made; ValueError where there is none."""
        plain, read_latency, write_latency = self._core.lun_counters(mapping)
        reads, writes, others, long_road, errors, bytes_read, bytes_written, in_flight = plain
        return LunCounters(
            reads=reads,
            writes=writes,
            others=others,
            long_road=long_road,
            errors=errors,
            bytes_read=bytes_read,
            bytes_written=bytes_written,
            in_flight=in_flight,
            read_latency=tuple(read_latency),
            write_latency=tuple(write_latency),
        )

    def take_failures(self, mapping: int) -> Failures:
        """What the host's I/O has failed to do at a mapping since this was asked last.

        Where it is nothing, the next failure is told by `HostHandler.failed`.
        """
        return Failures(*self._core.take_failures(mapping))

    def gate(self, mapping: int) -> Gate:
        """The gate of one mapping."""
        return Gate(self.engine, self._core, mapping)

    def complete(self, token: int, reply: Reply) -> None:
        """Answer a held command; one that has ended meanwhile is left alone."""
        self._core.complete(
            token,
            reply.service,
            reply.status,
            reply.sense,
            reply.data,
            -1 if reply.transferred is None else reply.transferred,
        )

    async def abort(
        self, service: Service, *, target: int = -1, lun: int = -1, tag: int = -1
    ) -> int:
        """End the matching requests; returns how many, when all have ended."""
        return await self.engine.done(self._core.abort(self.id, target, lun, tag, service))

    async def count(self, *, target: int = -1, lun: int = -1, tag: int = -1) -> int:
        """How many requests match."""
        return await self.engine.done(self._core.count(self.id, target, lun, tag))

    def add_session(self) -> Session:
        """The engine's side of a front-end that has just connected."""
        return Session(self._core, self._core.add_session(self.id), self.engine.done)


class Gate:
    """Decides whether workers may finish a mapping's commands by themselves (design: the gate)."""

    def __init__(self, engine: Engine, core: _engine.Engine, mapping: int) -> None:
        self._engine = engine
        self._core = core
        self.mapping = mapping

    async def close(
        self, reason: GateReason, *, reads: bool = True, writes: bool = True, wait: bool = True
    ) -> None:
        """Shut it; returns when no short-road command it stops is in flight or will follow.

        Without `wait`, those in flight go on, as commands that are in the task set already may,
        and it returns when none will follow.
        """
        bits = _gate_bits(reason, reads, writes)
        await self._engine.done(self._core.close_gate(self.mapping, bits, wait))

    def shut(self, reason: GateReason) -> None:
        """Shut it without waiting for what is in flight."""
        self._core.close_gate(self.mapping, _gate_bits(reason, reads=True, writes=True))

    def open(self, reason: GateReason) -> None:
        """Take one reason away; the short road opens when none is left."""
        self._core.open_gate(self.mapping, _gate_bits(reason, reads=True, writes=True))


def _gate_bits(reason: GateReason, reads: bool, writes: bool) -> int:
    return (1 << reason if reads else 0) | (1 << (reason + 16) if writes else 0)
