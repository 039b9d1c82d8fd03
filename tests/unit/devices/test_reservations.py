"""Reservations: who may do what, and what each service action makes of what stands."""

import json
from types import MappingProxyType

import pytest

from vhost_pvscsi.devices import reservations as r
from vhost_pvscsi.devices.reservations import Refusal, Reservations
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.command import Barrier
from vhost_pvscsi.scsi.persistent import ReservationType as Type

A, B, C = 0xA, 0xB, 0xC
RELEASED, PREEMPTED = sense.RESERVATIONS_RELEASED, sense.RESERVATIONS_PREEMPTED
GONE = sense.REGISTRATIONS_PREEMPTED


def standing(type_=None, holder="a", **keys):
    """What stands when these nexuses have registered, "a" unless told otherwise among them."""
    keys = keys or {"a": A, "b": B}
    held = holder if type_ is not None and not type_.all_hold else None
    return Reservations(MappingProxyType(keys), type_, held)


#: SPC-5 5.14.1: what stops (reading, writing) for the holder, another registered nexus, a
#: nexus that is not registered.
ACCESS = {
    Type.WRITE_EXCLUSIVE: ((0, 0), (0, 1), (0, 1)),
    Type.EXCLUSIVE_ACCESS: ((0, 0), (1, 1), (1, 1)),
    Type.WRITE_EXCLUSIVE_REGISTRANTS: ((0, 0), (0, 0), (0, 1)),
    Type.EXCLUSIVE_ACCESS_REGISTRANTS: ((0, 0), (0, 0), (1, 1)),
    Type.WRITE_EXCLUSIVE_ALL: ((0, 0), (0, 0), (0, 1)),
    Type.EXCLUSIVE_ACCESS_ALL: ((0, 0), (0, 0), (1, 1)),
}


@pytest.mark.parametrize("type_", Type, ids=lambda one: one.name)
def test_who_is_stopped_is_the_standards_table(type_):
    now = standing(type_)
    for nexus, expected in zip("abc", ACCESS[type_], strict=True):
        stopped = tuple(now.stops(nexus, barrier) for barrier in (Barrier.READ, Barrier.WRITE))
        assert stopped == expected, nexus
        assert not now.stops(nexus, Barrier.NONE)
        assert not now.stops(nexus, Barrier.RESERVE)


def test_reserve_stops_everybody_else():
    now = r.reserve_unit(Reservations(), "a").after
    for barrier in Barrier:
        assert not now.stops("a", barrier)
        assert now.stops("b", barrier) is (barrier is not Barrier.NONE)
    assert r.reserve_unit(now, "b") is Refusal.CONFLICT
    assert r.reserve_unit(now, "a").after == now
    assert r.release_unit(now, "b").after == now
    assert r.release_unit(now, "a").after == Reservations()


def test_registering():
    first = r.register(Reservations(), "a", 0, A).after
    assert (dict(first.keys), first.generation) == ({"a": A}, 1)
    assert r.register(first, "b", 1, B) is Refusal.CONFLICT
    assert r.register(first, "a", B, C) is Refusal.CONFLICT
    assert r.register(first, "a", 0, C) is Refusal.CONFLICT
    changed = r.register(first, "a", A, C).after
    assert (dict(changed.keys), changed.generation) == ({"a": C}, 2)
    assert dict(r.register(first, "a", 99, C, ignore=True).after.keys) == {"a": C}
    assert r.register(Reservations(), "a", 0, 0).after == Reservations()
    assert dict(r.register(first, "a", A, 0).after.keys) == {}


def test_reserving():
    now = standing()
    assert r.reserve(now, "c", 0, 0, 1) is Refusal.CONFLICT
    assert r.reserve(now, "a", B, 0, 1) is Refusal.CONFLICT
    for scope, type_ in ((0, 0), (0, 2), (0, 4), (0, 9), (1, 1), (2, 1)):
        assert r.reserve(now, "a", A, scope, type_) is Refusal.BAD_TYPE
    held = r.reserve(now, "a", A, 0, 5).after
    assert held == standing(Type.WRITE_EXCLUSIVE_REGISTRANTS)
    assert r.reserve(held, "a", A, 0, 5).after == held
    assert r.reserve(held, "a", A, 0, 6) is Refusal.CONFLICT
    assert r.reserve(held, "b", B, 0, 5) is Refusal.CONFLICT
    everybody = r.reserve(now, "a", A, 0, 7).after
    assert r.reserve(everybody, "b", B, 0, 7).after == everybody


