"""The pvSCSI session machine: what each message does when, and that a refused one does nothing."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vhost_pvscsi.errors import ProtocolError, StateError
from vhost_pvscsi.transports.descriptors import FdSet
from vhost_pvscsi.transports.memory import MapMemory, Release
from vhost_pvscsi.transports.pvscsi.actions import (
    AbortCommands,
    Action,
    Answer,
    AnswerLuns,
    NoteLun,
    SetBackChannel,
    SetCall,
    SetEnabled,
    StartRing,
    StopRing,
)
from vhost_pvscsi.transports.pvscsi.offers import ABILITIES, INSTEAD, OFFERED, OFFERED_PROTOCOL
from vhost_pvscsi.transports.pvscsi.session import LEGAL, Session, State
from vhost_pvscsi.wire.pvscsi_socket import (
    Ability,
    Acknowledgement,
    Body,
    EventChannel,
    GrantTable,
    Hello,
    InflightArea,
    Kind,
    LunReport,
    LunsFrom,
    LunState,
    Message,
    RingPage,
    RingPlace,
)
from vhost_pvscsi.wire.vhost_user import (
    MemoryRegion,
    MemorySlot,
    MemoryTable,
    Nothing,
    Number,
    VringFile,
    VringState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Descriptors that exist nowhere: the machine never uses one.
FD = itertools.count(1_000_000)
REGION = MemoryRegion(0, 0x10000, 0, 0)
TABLE = GrantTable(0, 0x40000, 1, 0, 1)
NOTHING = Nothing()

#: One of each, with the descriptors that it carries.
EXAMPLES: dict[Kind, tuple[Body, int]] = {
    Kind.GET_FEATURES: (NOTHING, 0),
    Kind.SET_FEATURES: (Number(1 | 128 << 32), 0),
    Kind.SET_OWNER: (NOTHING, 0),
    Kind.SET_MEM_TABLE: (MemoryTable((REGION,)), 1),
    Kind.GET_VRING_BASE: (VringState(0, 0), 0),
    Kind.SET_VRING_KICK: (VringFile(0, no_descriptor=False), 1),
    Kind.SET_VRING_CALL: (VringFile(0, no_descriptor=False), 1),
    Kind.SET_VRING_ERR: (VringFile(0, no_descriptor=False), 1),
    Kind.GET_PROTOCOL_FEATURES: (NOTHING, 0),
    Kind.SET_PROTOCOL_FEATURES: (Number(OFFERED_PROTOCOL), 0),
    Kind.SET_VRING_ENABLE: (VringState(0, 1), 0),
    Kind.SET_BACKEND_REQ_FD: (NOTHING, 1),
    Kind.RESET_DEVICE: (NOTHING, 0),
    Kind.GET_MAX_MEM_SLOTS: (NOTHING, 0),
    Kind.ADD_MEM_REG: (MemorySlot(MemoryRegion(0x100000, 0x1000, 0, 0)), 1),
    Kind.REM_MEM_REG: (MemorySlot(REGION), 0),
    Kind.HELLO: (Hello(1, 0xFF), 0),
    Kind.SET_GRANT_TABLE: (TABLE, 1),
    Kind.SET_RING: (RingPage(RingPlace.GRANT, 8), 0),
    Kind.SET_EVENT_CHANNEL: (EventChannel(3), 1),
    Kind.SET_INFLIGHT: (InflightArea(0, 0x10000), 1),
    Kind.GET_LUNS: (LunsFrom(3), 0),
    Kind.LUN_STATE: (LunReport(3, LunState.CONNECTED), 0),
}


class FrontEnd:
    """Sends messages to a session, and keeps account of descriptors."""

    def __init__(self, abilities: int | None = 0xFF) -> None:
        self.session = Session()
        self.given: list[int] = []
        self.closed: list[int] = []
        if abilities is not None:
            self.send(Kind.HELLO, Hello(1, abilities))
            self.send(Kind.SET_PROTOCOL_FEATURES)

    def send(
        self, kind: Kind, body: Body | None = None, *, need_reply: bool = False, fds: int = -1
    ) -> list[Action]:
        example, usual = EXAMPLES[kind]
        message = Message(kind, body or example, need_reply=need_reply)
        numbers = [next(FD) for _ in range(usual if fds < 0 else fds)]
        self.given += numbers
        with FdSet(numbers) as owned:
            try:
                actions = self.session.receive(message, owned)
            finally:
                self.closed += owned.peek()
        return self.release(actions)

    def release(self, actions: Iterable[Action]) -> list[Action]:
        actions = list(actions)
        for action in actions:
            if isinstance(action, Release):
                self.closed += action.descriptors
        return actions

    def described(self) -> FrontEnd:
        for kind in (
            Kind.SET_FEATURES,
            Kind.SET_MEM_TABLE,
            Kind.SET_GRANT_TABLE,
            Kind.SET_INFLIGHT,
            Kind.SET_RING,
            Kind.SET_VRING_KICK,
            Kind.SET_VRING_CALL,
        ):
            self.send(kind)
        return self

    def running(self) -> FrontEnd:
        self.described().send(Kind.SET_VRING_ENABLE)
        return self


def test_hello_says_what_both_can() -> None:
    front_end = FrontEnd(None)
    (answer,) = front_end.send(Kind.HELLO, Hello(9, int(Ability.TRANSLATED) | 1 << 40))
    assert answer == Answer(Message(Kind.HELLO, Hello(1, ABILITIES), reply=True))
    # Only what both have may be used.
    with pytest.raises(StateError, match="both ends must have said GRANT_TABLE"):
        front_end.send(Kind.SET_GRANT_TABLE)
    with pytest.raises(StateError, match="came already"):
        front_end.send(Kind.HELLO)
    with pytest.raises(ProtocolError, match="no version 0"):
        FrontEnd(None).send(Kind.HELLO, Hello(0, 0))


def test_what_is_declared_and_not_offered_is_refused_with_what_stands_for_it() -> None:
    front_end = FrontEnd(int(Ability.EVENT_CHANNEL | Ability.GRANT_TABLE))
    with pytest.raises(ProtocolError, match="this back-end has no EVENT_CHANNEL") as caught:
        front_end.send(Kind.SET_EVENT_CHANNEL)
    assert "SET_VRING_KICK and SET_VRING_CALL" in caught.value.line()
    front_end = FrontEnd(int(Ability.GNTDEV))
    for kind in (Kind.SET_MEM_TABLE, Kind.SET_RING, Kind.SET_VRING_KICK):
        front_end.send(kind)
    with pytest.raises(ProtocolError, match="neither GRANT_TABLE nor TRANSLATED") as caught:
        front_end.send(Kind.SET_VRING_ENABLE)
    assert "no GNTDEV" in caught.value.line()
    assert front_end.session.state is State.STOPPED


def test_every_ability_that_is_not_offered_has_something_that_stands_for_it() -> None:
    assert set(INSTEAD) == {ability for ability in Ability if ability not in ABILITIES}


def test_features_are_bits_and_a_number() -> None:
    front_end = FrontEnd()
    (answer,) = front_end.send(Kind.GET_FEATURES)
    assert answer == Answer(Message(Kind.GET_FEATURES, Number(OFFERED), reply=True))
    assert OFFERED == 13312 << 32 | 1 << 30 | 1
    for value, refused in (
        (2, "bits 0x2 "),
        (1 << 48, "bits 0x1000000000000 "),
        (1 | 13313 << 32, "13313 segments"),
    ):
        with pytest.raises(ProtocolError, match=refused):
            front_end.send(Kind.SET_FEATURES, Number(value))


@pytest.mark.parametrize(
    ("features", "segments"), [(1 | 128 << 32, 128), (128 << 32, 0), (1 | 13312 << 32, 13312)]
)
def test_a_ring_starts_with_all_that_was_told(features: int, segments: int) -> None:
    front_end = FrontEnd().described()
    front_end.send(Kind.SET_FEATURES, Number(features))
    table, area, kick, call = front_end.given[1:5]
    actions = front_end.send(Kind.SET_VRING_ENABLE, need_reply=True)
    start, acknowledged = actions
    assert isinstance(start, StartRing)
    ring = start.ring
    assert (ring.granted, ring.place, ring.domain, ring.segments) == (True, 8, 0, segments)
    assert ring.table is not None
    assert ring.area is not None
    assert (ring.table.fd, ring.table.size, ring.area.fd) == (table, 0x40000, area)
    assert (ring.kick_fd, ring.call_fd) == (kick, call)
    assert acknowledged == _number(Kind.SET_VRING_ENABLE, Acknowledgement.DONE)
    assert front_end.session.state is State.RUNNING


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_a_ring_may_be_described_in_any_order(order: tuple[int, ...]) -> None:
    front_end = FrontEnd()
    kinds = (Kind.SET_MEM_TABLE, Kind.SET_GRANT_TABLE, Kind.SET_RING, Kind.SET_VRING_KICK)
    for position in order:
        with pytest.raises(StateError, match="must have come before"):
            front_end.send(Kind.SET_VRING_ENABLE)
        front_end.send(kinds[position])
    assert isinstance(front_end.send(Kind.SET_VRING_ENABLE)[0], StartRing)


def test_a_table_is_not_needed_where_the_front_end_translates() -> None:
    for abilities, place, needed in (
        (Ability.TRANSLATED, RingPage(RingPlace.ADDRESS, 0x1000), None),
        (Ability.TRANSLATED, RingPage(RingPlace.GRANT, 8), "SET_GRANT_TABLE"),
        (Ability.GRANT_TABLE, RingPage(RingPlace.ADDRESS, 0x1000), "SET_GRANT_TABLE"),
    ):
        front_end = FrontEnd(int(abilities))
        front_end.send(Kind.SET_MEM_TABLE)
        front_end.send(Kind.SET_RING, place)
        front_end.send(Kind.SET_VRING_KICK, VringFile(0, no_descriptor=True), fds=0)
        if needed:
            with pytest.raises(StateError, match=needed):
                front_end.send(Kind.SET_VRING_ENABLE)
        else:
            (start,) = front_end.send(Kind.SET_VRING_ENABLE)
            assert isinstance(start, StartRing)
            assert (start.ring.granted, start.ring.table, start.ring.kick_fd) == (False, None, -1)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.SET_GRANT_TABLE, GrantTable(0, 0x1000, 2, 0, 1)),
        (Kind.SET_GRANT_TABLE, GrantTable(0, 0, 1, 0, 1)),
        (Kind.SET_GRANT_TABLE, GrantTable(0, 0x1001, 1, 0, 1)),
        (Kind.SET_GRANT_TABLE, GrantTable(8, 0x1000, 1, 0, 1)),
        (Kind.SET_GRANT_TABLE, GrantTable(0, 0x401000, 1, 0, 1)),
        (Kind.SET_RING, RingPage(RingPlace.GRANT, 1 << 32)),
        (Kind.SET_RING, RingPage(RingPlace.ADDRESS, 0x1001)),
        (Kind.SET_VRING_ENABLE, VringState(1, 1)),
        (Kind.SET_VRING_ENABLE, VringState(0, 2)),
        (Kind.GET_VRING_BASE, VringState(1, 0)),
        (Kind.SET_VRING_CALL, VringFile(255, no_descriptor=False)),
        (Kind.SET_EVENT_CHANNEL, EventChannel(1)),
        (Kind.SET_PROTOCOL_FEATURES, Number(1)),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(kind: Kind, body: Body) -> None:
    front_end = FrontEnd().described()
    held = front_end.session.descriptors
    with pytest.raises(ProtocolError):
        front_end.send(kind, body)
    assert front_end.session.descriptors == held
    refusal = front_end.session.refusal(Message(kind, body, need_reply=True))
    expected = None if kind is Kind.GET_VRING_BASE else _number(kind, Acknowledgement.REFUSED)
    assert refusal == expected


def test_a_ring_that_the_guest_spoilt_may_be_tried_again() -> None:
    front_end = FrontEnd().described()
    order = Message(Kind.SET_VRING_ENABLE, VringState(0, 1), need_reply=True)
    front_end.send(Kind.SET_VRING_ENABLE, need_reply=True)
    answer = _number(Kind.SET_VRING_ENABLE, Acknowledgement.GUEST_FAULT)
    assert front_end.session.ring_refused(order) == [answer]
    assert front_end.session.state is State.STOPPED
    assert isinstance(front_end.send(Kind.SET_VRING_ENABLE)[0], StartRing)


def test_a_ring_stops_and_forgets_its_page_and_kick() -> None:
    front_end = FrontEnd().running()
    kick = front_end.given[3]
    assert front_end.send(Kind.GET_VRING_BASE) == [StopRing()]
    answer = Answer(Message(Kind.GET_VRING_BASE, VringState(0, 0xFFFFFFFF), reply=True))
    stopped = front_end.release(front_end.session.ring_stopped(0xFFFFFFFF))
    assert stopped == [answer, Release((kick,))]
    assert front_end.send(Kind.GET_VRING_BASE) == [answer]
    with pytest.raises(StateError, match="SET_RING"):
        front_end.send(Kind.SET_VRING_ENABLE)
    front_end.send(Kind.SET_RING)
    front_end.send(Kind.SET_VRING_KICK)
    assert isinstance(front_end.send(Kind.SET_VRING_ENABLE)[0], StartRing)


def test_a_ring_is_paused_and_goes_on() -> None:
    front_end = FrontEnd().running()
    pause, go_on = VringState(0, 0), VringState(0, 1)
    assert front_end.send(Kind.SET_VRING_ENABLE, pause) == [SetEnabled(enabled=False)]
    assert front_end.session.state is State.PAUSED
    assert front_end.send(Kind.SET_VRING_ENABLE, pause) == []
    assert front_end.send(Kind.SET_VRING_ENABLE, go_on) == [SetEnabled(enabled=True)]
    assert FrontEnd().send(Kind.SET_VRING_ENABLE, pause) == []


def test_a_reset_ends_all_and_stops() -> None:
    front_end = FrontEnd().running()
    done = _number(Kind.RESET_DEVICE, Acknowledgement.DONE)
    actions = front_end.send(Kind.RESET_DEVICE, need_reply=True)
    assert actions == [AbortCommands(), StopRing(), done]
    assert front_end.session.ring_stopped(7) == [Release((front_end.given[3],))]
    assert front_end.send(Kind.RESET_DEVICE) == [AbortCommands()]


def test_the_rest() -> None:
    front_end = FrontEnd().running()
    old = front_end.given[4]
    changed = front_end.send(Kind.SET_VRING_CALL)
    assert changed == [SetCall(front_end.given[-1]), Release((old,))]
    assert front_end.send(Kind.GET_LUNS) == [AnswerLuns(3)]
    assert front_end.send(Kind.LUN_STATE) == [NoteLun(LunReport(3, LunState.CONNECTED))]
    assert front_end.send(Kind.SET_BACKEND_REQ_FD) == [SetBackChannel(front_end.given[-1])]
    channel = front_end.given[-1]
    assert front_end.session.back_channel_lost() == [Release((channel,))]
    assert front_end.session.back_channel_lost() == []
    (mapped,) = front_end.send(Kind.ADD_MEM_REG)
    assert isinstance(mapped, MapMemory)
    assert len(mapped.regions) == 2
    (answer,) = front_end.send(Kind.GET_MAX_MEM_SLOTS)
    assert answer == _number(Kind.GET_MAX_MEM_SLOTS, 509)


@pytest.mark.parametrize("kind", sorted(Kind))
def test_without_extensions_nothing_of_theirs_is_taken(kind: Kind) -> None:
    front_end = FrontEnd()
    front_end.send(Kind.SET_PROTOCOL_FEATURES, Number(0))
    extended = {
        Kind.SET_BACKEND_REQ_FD,
        Kind.RESET_DEVICE,
        Kind.GET_MAX_MEM_SLOTS,
        Kind.ADD_MEM_REG,
        Kind.REM_MEM_REG,
    }
    if kind in extended:
        with pytest.raises(StateError, match="protocol feature"):
            front_end.send(kind)
    elif kind not in {Kind.HELLO, Kind.SET_EVENT_CHANNEL, Kind.SET_VRING_ENABLE}:
        acknowledged = [
            action
            for action in front_end.send(kind, need_reply=True)
            if action == _number(kind, Acknowledgement.DONE)
        ]
        assert (kind, acknowledged) == (kind, []) or kind is Kind.SET_PROTOCOL_FEATURES


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(sorted(Kind)), st.booleans()), max_size=25))
def test_descriptors_are_each_held_or_closed_once(sent: list[tuple[Kind, bool]]) -> None:
    front_end = FrontEnd()
    for kind, need_reply in sent:
        try:
            actions = front_end.send(kind, need_reply=need_reply)
        except ProtocolError:
            continue
        if StopRing() in actions:
            front_end.release(front_end.session.ring_stopped(0))
    held = front_end.session.descriptors
    assert sorted([*held, *front_end.closed]) == sorted(front_end.given)
    front_end.release(front_end.session.close())
    assert sorted(front_end.closed) == sorted(front_end.given)


TEXT = (Path(__file__).parents[3] / "docs" / "pvscsi-socket.md").read_text()


@pytest.mark.parametrize("kind", sorted(Kind))
def test_the_document_says_when_each_message_is_legal(kind: Kind) -> None:
    found = re.search(rf"^\| {kind.name} \| \w+ \| ([^|]+?) \|", TEXT, re.MULTILINE)
    assert found is not None
    legal = {state for state in State if kind in LEGAL[state]}
    assert (
        legal
        == {
            "first, once": {State.NEW},
            "stopped": {State.STOPPED},
            "any time": {State.STOPPED, State.RUNNING, State.PAUSED},
        }[found[1]]
    )


def _number(kind: Kind, value: int) -> Answer:
    return Answer(Message(kind, Number(value), reply=True))
