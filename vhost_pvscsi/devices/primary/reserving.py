"""Reservations that we keep of a unit: its commands, and the gates that go with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from vhost_pvscsi.devices import reservations
from vhost_pvscsi.devices.gates import Cause
from vhost_pvscsi.devices.reservations import Change, Refusal, Reservations, Verdict
from vhost_pvscsi.scsi import persistent, sense
from vhost_pvscsi.scsi.codes import PersistentIn, PersistentOut
from vhost_pvscsi.scsi.command import Barrier
from vhost_pvscsi.scsi.persistent import MoveList, ParameterList
from vhost_pvscsi.scsi.request import Reply, Request, Service, Status
from vhost_pvscsi.scsi.sense import invalid_parameter

from .state import RESERVATIONS, truncated

if TYPE_CHECKING:
    from vhost_pvscsi.devices.attention import Attentions
    from vhost_pvscsi.devices.gates import Gates
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.command import Command

    from .removal import Removal

log = logging.getLogger(__name__)

#: Says what becomes of the reservations that stand.
Decide: TypeAlias = Callable[[Reservations], Verdict]

#: Does what a change needs elsewhere before it is in force here; a Reply: it cannot be.
Before: TypeAlias = Callable[[Change], Awaitable[Reply | None]]

CONFLICT = Reply(status=Status.RESERVATION_CONFLICT)

_REGISTERING = {PersistentOut.REGISTER, PersistentOut.REGISTER_AND_IGNORE}


class Reserved(Protocol):
    """What of a unit its reservations have to do with; `UnitState` is one."""

    gates: Gates
    attentions: Attentions
    memory: UnitMemory | None  #: what outlives the daemon; None: nothing does
    removal: Removal
    reservations: Reservations
    reserving: asyncio.Lock  #: orders their changes, so that gates and `reservations` agree


def conflict(unit: Reserved, command: Command, request: Request) -> Reply | None:
    """The refusal of a command that another nexus' reservation stops (SPC-5 5.14.1)."""
    barrier = command.barrier_of(request.cdb)
    return CONFLICT if unit.reservations.stops(request.nexus, barrier) else None


def shut_for(now: Reservations, nexus: str) -> bool:
    """Whether a nexus' gate has to be shut: workers could finish a command that is a conflict."""
    return now.stops(nexus, Barrier.WRITE)


async def apply(
    unit: Reserved, decide: Decide, *, abort: bool = False, before: Before | None = None
) -> Reply | Refusal:
    """Decide on what stands now, shut gates, change, open gates, tell."""
    async with unit.reserving:
        verdict = decide(unit.reservations)
        if isinstance(verdict, Refusal):
            return CONFLICT if verdict is Refusal.CONFLICT else verdict
        prevented = None if before is None else await before(verdict)
        if prevented is not None:
            return prevented
        if not await _keep(unit, verdict.after):
            return sense.check_condition(sense.INTERNAL_TARGET_FAILURE)
        await _put_in_force(unit, verdict, abort=abort)
        for nexus, code in verdict.attentions:
            await unit.attentions.establish(code, nexus=nexus)
    return Reply()


async def _keep(unit: Reserved, after: Reservations) -> bool:
    """Keep what outlives the daemon (APTPL), before it is in force; False: it cannot be."""
    if unit.memory is None or not (after.persists or unit.reservations.persists):
        return True
    try:
        await unit.memory.keep(RESERVATIONS, reservations.dumped(after) if after.persists else None)
    except OSError as error:
        log.error("%s: reservations were not kept: %s", unit.memory.path, error)  # noqa: TRY400
        return False
    return True


async def _put_in_force(unit: Reserved, change: Change, *, abort: bool) -> None:
    after = change.after
    try:
        shutting = [
            unit.gates.turn(nexus, Cause.RESERVATION, True)
            for nexus in unit.gates.nexuses
            if shut_for(after, nexus)
        ]
        # Commands in flight go on, as if they had come before (SPC-5 5.14.1); those that are to
        # be aborted end only now, when no other can follow them.
        await asyncio.gather(*shutting)
        ending = [unit.gates.end_commands(nexus) for nexus in change.preempted if abort]
        await asyncio.gather(*ending)
        for nexus in change.preempted if abort else ():
            # SPC-5 5.14.11.5: it ends what they prevented, too.
            unit.removal.allow(nexus)
        unit.reservations = after
    finally:
        # Also where a task management function has ended this command half-way.
        for nexus in unit.gates.nexuses:
            if not shut_for(unit.reservations, nexus):
                await unit.gates.turn(nexus, Cause.RESERVATION, False)


