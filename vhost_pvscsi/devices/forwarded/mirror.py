"""What a device is to know of our guests' reservations: one registration, one reservation. Pure.

To a device this host is one I_T nexus, whatever guests there are. We keep their registrations apart
(`devices/reservations.py`) and register once for all of them, so that other initiators are kept out
as one guest here wants. Theirs are taken into account as those of nexuses that are `elsewhere`.
docs/decisions/0013-shared-devices.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.reservations import Change, Reservations
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.codes import Opcode, PersistentOut
from vhost_pvscsi.scsi.persistent import APTPL, LIST_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vhost_pvscsi.scsi.persistent import ReservationType
    from vhost_pvscsi.scsi.sense import SenseCode

#: What names of nexuses begin with that are not ours; a virtual host has no such name.
_ELSEWHERE = "elsewhere:"

_PREEMPTING = {PersistentOut.PREEMPT, PersistentOut.PREEMPT_AND_ABORT}


@dataclass(frozen=True, slots=True)
class Shown:
    """What the device has been told of us."""

    key: int = 0  #: 0: we are not registered
    type: ReservationType | None = None  #: of the reservation that we hold, alone or with all
    persists: bool = False  #: APTPL


@dataclass(frozen=True, slots=True)
class Seen:
    """What the device says."""

    generation: int
    keys: tuple[int, ...]  #: of all that are registered, ours among them
    holder: int = 0  #: the key of who holds the reservation; 0 where all registrants do
    type: ReservationType | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The service action that a guest asked for."""

    action: PersistentOut
    victim: int = 0  #: the key that PREEMPT is about
    type: int = 0  #: scope and type, as in the CDB


@dataclass(frozen=True, slots=True)
class Step:
    """One PERSISTENT RESERVE OUT for the device, and what it knows of us after it."""

    action: PersistentOut
    key: int
    other: int
    type: int
    then: Shown

    @property
    def cdb(self) -> bytes:
        """Its CDB (SPC-5 6.16.1)."""
        code = Opcode.PERSISTENT_RESERVE_OUT
        return struct.pack(">BBB2xIx", code, self.action, self.type, LIST_LENGTH)

    @property
    def data(self) -> bytes:
        """Its parameter list (SPC-5 6.16.3)."""
        return struct.pack(">QQ4xB3x", self.key, self.other, self.then.persists << APTPL)


def elsewhere(nexus: str) -> bool:
    """Whether a nexus is another initiator's, not a guest's of ours."""
    return nexus.startswith(_ELSEWHERE)


def own(now: Reservations) -> dict[str, int]:
    """Find the registrations of our guests."""
    return {nexus: key for nexus, key in now.keys.items() if not elsewhere(nexus)}


def without_others(now: Reservations) -> Reservations:
    """Forget what was known of others: they are asked for again."""
    held = now.holder is None or not elsewhere(now.holder)
    keys = own(now)
    type_ = now.type if held and keys else None
    holder = now.holder if type_ is not None else None
    return replace(now, keys=MappingProxyType(keys), type=type_, holder=holder)


def wanted(after: Reservations, shown: Shown = Shown()) -> Shown:
    """Say what the device is to know, once `after` stands.

    Others see the key of the guest that holds the reservation; where none does, that which they
    have seen so far, if a guest has it still.
    """
    keys = own(after)
    if not keys:
        return Shown()
    if after.holder is not None and after.holder in keys:
        return Shown(keys[after.holder], after.type, after.persists)
    key = shown.key if shown.key in keys.values() else next(iter(keys.values()))
    held = after.type if after.type is not None and after.type.all_hold else None
    return Shown(key, held, after.persists)


