"""Reservations of a unit as values: who has registered, who holds what, who may do what.

A pure machine: each function takes what stands and gives what shall stand, with the unit
attentions that go with it, or says why not. `devices/primary/reserving.py` puts it in force.
SPC-5 5.14; for RESERVE and RELEASE SPC-2 5.5, with the exceptions of SPC-4 5.12.3.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.command import Barrier
from vhost_pvscsi.scsi.persistent import Registration, ReservationType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vhost_pvscsi.scsi.sense import SenseCode


class Refusal(enum.Enum):
    """Why something about reservations is not done."""

    CONFLICT = enum.auto()  #: RESERVATION CONFLICT
    BAD_TYPE = enum.auto()  #: no such scope or type
    BAD_KEY = enum.auto()  #: a service action reservation key of 0
    INVALID_RELEASE = enum.auto()  #: scope or type are not those that are held
    BAD_PORT = enum.auto()  #: the nexus to move to is the sender's own
    NOTHING_HELD = enum.auto()  #: there is no reservation to move
    REGISTERED = enum.auto()  #: SPEC_I_PT from a nexus that is registered already


@dataclass(frozen=True, slots=True)
class Reservations:
    """All that a unit has to remember of reservations."""

    keys: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    type: ReservationType | None = None
    holder: str | None = None  #: None: nobody, or all registrants
    generation: int = 0  #: PRGENERATION
    reserved_by: str | None = None  #: the nexus whose RESERVE stands
    persists: bool = False  #: APTPL: registrations and persistent reservation outlive the daemon

    def holds(self, nexus: str) -> bool:
        """Whether a nexus holds the persistent reservation."""
        if self.type is None:
            return False
        return nexus in self.keys if self.type.all_hold else nexus == self.holder

    def stops(self, nexus: str, barrier: Barrier) -> bool:
        """Whether a command of that kind from a nexus is a conflict (SPC-5 5.14.1)."""
        if barrier is Barrier.NONE:
            return False
        if self.reserved_by is not None:
            return nexus != self.reserved_by
        if self.type is None or barrier is Barrier.RESERVE or self.holds(nexus):
            return False
        if self.type.registered_may and nexus in self.keys:
            return False
        return not (barrier is Barrier.READ and self.type.others_may_read)

    @property
    def registrations(self) -> tuple[Registration, ...]:
        """All registrations, the oldest first."""
        return tuple(
            Registration(nexus, key, self.type if self.holds(nexus) else None)
            for nexus, key in self.keys.items()
        )

    @property
    def holder_key(self) -> int:
        """The key to tell for the holder; 0 where all registrants hold it."""
        return self.keys.get(self.holder, 0) if self.holder is not None else 0


@dataclass(frozen=True, slots=True)
class Change:
    """What shall stand, and who is to hear of it."""

    after: Reservations
    attentions: tuple[tuple[str, SenseCode], ...] = ()
    preempted: tuple[
        str, ...
    ] = ()  #: nexuses whose registration was taken away, the sender not among them


Verdict: TypeAlias = Change | Refusal

_CONFLICT = Refusal.CONFLICT


def _told(nexuses: Iterable[str], but: str, code: SenseCode) -> tuple[tuple[str, SenseCode], ...]:
    return tuple((nexus, code) for nexus in nexuses if nexus != but)


def _counted(now: Reservations, keys: Mapping[str, int]) -> Reservations:
    generation = now.generation + 1 & 0xFFFFFFFF
    return replace(now, keys=MappingProxyType(dict(keys)), generation=generation)


def _without(now: Reservations, gone: Iterable[str]) -> dict[str, int]:
    gone = set(gone)
    return {nexus: key for nexus, key in now.keys.items() if nexus not in gone}


def _is_own(now: Reservations, nexus: str, key: int) -> bool:
    return now.keys.get(nexus) == key


def register(
    now: Reservations,
    nexus: str,
    key: int,
    new_key: int,
    *,
    ignore: bool = False,
    persists: bool = False,
    others: Iterable[str] = (),
) -> Verdict:
    """Register a nexus, change its key or, with 0, unregister it (SPC-5 5.14.7, 5.14.11.2).

    `others` are registered with it (SPEC_I_PT); the last APTPL, `persists`, is for all.
    """
    if not ignore and now.keys.get(nexus, 0) != key:
        return _CONFLICT
    others = tuple(others)
    if others and nexus in now.keys:
        return Refusal.REGISTERED
    if new_key:
        added = {other: new_key for other in others if other not in now.keys}
        after = _counted(now, {**now.keys, nexus: new_key, **added})
        return Change(replace(after, persists=persists))
    if nexus not in now.keys:
        return Change(now)
    now = replace(now, persists=persists)
    held = now.holds(nexus)
    after = _counted(now, _without(now, (nexus,)))
    # What all registrants hold lasts as long as there is one.
    if not held or now.type is None or (now.type.all_hold and after.keys):
        return Change(after)
    told = after.keys if now.type.registered_may else ()
    return Change(
        replace(after, type=None, holder=None), _told(told, nexus, sense.RESERVATIONS_RELEASED)
    )


def _chosen(scope: int, type_: int) -> ReservationType | None:
    # LU_SCOPE is the only scope (SPC-5, "Persistent reservations scope").
    return ReservationType(type_) if scope == 0 and type_ in set(ReservationType) else None


def _taken(now: Reservations, nexus: str, chosen: ReservationType) -> Reservations:
    return replace(now, type=chosen, holder=None if chosen.all_hold else nexus)


def reserve(now: Reservations, nexus: str, key: int, scope: int, type_: int) -> Verdict:
    """Make a persistent reservation (SPC-5 5.14.9)."""
    if not _is_own(now, nexus, key):
        return _CONFLICT
    chosen = _chosen(scope, type_)
    if chosen is None:
        return Refusal.BAD_TYPE
    if now.type is None:
        return Change(_taken(now, nexus, chosen))
    return Change(now) if now.holds(nexus) and now.type is chosen else _CONFLICT


def release(now: Reservations, nexus: str, key: int, scope: int, type_: int) -> Verdict:
    """Give a persistent reservation up (SPC-5 5.14.11.1); one that is not held: nothing."""
    if not _is_own(now, nexus, key):
        return _CONFLICT
    if now.type is None or not now.holds(nexus):
        return Change(now)
    if _chosen(scope, type_) is not now.type:
        return Refusal.INVALID_RELEASE
    told = now.keys if now.type.registered_may else ()
    return Change(
        replace(now, type=None, holder=None), _told(told, nexus, sense.RESERVATIONS_RELEASED)
    )


def clear(now: Reservations, nexus: str, key: int) -> Verdict:
    """Give up the reservation and all registrations (SPC-5 5.14.11.4)."""
    if not _is_own(now, nexus, key):
        return _CONFLICT
    after = replace(_counted(now, {}), type=None, holder=None)
    return Change(after, _told(now.keys, nexus, sense.RESERVATIONS_PREEMPTED))


def move(
    now: Reservations,
    nexus: str,
    key: int,
    target: str,
    target_key: int,
    *,
    unregister: bool,
    persists: bool,
) -> Verdict:
    """Register another nexus and give it the reservation (SPC-5 5.14.8)."""
    if not _is_own(now, nexus, key):
        return _CONFLICT
    if target_key == 0:
        return Refusal.BAD_KEY
    if now.type is None:
        return Refusal.NOTHING_HELD
    if now.type.all_hold or now.holder != nexus:
        return _CONFLICT
    if target == nexus:
        return Refusal.BAD_PORT
    keys = _without(now, (nexus,) if unregister else ())
    after = _counted(now, {**keys, target: target_key})
    return Change(replace(after, holder=target, persists=persists))


def preempt(
    now: Reservations, nexus: str, key: int, victim: int, scope: int, type_: int
) -> Verdict:
    """Take registrations with a key away, and the reservation if it is theirs (SPC-5 5.14.11.5)."""
    if not _is_own(now, nexus, key):
        return _CONFLICT
    everybody = now.type is not None and now.type.all_hold and victim == 0
    if everybody or (now.holder is not None and now.holder_key == victim):
        return _preempt_reservation(now, nexus, victim, scope, type_)
    if victim == 0:
        return Refusal.BAD_KEY
    gone = tuple(name for name, known in now.keys.items() if known == victim)
    if not gone:
        return _CONFLICT
    after = _counted(now, _without(now, gone))
    if now.type is not None and now.type.all_hold and not after.keys:
        after = replace(after, type=None)
    others = tuple(name for name in gone if name != nexus)
    return Change(after, _told(others, nexus, sense.REGISTRATIONS_PREEMPTED), others)


def _preempt_reservation(
    now: Reservations, nexus: str, victim: int, scope: int, type_: int
) -> Verdict:
    chosen = _chosen(scope, type_)
    if chosen is None:
        return Refusal.BAD_TYPE
    gone = tuple(name for name, known in now.keys.items() if name != nexus and victim in {0, known})
    after = _taken(_counted(now, _without(now, gone)), nexus, chosen)
    told = _told(gone, nexus, sense.REGISTRATIONS_PREEMPTED)
    if chosen is not now.type:
        told += _told(after.keys, nexus, sense.RESERVATIONS_RELEASED)
    return Change(after, told, gone)


def reserve_unit(now: Reservations, nexus: str) -> Verdict:
    """Do RESERVE(6) or (10) (SPC-2 7.21; SPC-4 5.12.3)."""
    if now.keys:
        return _beside_registrations(now, nexus)
    if now.reserved_by not in {None, nexus}:
        return _CONFLICT
    return Change(replace(now, reserved_by=nexus))


def release_unit(now: Reservations, nexus: str) -> Verdict:
    """Do RELEASE(6) or (10); who has no reservation gives none up (SPC-2 7.16; SPC-4 5.12.3)."""
    if now.keys:
        return _beside_registrations(now, nexus)
    return Change(replace(now, reserved_by=None) if now.reserved_by == nexus else now)


def _beside_registrations(now: Reservations, nexus: str) -> Verdict:
    has_part = now.type is not None and now.type.registered_may and nexus in now.keys
    return Change(now) if now.holds(nexus) or has_part else _CONFLICT


def dumped(now: Reservations) -> dict[str, object]:
    """Say what outlives the daemon as JSON; `restored` reads it."""
    return {"keys": dict(now.keys), "type": now.type, "holder": now.holder}


def restored(kept: object) -> Reservations:
    """Read what `dumped` said; the generation begins anew (SPC-5 5.14.1).

    Raises:
        ValueError: it is not what `dumped` says.
    """
    if not isinstance(kept, dict) or kept.keys() != {"keys", "type", "holder"}:
        msg = f"not a set of reservations: {kept!r}"
        raise ValueError(msg)
    keys, type_, holder = kept["keys"], kept["type"], kept["holder"]
    if not isinstance(keys, dict) or not all(
        isinstance(key, int) and 0 < key < 1 << 64 for key in keys.values()
    ):
        msg = f"not registrations: {keys!r}"
        raise ValueError(msg)
    held = None if type_ is None else ReservationType(type_)
    # A registered nexus holds it; or all do, or nobody does: then none is named.
    named = holder is None if held is None or held.all_hold else holder in keys
    if not named or (held is not None and not keys):
        msg = f"no reservation of type {type_!r} is held by {holder!r}"
        raise ValueError(msg)
    return Reservations(MappingProxyType(dict(keys)), held, holder, persists=True)