async def nexus_lost(unit: Reserved, nexus: str | None) -> bool:
    """Give up what RESERVE took, of one nexus or of any; True: something was (SPC-2 5.5.1)."""
    if unit.reservations.reserved_by is None or nexus not in {None, unit.reservations.reserved_by}:
        return False
    holder = unit.reservations.reserved_by
    await apply(unit, lambda now: reservations.release_unit(now, holder))
    return True


async def reserve(unit: Reserved, request: Request, cdb: Cdb) -> Reply:
    """Answer RESERVE(6) and (10) (SPC-2 7.21)."""
    del cdb
    return said(await apply(unit, lambda now: reservations.reserve_unit(now, request.nexus)))


async def release(unit: Reserved, request: Request, cdb: Cdb) -> Reply:
    """Answer RELEASE(6) and (10) (SPC-2 7.16)."""
    del cdb
    return said(await apply(unit, lambda now: reservations.release_unit(now, request.nexus)))


async def persistent_in(unit: Reserved, request: Request, cdb: Cdb) -> Reply:
    """Answer PERSISTENT RESERVE IN (SPC-5 6.15)."""
    del request
    now = unit.reservations
    if now.reserved_by is not None:
        return CONFLICT  # SPC-2 5.5.2: from the one who reserved it, too
    match cdb["service_action"]:
        case PersistentIn.READ_KEYS:
            data = persistent.key_list(now.generation, tuple(now.keys.values()))
        case PersistentIn.READ_RESERVATION:
            data = persistent.reservation(now.generation, now.type, now.holder_key)
        case PersistentIn.REPORT_CAPABILITIES:
            data = persistent.capabilities(
                can_persist=unit.memory is not None, persists=now.persists
            )
        case _:
            data = persistent.full_status(now.generation, now.registrations)
    return truncated(data, cdb)


async def persistent_out(unit: Reserved, request: Request, cdb: Cdb) -> Reply:
    """Answer PERSISTENT RESERVE OUT (SPC-5 6.16)."""
    decide = asked(unit, request, cdb)
    if isinstance(decide, Reply):
        return decide
    return said(await apply(unit, decide, abort=aborts(cdb)), cdb)


def aborts(cdb: Cdb) -> bool:
    """Whether a service action ends the commands of whom it preempts."""
    return bool(cdb["service_action"] == PersistentOut.PREEMPT_AND_ABORT)


def asked(unit: Reserved, request: Request, cdb: Cdb) -> Decide | Reply:
    """Read what PERSISTENT RESERVE OUT asks for; a Reply: it is refused whatever stands."""
    if unit.reservations.reserved_by is not None:
        return CONFLICT
    length = cdb["parameter_list_length"]
    if not persistent.LIST_LENGTH <= length <= persistent.MOST_LIST_LENGTH:
        return sense.check_condition(sense.PARAMETER_LIST_LENGTH_ERROR)
    if len(request.data_out) < length:
        return Reply(service=Service.OVERRUN)
    given = request.data_out[:length]
    if cdb["service_action"] == PersistentOut.REGISTER_AND_MOVE:
        return _moving(unit, request.nexus, given)
    return _deciding(unit, request.nexus, given, cdb)