@pytest.mark.parametrize("type_", Type, ids=lambda one: one.name)
def test_releasing(type_):
    now = standing(type_)
    told = (("b", RELEASED),) if type_ >= 5 else ()
    assert r.release(now, "b", A, 0, type_) is Refusal.CONFLICT
    assert r.release(now, "a", A, 0, type_ ^ 1) is Refusal.INVALID_RELEASE
    assert r.release(now, "a", A, 0, type_) == r.Change(standing(), told)
    if not type_.all_hold:
        assert r.release(now, "b", B, 0, type_).after == now


@pytest.mark.parametrize("type_", Type, ids=lambda one: one.name)
def test_a_holder_that_unregisters_releases(type_):
    change = r.register(standing(type_), "a", A, 0)
    assert change.after.type is (type_ if type_.all_hold else None)
    told = type_.registered_may and not type_.all_hold
    assert change.attentions == ((("b", RELEASED),) if told else ())
    last = r.register(standing(type_, "a", a=A), "a", A, 0).after
    assert (last.type, last.holder, dict(last.keys)) == (None, None, {})


def test_clearing():
    change = r.clear(standing(Type.EXCLUSIVE_ACCESS), "b", B)
    assert change.after == Reservations(generation=1)
    assert change.attentions == (("a", PREEMPTED),)
    assert r.clear(standing(), "b", A) is Refusal.CONFLICT


def test_preempting_a_holder_takes_the_reservation():
    now = standing(Type.WRITE_EXCLUSIVE_REGISTRANTS, a=A, b=B, c=C)
    change = r.preempt(now, "b", B, A, 0, 1)
    assert dict(change.after.keys) == {"b": B, "c": C}
    assert (change.after.type, change.after.holder) == (Type.WRITE_EXCLUSIVE, "b")
    assert change.attentions == (("a", GONE), ("c", RELEASED))
    assert change.preempted == ("a",)
    assert r.preempt(now, "b", B, A, 0, 5).attentions == (("a", GONE),)
    assert r.preempt(now, "b", B, A, 0, 2) is Refusal.BAD_TYPE


def test_preempting_others_takes_their_registrations_alone():
    now = standing(Type.EXCLUSIVE_ACCESS, a=A, b=B, c=C)
    change = r.preempt(now, "b", B, C, 0, 0)
    assert dict(change.after.keys) == {"a": A, "b": B}
    assert (change.after.type, change.after.holder) == (now.type, "a")
    assert change.attentions == (("c", GONE),)
    assert r.preempt(now, "b", B, 99, 0, 1) is Refusal.CONFLICT
    assert r.preempt(now, "b", B, 0, 0, 1) is Refusal.BAD_KEY
    assert r.preempt(now, "b", A, C, 0, 1) is Refusal.CONFLICT


def test_key_0_preempts_what_all_registrants_hold():
    now = standing(Type.EXCLUSIVE_ACCESS_ALL, a=A, b=B, c=C)
    change = r.preempt(now, "b", B, 0, 0, 3)
    assert dict(change.after.keys) == {"b": B}
    assert (change.after.type, change.after.holder) == (Type.EXCLUSIVE_ACCESS, "b")
    assert change.attentions == (("a", GONE), ("c", GONE))
    one = r.preempt(now, "b", B, A, 0, 3).after
    assert (one.type, dict(one.keys)) == (now.type, {"b": B, "c": C})


def test_a_holder_may_preempt_itself_for_another_type():
    change = r.preempt(standing(Type.WRITE_EXCLUSIVE), "a", A, A, 0, 3)
    assert (change.after.type, change.after.holder) == (Type.EXCLUSIVE_ACCESS, "a")
    assert dict(change.after.keys) == {"a": A, "b": B}
    assert change.preempted == ()


