"""Reservations of the emulated disk: its commands, and the gates that go with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from vhost_pvscsi.devices import reservations
from vhost_pvscsi.devices.gates import Cause
from vhost_pvscsi.devices.reservations import Change, Refusal, Reservations, Verdict
from vhost_pvscsi.scsi import persistent, sense
from vhost_pvscsi.scsi.codes import PersistentIn, PersistentOut
from vhost_pvscsi.scsi.command import Barrier
from vhost_pvscsi.scsi.persistent import ParameterList
from vhost_pvscsi.scsi.request import Reply, Request, Service, Status
from vhost_pvscsi.scsi.sense import FieldPointer

from .state import DiskState, truncated

if TYPE_CHECKING:
    from collections.abc import Callable

    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.command import Command

CONFLICT = Reply(status=Status.RESERVATION_CONFLICT)

_REGISTERING = {PersistentOut.REGISTER, PersistentOut.REGISTER_AND_IGNORE}


def conflict(disk: DiskState, command: Command, request: Request) -> Reply | None:
    """The refusal of a command that another nexus' reservation stops (SPC-5 5.14.1)."""
    barrier = command.barrier_of(request.cdb)
    return CONFLICT if disk.reservations.stops(request.nexus, barrier) else None


def shut_for(now: Reservations, nexus: str) -> bool:
    """Whether a nexus' gate has to be shut: workers could finish a command that is a conflict."""
    return now.stops(nexus, Barrier.WRITE)


async def _apply(
    disk: DiskState, decide: Callable[[Reservations], Verdict], *, abort: bool = False
) -> Reply | Refusal:
    """Decide on what stands now, shut gates, change, open gates, tell."""
    async with disk.reserving:
        verdict = decide(disk.reservations)
        if isinstance(verdict, Refusal):
            return CONFLICT if verdict is Refusal.CONFLICT else verdict
        await _put_in_force(disk, verdict, abort=abort)
        for nexus, code in verdict.attentions:
            await disk.attentions.establish(code, nexus=nexus)
    return Reply()


async def _put_in_force(disk: DiskState, change: Change, *, abort: bool) -> None:
    after = change.after
    try:
        shutting = [
            disk.gates.turn(nexus, Cause.RESERVATION, True)
            for nexus in disk.gates.nexuses
            if shut_for(after, nexus)
        ]
        # An abort goes with the shutting, which waits for the commands that it ends.
        ending = [disk.gates.end_commands(nexus) for nexus in change.preempted if abort]
        await asyncio.gather(*shutting, *ending)
        disk.reservations = after
    finally:
        # Also where a task management function has ended this command half-way.
        for nexus in disk.gates.nexuses:
            if not shut_for(disk.reservations, nexus):
                await disk.gates.turn(nexus, Cause.RESERVATION, False)


async def nexus_lost(disk: DiskState, nexus: str | None) -> bool:
    """Give up what RESERVE took, of one nexus or of any; True: something was (SPC-2 5.5.1)."""
    if disk.reservations.reserved_by is None or nexus not in {None, disk.reservations.reserved_by}:
        return False
    holder = disk.reservations.reserved_by
    await _apply(disk, lambda now: reservations.release_unit(now, holder))
    return True


async def reserve(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer RESERVE(6) and (10) (SPC-2 7.21)."""
    del cdb
    return _said(await _apply(disk, lambda now: reservations.reserve_unit(now, request.nexus)))


async def release(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer RELEASE(6) and (10) (SPC-2 7.16)."""
    del cdb
    return _said(await _apply(disk, lambda now: reservations.release_unit(now, request.nexus)))


async def persistent_in(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer PERSISTENT RESERVE IN (SPC-5 6.15)."""
    del request
    now = disk.reservations
    if now.reserved_by is not None:
        return CONFLICT  # SPC-2 5.5.2: from the one who reserved it, too
    match cdb["service_action"]:
        case PersistentIn.READ_KEYS:
            data = persistent.key_list(now.generation, tuple(now.keys.values()))
        case PersistentIn.READ_RESERVATION:
            data = persistent.reservation(now.generation, now.type, now.holder_key)
        case PersistentIn.REPORT_CAPABILITIES:
            data = persistent.capabilities()
        case _:
            data = persistent.full_status(now.generation, now.registrations)
    return truncated(data, cdb)


async def persistent_out(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer PERSISTENT RESERVE OUT (SPC-5 6.16)."""
    if disk.reservations.reserved_by is not None:
        return CONFLICT
    length = cdb["parameter_list_length"]
    if length != persistent.LIST_LENGTH:
        return sense.check_condition(sense.PARAMETER_LIST_LENGTH_ERROR)
    if len(request.data_out) < length:
        return Reply(service=Service.OVERRUN)
    action = PersistentOut(cdb["service_action"])
    given = ParameterList.parse(request.data_out[:length])
    refused = _unsupported(action, given)
    if refused is not None:
        return _bad_parameter(persistent.FLAGS_BYTE, refused)
    outcome = await _apply(
        disk,
        lambda now: _act(now, request.nexus, action, given, cdb),
        abort=action is PersistentOut.PREEMPT_AND_ABORT,
    )
    return _said(outcome, cdb)


def _act(
    now: Reservations, nexus: str, action: PersistentOut, given: ParameterList, cdb: Cdb
) -> Verdict:
    key, other, scope, type_ = given.key, given.action_key, cdb["scope"], cdb["type"]
    if now.reserved_by is not None:
        return Refusal.CONFLICT
    match action:
        case PersistentOut.REGISTER | PersistentOut.REGISTER_AND_IGNORE:
            ignore = action is PersistentOut.REGISTER_AND_IGNORE
            return reservations.register(now, nexus, key, other, ignore=ignore)
        case PersistentOut.RESERVE:
            return reservations.reserve(now, nexus, key, scope, type_)
        case PersistentOut.RELEASE:
            return reservations.release(now, nexus, key, scope, type_)
        case PersistentOut.CLEAR:
            return reservations.clear(now, nexus, key)
        case _:
            return reservations.preempt(now, nexus, key, other, scope, type_)


def _unsupported(action: PersistentOut, given: ParameterList) -> int | None:
    """The flag that asks for what is not there (SPC-5 6.16.2); those of no meaning are ignored."""
    if given.has(persistent.SPEC_I_PT):
        return persistent.SPEC_I_PT
    wanted = (persistent.ALL_TG_PT, persistent.APTPL) if action in _REGISTERING else ()
    return next((flag for flag in wanted if given.has(flag)), None)


def _bad_parameter(byte: int, bit: int | None = None) -> Reply:
    return sense.check_condition(
        sense.INVALID_FIELD_IN_PARAMETER_LIST, pointer=FieldPointer(byte, bit, in_cdb=False)
    )


def _said(outcome: Reply | Refusal, cdb: Cdb | None = None) -> Reply:
    if isinstance(outcome, Reply):
        return outcome
    if outcome is Refusal.BAD_TYPE and cdb is not None:
        where = cdb.field("scope" if cdb["scope"] else "type")
        return sense.invalid_field(where.byte, where.top_bit)
    if outcome is Refusal.INVALID_RELEASE:
        return sense.check_condition(sense.INVALID_RELEASE_OF_PERSISTENT_RESERVATION)
    return _bad_parameter(8)  # the service action reservation key