def adopt(now: Reservations, shown: Shown, seen: Seen) -> tuple[Change, Shown]:
    """Take into account what others did: what stands then, who hears of it, what is known of us."""
    others, keys = list(seen.keys), own(now)
    told: dict[str, SenseCode] = {}
    if shown.key in others:
        others.remove(shown.key)
    elif shown.key:
        # Another initiator has thrown us out, and with us all guests that are registered.
        told = dict.fromkeys(keys, sense.REGISTRATIONS_PREEMPTED)
        keys, shown = {}, Shown()
    names = {f"{_ELSEWHERE}{number}": key for number, key in enumerate(others)}
    holder = _holder(now, shown, seen, keys, names)
    held = seen.type if seen.type is None or seen.type.all_hold or holder is not None else None
    ours = holder in keys or (held is not None and held.all_hold and shown.key != 0)
    if now.type is not None and shown.type is not None and held is None:
        told = dict.fromkeys(keys, sense.RESERVATIONS_RELEASED) | told
    all_keys = MappingProxyType(keys | names)
    after = replace(now, keys=all_keys, type=held, holder=holder)
    return Change(after, tuple(told.items())), replace(shown, type=held if ours else None)


def _holder(
    now: Reservations, shown: Shown, seen: Seen, keys: Mapping[str, int], names: Mapping[str, int]
) -> str | None:
    if seen.type is None or seen.type.all_hold:
        return None
    if now.holder in keys and (shown.key, shown.type) == (seen.holder, seen.type):
        return now.holder
    known = [nexus for nexus, key in names.items() if key == seen.holder]
    # If nobody else has that key it is we who hold it, since before somebody forgot.
    known += [nexus for nexus, key in keys.items() if key == seen.holder == shown.key]
    return next(iter(known), None)


def steps(shown: Shown, before: Reservations, change: Change, asked: Asked) -> Iterator[Step]:
    """Say what the device is to be asked for a change that a guest's service action makes.

    Each step is to be carried out before the next one, and none after one that is refused.
    """
    after = change.after
    if asked.action is PersistentOut.CLEAR:
        yield Step(asked.action, shown.key, 0, 0, Shown())
        return
    want = wanted(after, shown)
    if asked.action in _PREEMPTING and _reaches_others(before, after):
        if want.key != shown.key:
            shown = replace(shown, key=want.key, persists=want.persists)
            yield _register(shown)
        took = before.holder is not None and elsewhere(before.holder) and want.type is not None
        everybody = before.type is not None and before.type.all_hold and asked.victim == 0
        shown = replace(shown, type=want.type if took or everybody else shown.type)
        yield Step(asked.action, shown.key, asked.victim, asked.type, shown)
    yield from _bring(shown, want, {key for nexus, key in after.keys.items() if elsewhere(nexus)})


def _reaches_others(before: Reservations, after: Reservations) -> bool:
    took = before.holder is not None and elsewhere(before.holder) and after.holder != before.holder
    return took or any(elsewhere(nexus) and nexus not in after.keys for nexus in before.keys)


def _bring(shown: Shown, want: Shown, others: set[int]) -> Iterator[Step]:
    if want.key == 0:
        if shown.key:
            yield _register(Shown())  # what it alone holds goes with it
        return
    if (want.key, want.persists) != (shown.key, shown.persists):
        shown = replace(shown, key=want.key, persists=want.persists)
        yield _register(shown)
    if want.type is shown.type:
        return
    both = shown.type is not None and want.type is not None
    if both and not shown.type.all_hold and want.key not in others:  # type: ignore[union-attr]
        # By taking it from ourselves there is no moment without one.
        yield Step(PersistentOut.PREEMPT, want.key, want.key, int(want.type or 0), want)
        return
    if shown.type is not None:
        then = replace(shown, type=None)
        yield Step(PersistentOut.RELEASE, shown.key, 0, shown.type, then)
    if want.type is not None:
        yield Step(PersistentOut.RESERVE, want.key, 0, want.type, want)


def _register(then: Shown) -> Step:
    # Whatever an earlier daemon of this host has left there is replaced.
    return Step(PersistentOut.REGISTER_AND_IGNORE, 0, then.key, 0, then)
