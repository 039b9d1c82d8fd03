"""ForwardedUnit: a LogicalUnit whose commands a device of the host carries out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from vhost_pvscsi.devices.attention import Attentions
from vhost_pvscsi.devices.faults.injector import Faults
from vhost_pvscsi.devices.gates import Cause, Gates
from vhost_pvscsi.devices.policy.defaults import allowed
from vhost_pvscsi.devices.primary.reserving import CONFLICT
from vhost_pvscsi.devices.reached import ReachedUnit
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.codes import Opcode

from . import lost
from .limits import HAVE_BLOCKS
from .reserving import PERSISTENT, OwnReservations

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from vhost_pvscsi.devices.emulated.description import DiskGeometry
    from vhost_pvscsi.devices.faults.rule import Rule
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.medium import Medium
    from vhost_pvscsi.scsi.pages import DeviceType
    from vhost_pvscsi.scsi.request import Reply, Request
    from vhost_pvscsi.sg import Device

    from .asking import Ask
    from .limits import Limits

#: READ and WRITE: workers send them by themselves.
_BLOCKS_MOVE = frozenset(b"\x08\x0a\x28\x2a\x88\x8a\xa8\xaa")

#: Neither report nor clear a unit attention (SAM-5 5.14; MMC-6 6.7, GET EVENT STATUS NOTIFICATION).
_IGNORE_ATTENTION = frozenset({Opcode.INQUIRY, Opcode.REPORT_LUNS, Opcode.REQUEST_SENSE, 0x4A})

#: Most data-in that comes through Python, of a command that a munger looks at.
_FETCH = 1 << 20

#: PERSISTENT RESERVE IN and OUT: bytes of CDB, and most data that is asked for.
_PERSISTENT_LENGTH, _MOST_PERSISTENT = 10, 8192


class Forward(Protocol):
    """Has the engine send a held request to the unit's device."""

    async def __call__(
        self, request: Request, *, send: bytes | None = None, fetch: int | None = None
    ) -> Reply:
        """Return what the device answered; see `Engine.forward`."""


@dataclass(frozen=True, slots=True)
class _Blocks:
    """A unit's blocks, as fault rules want them: how many is the device's to know."""

    block_size: int
    blocks: int = 1 << 62
    transport_limit: int = 0


@dataclass(slots=True)
class ByBlocks:
    """A disk's blocks, where READ and WRITE go by its block device."""

    medium: Medium
    geometry: DiskGeometry  #: of the block device
    execute: Callable[[Request], Awaitable[Reply]]  #: has the engine's executor run one


@dataclass(frozen=True, slots=True)
class Reserving:
    """How commands about reservations reach the device, and whose reservations are."""

    ask: Ask
    own: bool  #: guests are kept apart by us, and the device knows one of them at a time
    memory: UnitMemory | None = None  #: keeps them, where they are ours


