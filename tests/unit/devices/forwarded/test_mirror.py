"""What a device is told of our guests' reservations, held against a device that is one."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vhost_pvscsi.devices import reservations as r
from vhost_pvscsi.devices.forwarded import mirror
from vhost_pvscsi.devices.forwarded.mirror import Asked, Seen, Shown
from vhost_pvscsi.devices.reservations import Change, Refusal, Reservations
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.codes import PersistentOut as Out
from vhost_pvscsi.scsi.command import Barrier
from vhost_pvscsi.scsi.persistent import ReservationType as Type

US = "us"
GUESTS = ("host0", "host1")
OTHERS = ("other-a", "other-b")


def decided(now, nexus, action, key, other, type_, *, persists=False):
    """What the machine of emulated units makes of a service action."""
    match action:
        case Out.REGISTER | Out.REGISTER_AND_IGNORE:
            ignore = action is Out.REGISTER_AND_IGNORE
            return r.register(now, nexus, key, other, ignore=ignore, persists=persists)
        case Out.RESERVE:
            return r.reserve(now, nexus, key, 0, type_)
        case Out.RELEASE:
            return r.release(now, nexus, key, 0, type_)
        case Out.CLEAR:
            return r.clear(now, nexus, key)
        case _:
            return r.preempt(now, nexus, key, other, 0, type_)


def looked(device: Reservations) -> Seen:
    return Seen(device.generation, tuple(device.keys.values()), device.holder_key, device.type)


class Host(RuleBasedStateMachine):
    """Guests of ours and other initiators do what they like with one device."""

    def __init__(self):
        super().__init__()
        self.device = Reservations()
        self.ours = Reservations()
        self.shown = Shown()

    def look(self):
        change, self.shown = mirror.adopt(self.ours, self.shown, looked(self.device))
        self.ours = change.after

    keys = st.sampled_from((0xA, 0xB, 0xC))
    types = st.sampled_from(tuple(Type))
    actions = st.sampled_from(
        (Out.REGISTER, Out.RESERVE, Out.RELEASE, Out.CLEAR, Out.PREEMPT, Out.REGISTER_AND_IGNORE)
    )

    @rule(
        number=st.integers(0, 1),
        action=actions,
        other=keys | st.sampled_from((0, 0xD, 0xE)),
        type_=types,
    )
    def a_guest_asks(self, number, action, other, type_):
        nexus = GUESTS[number]
        self.look()
        key = self.ours.keys.get(nexus, 0)
        action = action if key else Out.REGISTER  # all others are refused
        if action in {Out.REGISTER, Out.REGISTER_AND_IGNORE} and other in {0xD, 0xE}:
            other = 0xA  # of initiators with one key none can be told from the others
        verdict = decided(self.ours, nexus, action, key, other, type_)
        if isinstance(verdict, Refusal):
            return
        for step in mirror.steps(self.shown, self.ours, verdict, Asked(action, other, type_)):
            done = decided(self.device, US, step.action, step.key, step.other, step.type)
            assert isinstance(done, Change), (step, done)
            self.device, self.shown = done.after, step.then
        self.ours = verdict.after
        known = self.ours
        self.look()
        assert mirror.own(self.ours) == mirror.own(known)
        assert self.ours.type is known.type
        assert sorted(self.ours.keys.values()) == sorted(known.keys.values())

    @rule(number=st.integers(0, 1), action=actions, other=st.integers(0xD, 0xE) | keys, type_=types)
    def another_initiator_asks(self, number, action, other, type_):
        nexus = OTHERS[number]
        key = self.device.keys.get(nexus, 0)
        action = action if key else Out.REGISTER
        # Its keys are its own, or nobody could be told from anybody else.
        own = 0xD + number
        target = own if action in {Out.REGISTER, Out.REGISTER_AND_IGNORE} else other
        done = decided(self.device, nexus, action, key, target, type_)
        if isinstance(done, Change):
            self.device = done.after

    @invariant()
    def after_a_look_all_know_the_same(self):
        ours, shown = self.ours, self.shown
        self.look()
        told, known = self.ours, self.shown
        self.ours, self.shown = ours, shown
        assert told.type is self.device.type
        assert known.key == self.device.keys.get(US, 0)
        assert bool(mirror.own(told)) == (US in self.device.keys)
        others = sorted(key for name, key in self.device.keys.items() if name != US)
        assert sorted(k for n, k in told.keys.items() if mirror.elsewhere(n)) == others
        # Whoever the device stops may not pass here either.
        if not any(told.holds(guest) for guest in GUESTS):
            for barrier in (Barrier.READ, Barrier.WRITE):
                if self.device.stops(US, barrier):
                    assert all(told.stops(guest, barrier) for guest in GUESTS)
        else:
            assert self.device.holds(US)
        # What no guest of ours holds keeps no initiator out.
        if self.device.holder == US:
            assert told.holder in GUESTS


TestHost = Host.TestCase
TestHost.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def standing(type_=None, holder=None, **keys):
    return Reservations(MappingProxyType(keys), type_, holder)


def test_two_guests_are_one_registration():
    first = r.register(Reservations(), "host0", 0, 0xA)
    (step,) = mirror.steps(Shown(), Reservations(), first, Asked(Out.REGISTER))
    assert (step.action, step.other) == (Out.REGISTER_AND_IGNORE, 0xA)
    second = r.register(first.after, "host1", 0, 0xB)
    assert list(mirror.steps(step.then, first.after, second, Asked(Out.REGISTER))) == []


def test_the_key_of_who_holds_is_shown():
    now = standing(host0=0xA, host1=0xB)
    change = r.reserve(now, "host1", 0xB, 0, Type.WRITE_EXCLUSIVE)
    made = list(mirror.steps(Shown(0xA), now, change, Asked(Out.RESERVE)))
    assert [(step.action, step.key, step.other, step.type) for step in made] == [
        (Out.REGISTER_AND_IGNORE, 0, 0xB, 0),
        (Out.RESERVE, 0xB, 0, Type.WRITE_EXCLUSIVE),
    ]
    assert made[-1].then == Shown(0xB, Type.WRITE_EXCLUSIVE)


def test_a_guest_that_takes_it_from_another_leaves_no_moment_without_one():
    now = standing(Type.WRITE_EXCLUSIVE, "host0", host0=0xA, host1=0xB)
    change = r.preempt(now, "host1", 0xB, 0xA, 0, Type.EXCLUSIVE_ACCESS)
    made = mirror.steps(
        Shown(0xA, Type.WRITE_EXCLUSIVE),
        now,
        change,
        Asked(Out.PREEMPT, 0xA, Type.EXCLUSIVE_ACCESS),
    )
    assert [(step.action, step.key, step.other) for step in made] == [
        (Out.REGISTER_AND_IGNORE, 0, 0xB),
        (Out.PREEMPT, 0xB, 0xB),
    ]


def test_a_fence_from_elsewhere_is_one_of_all_guests():
    now = standing(Type.WRITE_EXCLUSIVE_REGISTRANTS, "host0", host0=0xA, host1=0xB)
    shown = Shown(0xA, Type.WRITE_EXCLUSIVE_REGISTRANTS)
    seen = Seen(9, (0xD,), 0xD, Type.WRITE_EXCLUSIVE_REGISTRANTS)
    change, shown = mirror.adopt(now, shown, seen)
    assert shown == Shown()
    assert mirror.own(change.after) == {}
    assert change.attentions == (
        ("host0", sense.REGISTRATIONS_PREEMPTED),
        ("host1", sense.REGISTRATIONS_PREEMPTED),
    )
    assert all(change.after.stops(guest, Barrier.WRITE) for guest in GUESTS)


@pytest.mark.parametrize("type_", Type)
def test_what_others_hold_is_not_kept(type_):
    now = standing(
        type_, None if type_.all_hold else "elsewhere:0", **{"elsewhere:0": 0xD, "host0": 0xA}
    )
    kept = mirror.without_others(now)
    assert kept.keys == {"host0": 0xA}
    assert r.restored(r.dumped(kept)).keys == {"host0": 0xA}


def test_a_step_is_bytes_of_the_standard():
    (step,) = mirror.steps(
        Shown(),
        Reservations(),
        r.register(Reservations(), "host0", 0, 0x0102030405060708, persists=True),
        Asked(Out.REGISTER),
    )
    assert step.cdb == bytes.fromhex("5f060000000000001800")
    assert step.data == bytes.fromhex("000000000000000001020304050607080000000001000000")
