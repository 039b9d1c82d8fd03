"""Reservations of guests that share a device of the host, kept apart by us.

What stands among our guests is ours (`devices/reservations.py`); the device is told what
`mirror.py` says, before it is in force here, and asked what others did, before anything is decided.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.devices import reservations
from vhost_pvscsi.devices.primary import reserving
from vhost_pvscsi.devices.primary.removal import Removal
from vhost_pvscsi.devices.primary.state import kept_reservations, truncated
from vhost_pvscsi.scsi import persistent, sense
from vhost_pvscsi.scsi.codes import Opcode, PersistentIn, PersistentOut
from vhost_pvscsi.scsi.opcodes import TABLE
from vhost_pvscsi.scsi.request import Reply, Service, Status

from . import mirror
from .barriers import barrier
from .mirror import Asked, Seen

if TYPE_CHECKING:
    from vhost_pvscsi.devices.attention import Attentions
    from vhost_pvscsi.devices.gates import Gates
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.devices.reservations import Change, Reservations
    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.command import Command
    from vhost_pvscsi.scsi.pages import DeviceType
    from vhost_pvscsi.scsi.request import Request

#: Has the device answer a command of ours: CDB, data-out, room for data-in.
Asker: TypeAlias = Callable[[bytes, bytes, int], Awaitable[Reply]]

#: Most data that is asked for: what qemu-pr-helper carries.
_ROOM = 8192
#: Unit attentions that a device may have for us before it does what it is asked for.
_ATTENTIONS = 8

_RESERVE = frozenset({Opcode.RESERVE_6, Opcode.RESERVE_10})
_RELEASE = frozenset({Opcode.RELEASE_6, Opcode.RELEASE_10})
_RELEASING = {Opcode.RESERVE_6: Opcode.RELEASE_6, Opcode.RESERVE_10: Opcode.RELEASE_10}
PERSISTENT = frozenset({Opcode.PERSISTENT_RESERVE_IN, Opcode.PERSISTENT_RESERVE_OUT})

_BY_OPCODE: dict[tuple[int, int | None], Command] = {
    row.key: row for row in TABLE if row.opcode in _RESERVE | _RELEASE | PERSISTENT
}

#: What the device tells this host, and we have told our guests in our own words.
_OF_RESERVATIONS = {
    sense.RESERVATIONS_PREEMPTED,
    sense.RESERVATIONS_RELEASED,
    sense.REGISTRATIONS_PREEMPTED,
}


def _good(reply: Reply) -> bool:
    return reply.service is Service.COMPLETE and reply.status is Status.GOOD


def _ask_in(action: PersistentIn, room: int) -> bytes:
    return struct.pack(">BB5xHx", Opcode.PERSISTENT_RESERVE_IN, action, room)


class OwnReservations:
    """What stands among the guests of one device; `reserving.Reserved`."""

    #: Commands that are answered here.
    opcodes = _RESERVE | _RELEASE | PERSISTENT

    def __init__(
        self, gates: Gates, attentions: Attentions, ask: Asker, memory: UnitMemory | None
    ) -> None:
        """Begin with what was kept in `memory`.

        Raises:
            DeviceError: it cannot be read.
        """
        self.gates = gates
        self.attentions = attentions
        self.memory = memory
        self.removal = Removal()  # who prevents it is the device's to know
        self.reservations = mirror.without_others(kept_reservations(memory))
        self.reserving = asyncio.Lock()
        self._ask = ask
        # Orders what is asked of the device: each is decided by the end of the last one.
        self._order = asyncio.Lock()
        self._shown = mirror.wanted(self.reservations)
        self._generation = 0
        self._release = bytes(6)  #: undoes the RESERVE that stands
        self._under_way: set[asyncio.Task[Reply]] = set()

    def stops(self, request: Request, device_type: DeviceType) -> bool:
        """Whether another nexus' reservation stops a command."""
        if self.reservations.reserved_by is None and self.reservations.type is None:
            return False
        return self.reservations.stops(request.nexus, barrier(device_type, request.cdb))

    def shut_for(self, nexus: str) -> bool:
        """Whether a nexus' gate has to be shut."""
        return reserving.shut_for(self.reservations, nexus)

    async def execute(self, request: Request) -> Reply:
        """Answer one of `opcodes`; what has begun comes to its end, whoever still wants to know."""
        task = asyncio.ensure_future(self._execute(request))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            raise

    async def nexus_lost(self, nexus: str | None) -> bool:
        """Give up what RESERVE took, of one nexus or of any; True: something was (SPC-2 5.5.1)."""
        async with self._order:
            holder = self.reservations.reserved_by
            if holder is None or nexus not in {None, holder}:
                return False
            # Whether the device hears of it or not: here it has gone.
            await self._asked(self._release)
            await reserving.apply(self, lambda now: reservations.release_unit(now, holder))
        return True

    def farewell(self) -> tuple[bytes, bytes] | None:
        """What the device is to be told when the unit goes: a CDB and its data; None: nothing.

        A registration that shall outlive the daemon stays.
        """
        if not self._shown.key or self._shown.persists:
            return None
        none = self.reservations.__class__()
        change = reservations.Change(none)
        (step,) = mirror.steps(self._shown, none, change, Asked(PersistentOut.REGISTER))
        return step.cdb, step.data

    async def _execute(self, request: Request) -> Reply:
        row = _row(request)
        if isinstance(row, Reply):
            return row
        cdb = row.parse(request.cdb)
        if isinstance(cdb, Reply):
            return cdb
        async with self._order:
            if request.opcode in _RESERVE | _RELEASE:
                return await self._simple(request, row)
            refused = await self._look()
            if refused is not None:
                return refused
            told = row.opcode is Opcode.PERSISTENT_RESERVE_IN
            return await (self._tell(cdb) if told else self._change(request, cdb))

    async def _asked(self, cdb: bytes, data: bytes = b"", room: int = 0) -> Reply:
        """Ask the device; the unit attentions that it has for us are our guests' to hear."""
        for _ in range(_ATTENTIONS):
            reply = await self._ask(cdb, data, room)
            code = sense.parsed(reply.sense)
            if code is None or code.key is not sense.SenseKey.UNIT_ATTENTION:
                break
            if code not in _OF_RESERVATIONS:
                await self.attentions.establish(code)
        return reply

    # -- PERSISTENT RESERVE IN and OUT

    async def _look(self) -> Reply | None:
        """Take into account what other initiators did; a Reply: the device does not say."""
        keys = await self._asked(_ask_in(PersistentIn.READ_KEYS, _ROOM), room=_ROOM)
        held = await self._asked(_ask_in(PersistentIn.READ_RESERVATION, _ROOM), room=_ROOM)
        for reply in (keys, held):
            if not _good(reply):
                return replace(reply, data=b"")
        listed = persistent.parsed_key_list(keys.data)
        if listed is None:
            return sense.check_condition(sense.INTERNAL_TARGET_FAILURE)
        self._generation = listed[0]
        seen = Seen(*listed, *(persistent.parsed_reservation(held.data) or (0, None)))

        def decide(now: Reservations) -> Change:
            change, self._shown = mirror.adopt(now, self._shown, seen)
            return change

        outcome = await reserving.apply(self, decide)
        return outcome if isinstance(outcome, Reply) and not _good(outcome) else None

    async def _tell(self, cdb: Cdb) -> Reply:
        now = self.reservations
        # What changes here alone counts as what changes there does.
        generation = self._generation + now.generation & 0xFFFFFFFF
        if now.reserved_by is not None:
            return reserving.CONFLICT
        match cdb["service_action"]:
            case PersistentIn.READ_KEYS:
                data = persistent.key_list(generation, tuple(now.keys.values()))
            case PersistentIn.READ_RESERVATION:
                data = persistent.reservation(generation, now.type, now.holder_key)
            case _:
                asked = _ask_in(PersistentIn(cdb["service_action"]), _ROOM)
                reply = await self._asked(asked, room=_ROOM)
                if not _good(reply):
                    return replace(reply, data=b"")
                if cdb["service_action"] == PersistentIn.REPORT_CAPABILITIES:
                    data = self._capabilities(reply.data)
                else:
                    data = self._full_status(generation, reply.data)
        return truncated(data, cdb)

    def _capabilities(self, told: bytes) -> bytes:
        if len(told) < 8:
            return told
        can_persist = self.memory is not None and bool(told[2] & 0x01)
        ours = persistent.capabilities(can_persist=can_persist, persists=self.reservations.persists)
        # Types, and what goes through beside a reservation, are the device's.
        return told[:2] + ours[2:3] + bytes([told[3] & 0xFE | ours[3] & 0x01]) + told[4:8]

    def _full_status(self, generation: int, told: bytes) -> bytes:
        rows = persistent.status_rows(told)
        ours = next((row for row in rows if row[:8] == self._shown.key.to_bytes(8, "big")), None)
        if ours is not None and self._shown.key:
            rows.remove(ours)
        own = mirror.own(self.reservations)
        mine = [one for one in self.reservations.registrations if one.nexus in own]
        return persistent.full_status(generation, mine, rows)

    async def _change(self, request: Request, cdb: Cdb) -> Reply:
        decide = reserving.asked(self, request, cdb)
        if isinstance(decide, Reply):
            return decide
        victim = int.from_bytes(request.data_out[8:16], "big")
        action = PersistentOut(cdb["service_action"])
        asked = Asked(action, victim, cdb["scope"] << 4 | cdb["type"])
        first = not self._shown.key

        async def before(change: Change) -> Reply | None:
            for step in mirror.steps(self._shown, self.reservations, change, asked):
                reply = await self._asked(step.cdb, step.data)
                if not _good(reply):
                    return reply
                self._shown = step.then
            return None

        outcome = await reserving.apply(self, decide, abort=reserving.aborts(cdb), before=before)
        if first and self._shown.key:
            await self._clean_up()
        return reserving.said(outcome, cdb)

    async def _clean_up(self) -> None:
        """Give up what an earlier daemon of this host held: it is ours again, and nobody's."""
        await self._look()
        now, key = self.reservations, self._shown.key
        if self._shown.type is None or now.type is None or now.type.all_hold:
            return
        cdb = struct.pack(
            ">BBB2xIx",
            Opcode.PERSISTENT_RESERVE_OUT,
            PersistentOut.RELEASE,
            now.type,
            persistent.LIST_LENGTH,
        )
        if _good(await self._asked(cdb, struct.pack(">Q16x", key))):
            await self._look()

    # -- RESERVE and RELEASE

    async def _simple(self, request: Request, row: Command) -> Reply:
        taking = request.opcode in _RESERVE
        return await (self._reserve(request, row) if taking else self._give_up(request))

    async def _reserve(self, request: Request, row: Command) -> Reply:
        async def before(change: Change) -> Reply | None:
            if change.after.reserved_by == self.reservations.reserved_by:
                return None
            reply = await self._asked(bytes([row.opcode]).ljust(row.length, b"\0"))
            if not _good(reply):
                return reply
            releasing = _RELEASING[Opcode(row.opcode)]
            self._release = bytes([releasing]).ljust(row.length, b"\0")
            return None

        outcome = await reserving.apply(
            self, lambda now: reservations.reserve_unit(now, request.nexus), before=before
        )
        return reserving.said(outcome)

    async def _give_up(self, request: Request) -> Reply:
        async def before(change: Change) -> Reply | None:
            if change.after.reserved_by == self.reservations.reserved_by:
                return None
            reply = await self._asked(self._release)
            return None if _good(reply) else reply

        outcome = await reserving.apply(
            self, lambda now: reservations.release_unit(now, request.nexus), before=before
        )
        return reserving.said(outcome)


def _row(request: Request) -> Command | Reply:
    action = request.cdb[1] & 0x1F if request.opcode in PERSISTENT else None
    found = _BY_OPCODE.get((request.opcode, action))
    return found if found is not None else sense.invalid_field(1, 4)