class ForwardedUnit(ReachedUnit):
    """A device of the host.

    To the device all that we send is of one nexus. Its unit attentions go to whoever's command it
    reports them with, and nobody else hears of them; those that are ours to tell (LUNs that come
    and go, a reset that a guest asked for) are kept here, by nexus, and told first.
    """

    def __init__(
        self,
        name: str,
        device: Device,
        limits: Limits,
        forward: Forward,
        *,
        exclusive: bool = False,
        is_munged: Callable[[int], bool] = lambda _: False,
        reset: Callable[[], Awaitable[None]] | None = None,
        faults: Iterable[Rule] = (),
        reserving: Reserving | None = None,
        blocks: ByBlocks | None = None,
    ) -> None:
        """Make it of a device that is open.

        `exclusive`: it takes one command at a time. `is_munged` says of an operation code whether
        Python has to see its data. `reset` resets the device itself, where an operator allows that.

        Raises:
            DeviceError: reservations that were kept cannot be read.
        """
        self._reset = reset
        self._name = name
        self._device = device
        self._limits = limits
        self._send = forward
        self._turn = asyncio.Lock() if exclusive else None
        self._is_munged = is_munged
        self._by_blocks = blocks
        super().__init__(Gates(), Attentions(self._attention_changed))
        #: Sends commands about reservations; None: they go as all others do.
        self._reserve_by = reserving.ask if reserving is not None else None
        self._own: OwnReservations | None = None
        if reserving is not None and reserving.own:
            self._own = OwnReservations(
                self._gates, self._attentions, self._ask_apart, reserving.memory
            )
        of_rules = _Blocks(limits.block_size or 512)
        self._faults = Faults(self._gates, lambda: of_rules, None, faults)
        self._sent: set[asyncio.Future[Reply]] = set()
        #: What the device has said of itself, while it is gone; None: it is there.
        self._lost: Mapping[int | None, bytes] | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def medium(self) -> Medium | None:
        return None if self._by_blocks is None else self._by_blocks.medium

    @property
    def geometry(self) -> DiskGeometry:
        """Of its block device.

        Raises:
            ValueError: READ and WRITE do not go by one.
        """
        if self._by_blocks is None:
            msg = f"{self._name} has no block device"
            raise ValueError(msg)
        return self._by_blocks.geometry

    def grow(self, blocks: int) -> None:
        """Have more blocks from now on, as the block device has.

        Initiators are to be told: `capacity_changed`.

        Raises:
            ValueError: not more than before, or READ and WRITE do not go by a block device.
        """
        grown = replace(self.geometry, blocks=blocks)
        assert self._by_blocks is not None  # it has a geometry
        self._by_blocks.medium.grow(blocks * grown.block_size)
        self._by_blocks.geometry = grown

    async def capacity_changed(self) -> None:
        """Tell every nexus: what the device told itself the kernel may have heard alone."""
        await self.attend(sense.CAPACITY_DATA_HAS_CHANGED)

    @property
    def device(self) -> Device:
        """The engine's half of it."""
        return self._device

    @property
    def limits(self) -> Limits:
        """What the host carries to it."""
        return self._limits

    @property
    def forwarded_as(self) -> DeviceType | None:
        return self._limits.device_type

    @property
    def block_size(self) -> int:
        return self._limits.block_size

    @property
    def medium_opcodes(self) -> frozenset[int]:
        """READ and WRITE of what has blocks, as far as its type's policy lets them pass."""
        if self._limits.device_type not in HAVE_BLOCKS:
            return frozenset()
        passing = allowed(self._limits.device_type)
        return frozenset(opcode for opcode in _BLOCKS_MOVE if (opcode, None) in passing)

    @property
    def copied_opcodes(self) -> frozenset[int]:
        """PERSISTENT RESERVE OUT, where it is not the engine that sends it."""
        return PERSISTENT if self._reserve_by is not None else frozenset()

    @property
    def reservations(self) -> OwnReservations | None:
        """What stands among its guests, if they are kept apart here."""
        return self._own

    @property
    def faults(self) -> Faults:
        """The fault rules that are in force."""
        return self._faults

    def _shutting(self, nexus: str) -> tuple[Cause, ...]:
        causes = (
            (Cause.FAULTS, self._faults.shut),
            (Cause.LOST, self._lost is not None),
            (Cause.RESERVATION, self._own is not None and self._own.shut_for(nexus)),
        )
        return tuple(cause for cause, holds in causes if holds)

    async def nexus_lost(self, nexus: str) -> bool:
        """Give up what RESERVE took, where we know whose it is; the device knows one nexus."""
        return self._own is not None and await self._own.nexus_lost(nexus)

    async def reset_device(self) -> None:
        """Reset the device itself if that is allowed, so that commands end which it works on."""
        if self._reset is not None and self._lost is None:
            await self._reset()

    async def reset(self) -> None:
        """Say to all that it was reset; `reset_device` comes before, and the end of commands."""
        if self._own is not None:
            await self._own.nexus_lost(None)
        await self.attend(sense.BUS_DEVICE_RESET)

    async def lose(self, told: Mapping[int | None, bytes]) -> None:
        """The device has gone: answer without it; `told` as in `lost.answer`.

        Commands that are under way end as the kernel ends them.
        """
        self._lost = told
        await self._gates.turn_all(Cause.LOST, True)

    async def idle(self, patience: float) -> bool:
        """Wait until nothing is under way to a device that has gone; False: something stays."""
        try:
            async with asyncio.timeout(patience):
                # No command follows: the gates are shut. Once more, to wait for those of workers.
                await self._gates.turn_all(Cause.EXCLUSIVE, True)
                await self._gates.turn_all(Cause.EXCLUSIVE, False)
                if self._sent:
                    await asyncio.wait(self._sent)
        except TimeoutError:
            return False
        return True

    def go_on_with(
        self,
        device: Device,
        limits: Limits,
        forward: Forward,
        ask: Ask | None = None,
        blocks: ByBlocks | None = None,
    ) -> None:
        """Have another device behind it, until `found` not for guests."""
        self._device, self._limits, self._send = device, limits, forward
        self._reserve_by, self._by_blocks = ask, blocks

    async def found(self) -> None:
        """The device is there again, and begins as one that was switched on."""
        await self.attend(sense.POWER_ON_OR_RESET)
        self._lost = None
        await self._gates.turn_all(Cause.LOST, False)

    async def execute(self, request: Request) -> Reply:
        """Have the device answer one request."""
        if request.opcode not in _IGNORE_ATTENTION:
            attention = await self._attentions.take(request.nexus)
            if attention is not None:
                return sense.check_condition(attention)
        if self._lost is not None:
            return lost.answer(request, self._lost)
        strike = await self._faults.strike(request)
        if strike is not None:
            return await strike.inflict(request, self._in_turn, self._carry_out)
        return await self._carry_out(request, self._in_turn)

    async def _carry_out(
        self, request: Request, send: Callable[[Request], Awaitable[Reply]]
    ) -> Reply:
        if self._own is not None:
            if request.opcode in self._own.opcodes:
                return await self._own.execute(request)
            if self._own.stops(request, self._limits.device_type):
                return CONFLICT
        elif self._reserve_by is not None and request.opcode in PERSISTENT:
            return await self._ask_apart(
                request.cdb[:_PERSISTENT_LENGTH], request.data_out, request.data_in_length
            )
        if request.opcode in self._limits.opcodes:
            return await self._limits.told(request, send)
        return await send(request)

    async def _ask_apart(self, cdb: bytes, data_out: bytes, room: int) -> Reply:
        """Have the device answer a command that no ring holds, when it is its turn."""
        if self._turn is None:
            return await self._ask_now(cdb, data_out, room)
        async with self._turn:
            return await self._ask_now(cdb, data_out, room)

    async def _ask_now(self, cdb: bytes, data_out: bytes, room: int) -> Reply:
        if self._lost is not None or self._reserve_by is None:
            return sense.check_condition(sense.OFFLINE)
        asked = asyncio.ensure_future(
            asyncio.to_thread(self._reserve_by, cdb, data_out, min(room, _MOST_PERSISTENT))
        )
        self._sent.add(asked)
        asked.add_done_callback(self._sent.discard)
        return await asyncio.shield(asked)

    async def _in_turn(self, request: Request) -> Reply:
        if self._turn is None:
            return await self._forward(request)
        # Whoever is cancelled while it waits has not been sent, and ends at once.
        device = self._device
        await self._turn.acquire()
        if self._lost is not None or device is not self._device:
            # It was meant for a device that has gone, and what it did before it is not so now.
            self._turn.release()
            return sense.check_condition(sense.OFFLINE)
        sent = asyncio.ensure_future(self._forward(request))
        # A command that is under way keeps its turn until it ends, whoever still wants to know.
        sent.add_done_callback(self._next)
        return await asyncio.shield(sent)

    def _next(self, _: asyncio.Future[Reply]) -> None:
        assert self._turn is not None
        self._turn.release()

    async def _forward(self, request: Request) -> Reply:
        sent = asyncio.ensure_future(self._ask(request))
        self._sent.add(sent)
        sent.add_done_callback(self._sent.discard)
        return await asyncio.shield(sent)

    async def _ask(self, request: Request) -> Reply:
        by_blocks = self._by_blocks is not None and request.opcode in self.medium_opcodes
        if self._by_blocks is not None and by_blocks and not self._is_munged(request.opcode):
            return await self._by_blocks.execute(request)
        if request.data_out and len(request.data_out) == request.data_out_length:
            # It came up because a munger looks at it, and may have changed it.
            return await self._send(request, send=request.data_out)
        if request.data_in_length and self._is_seen(request.opcode):
            return await self._send(request, fetch=min(request.data_in_length, _FETCH))
        return await self._send(request)

    def _is_seen(self, opcode: int) -> bool:
        moves_blocks = opcode in self.medium_opcodes
        by_rule = self._faults.shut and not moves_blocks
        return opcode in self._limits.opcodes or by_rule or self._is_munged(opcode)

    async def _attention_changed(self, nexus: str, pending: bool) -> None:
        await self._gates.turn(nexus, Cause.ATTENTION, pending)