def _deciding(unit: Reserved, nexus: str, data: bytes, cdb: Cdb) -> Decide | Reply:
    """What a service action with the basic parameter list decides."""
    action = PersistentOut(cdb["service_action"])
    given = ParameterList.parse(data[: persistent.LIST_LENGTH])
    registering = action in _REGISTERING
    if given.has(persistent.SPEC_I_PT) and action is not PersistentOut.REGISTER:
        return invalid_parameter(persistent.FLAGS_BYTE, persistent.SPEC_I_PT)
    # APTPL and ALL_TG_PT mean nothing to the others, and are ignored (SPC-5 6.16.2).
    persists = registering and given.has(persistent.APTPL)
    if persists and unit.memory is None:
        return invalid_parameter(persistent.FLAGS_BYTE, persistent.APTPL)
    others = _others(unit, given, data[persistent.LIST_LENGTH :])
    if isinstance(others, Reply):
        return others
    key, other, scope, type_ = given.key, given.action_key, cdb["scope"], cdb["type"]

    def decide(now: Reservations) -> Verdict:
        match action:
            case PersistentOut.REGISTER:
                return reservations.register(
                    now, nexus, key, other, persists=persists, others=others
                )
            case PersistentOut.REGISTER_AND_IGNORE:
                return reservations.register(now, nexus, key, other, ignore=True, persists=persists)
            case PersistentOut.RESERVE:
                return reservations.reserve(now, nexus, key, scope, type_)
            case PersistentOut.RELEASE:
                return reservations.release(now, nexus, key, scope, type_)
            case PersistentOut.CLEAR:
                return reservations.clear(now, nexus, key)
            case _:
                return reservations.preempt(now, nexus, key, other, scope, type_)

    return decide


def _moving(unit: Reserved, nexus: str, data: bytes) -> Decide | Reply:
    """What REGISTER AND MOVE decides (SPC-5 6.16.4)."""
    given = MoveList.parse(data)
    if given is None:
        return sense.check_condition(sense.PARAMETER_LIST_LENGTH_ERROR)
    persists = given.has(persistent.MOVE_APTPL)
    if persists and unit.memory is None:
        return invalid_parameter(persistent.MOVE_FLAGS_BYTE, persistent.MOVE_APTPL)
    if given.port != persistent.TARGET_PORT:
        return invalid_parameter(persistent.PORT_BYTE)
    target = _nexus_of(unit, given.transport_id)
    if target is None:
        return invalid_parameter(persistent.LIST_LENGTH)
    return lambda now: reservations.move(
        now,
        nexus,
        given.key,
        target,
        given.action_key,
        unregister=given.has(persistent.UNREG),
        persists=persists,
    )


def _others(unit: Reserved, given: ParameterList, data: bytes) -> tuple[str, ...] | Reply:
    """The nexuses whose TransportIDs follow the basic list, with SPEC_I_PT (SPC-5 6.16.3)."""
    ports = persistent.listed_ports(data) if given.has(persistent.SPEC_I_PT) else []
    if ports is None or (data and not given.has(persistent.SPEC_I_PT)):
        return sense.check_condition(sense.PARAMETER_LIST_LENGTH_ERROR)
    found = [_nexus_of(unit, port) for port in ports]
    if None in found:
        at = persistent.LIST_LENGTH + 4 + found.index(None) * persistent.TRANSPORT_ID_LENGTH
        return invalid_parameter(at)
    return tuple(nexus for nexus in found if nexus is not None)


def _nexus_of(unit: Reserved, transport_id: bytes) -> str | None:
    known = dict.fromkeys((*unit.gates.nexuses, *unit.reservations.keys))
    return next((nexus for nexus in known if persistent.transport_id(nexus) == transport_id), None)


#: Refusals of the parameter list: what of it is wrong.
_BAD_PARAMETERS = {
    Refusal.BAD_KEY: (8, None),  # the service action reservation key
    Refusal.REGISTERED: (persistent.FLAGS_BYTE, persistent.SPEC_I_PT),
    Refusal.BAD_PORT: (persistent.LIST_LENGTH, None),
}


def said(outcome: Reply | Refusal, cdb: Cdb | None = None) -> Reply:
    """Answer with what became of it."""
    if isinstance(outcome, Reply):
        return outcome
    if outcome in _BAD_PARAMETERS or cdb is None:
        return invalid_parameter(*_BAD_PARAMETERS[outcome])
    if outcome is Refusal.INVALID_RELEASE:
        return sense.check_condition(sense.INVALID_RELEASE_OF_PERSISTENT_RESERVATION)
    wrong = "scope" if cdb["scope"] else "type"
    where = cdb.field("service_action" if outcome is Refusal.NOTHING_HELD else wrong)
    return sense.invalid_field(where.byte, where.top_bit)