def test_who_preempts_its_own_key_is_not_told():
    change = r.preempt(standing(a=A, b=A), "a", A, A, 0, 1)
    assert dict(change.after.keys) == {}
    assert change.attentions == (("b", GONE),)
    assert change.preempted == ("b",)


def test_reserve_beside_registrations_conflicts_or_does_nothing():
    held = standing(Type.WRITE_EXCLUSIVE)
    registrants = standing(Type.WRITE_EXCLUSIVE_REGISTRANTS)
    for do in (r.reserve_unit, r.release_unit):
        assert do(held, "a").after == held
        assert do(held, "b") is Refusal.CONFLICT
        assert do(registrants, "b").after == registrants
        assert do(registrants, "c") is Refusal.CONFLICT
        assert do(standing(), "a") is Refusal.CONFLICT


def move(now, nexus, key, target="b", target_key=C, *, unregister=False):
    return r.move(now, nexus, key, target, target_key, unregister=unregister, persists=False)


def test_moving_a_reservation():
    now = standing(Type.EXCLUSIVE_ACCESS)
    moved = move(now, "a", A).after
    assert (moved.holder, dict(moved.keys)) == ("b", {"a": A, "b": C})
    assert (moved.generation, moved.type) == (now.generation + 1, now.type)
    assert dict(move(now, "a", A, "c", unregister=True).after.keys) == {"b": B, "c": C}
    assert move(now, "a", B) is Refusal.CONFLICT
    assert move(now, "b", B) is Refusal.CONFLICT, "not the holder"
    assert move(now, "a", A, target_key=0) is Refusal.BAD_KEY
    assert move(now, "a", A, "a") is Refusal.BAD_PORT
    assert move(standing(), "a", A) is Refusal.NOTHING_HELD
    everybody = standing(Type.WRITE_EXCLUSIVE_ALL, holder=None)
    assert move(everybody, "a", A) is Refusal.CONFLICT


def test_registering_others_too():
    now = r.register(Reservations(), "a", 0, A, others=("b", "c")).after
    assert (dict(now.keys), now.generation) == ({"a": A, "b": A, "c": A}, 1)
    assert r.register(now, "a", A, B, others=("b",)) is Refusal.REGISTERED


def test_the_last_registration_says_whether_it_persists():
    now = r.register(Reservations(), "a", 0, A, persists=True).after
    assert now.persists
    assert r.reserve(now, "a", A, 0, 1).after.persists
    assert not r.register(now, "b", 0, B).after.persists
    assert not r.register(now, "a", A, 0).after.persists


@pytest.mark.parametrize("type_", [None, *Type])
def test_what_is_kept_comes_back(type_):
    holder = None if type_ is None or type_.all_hold else "a"
    now = standing(type_, holder=holder)
    kept = json.loads(json.dumps(r.dumped(now)))
    back = r.restored(kept)
    assert (dict(back.keys), back.type, back.holder) == (dict(now.keys), type_, holder)
    assert back.type is type_
    assert (back.generation, back.persists) == (0, True)


@pytest.mark.parametrize(
    "kept",
    [
        None,
        {},
        {"keys": [], "type": None, "holder": None},
        {"keys": {"a": 0}, "type": None, "holder": None},
        {"keys": {"a": "1"}, "type": None, "holder": None},
        {"keys": {"a": 1 << 64}, "type": None, "holder": None},
        {"keys": {"a": 1}, "type": 2, "holder": "a"},
        {"keys": {"a": 1}, "type": 1, "holder": "b"},
        {"keys": {"a": 1}, "type": 1, "holder": None},
        {"keys": {"a": 1}, "type": 7, "holder": "a"},
        {"keys": {"a": 1}, "type": None, "holder": "a"},
        {"keys": {}, "type": 7, "holder": None},
    ],
)
def test_what_was_never_kept_is_no_reservation(kept):
    with pytest.raises(ValueError, match=r"not |no reservation"):
        r.restored(kept)
