"""The session machine: what each message does when, and that a refused one does nothing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vhost_pvscsi.errors import ProtocolError, StateError
from vhost_pvscsi.transports.descriptors import FdSet
from vhost_pvscsi.transports.memory import MapMemory, Release
from vhost_pvscsi.transports.vhost_user.actions import (
    AbortCommands,
    Action,
    Answer,
    SetCall,
    SetEnabled,
    StartRing,
    StopRing,
)
from vhost_pvscsi.transports.vhost_user.offers import OFFERED, OFFERED_PROTOCOL
from vhost_pvscsi.transports.vhost_user.ring import TRANSITIONS, Ring, RingState, advance
from vhost_pvscsi.transports.vhost_user.session import LEGAL, Session, State
from vhost_pvscsi.wire.vhost_user import (
    Feature,
    Kind,
    MemoryRegion,
    MemorySlot,
    MemoryTable,
    Message,
    Nothing,
    Number,
    ProtocolFeature,
    VringAddress,
    VringFile,
    VringState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

# No file has these numbers: a descriptor closed by mistake closes nothing of the test's own.
FD = itertools.count(1 << 20)

REGION = MemoryRegion(0, 0x10_0000, 0x7F00_0000_0000, 0)
OTHER = MemoryRegion(0x10_0000, 0x10_0000, 0x7F00_0010_0000, 0)

VERSION_1 = Feature.VERSION_1
MODERN = VERSION_1 | Feature.PROTOCOL_FEATURES | Feature.EVENT_IDX | Feature.INDIRECT_DESC


class Driver:
    """Feeds a session and remembers every descriptor."""

    def __init__(self, features: Feature | None = MODERN) -> None:
        self.session = Session()
        self.given: list[int] = []
        self.closed: list[int] = []
        if features is not None:
            self.send(Kind.SET_PROTOCOL_FEATURES, Number(OFFERED_PROTOCOL))
            self.send(Kind.SET_FEATURES, Number(features))

    def send(
        self, kind: Kind, body: object = Nothing(), fds: int = 0, *, need_reply: bool = False
    ) -> list[Action]:
        return self.deliver(Message(kind, body, need_reply=need_reply), fds)  # type: ignore[arg-type]

    def deliver(self, message: Message, fds: int) -> list[Action]:
        numbers = [next(FD) for _ in range(fds)]
        self.given += numbers
        with FdSet(numbers) as owned:
            try:
                actions = self.session.receive(message, owned)
            finally:
                self.closed += owned.peek()
        self.release(actions)
        return actions

    def release(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Release):
                self.closed += action.descriptors

    def stopped(self, index: int, base: int) -> list[Action]:
        actions = self.session.ring_stopped(index, base)
        self.release(actions)
        return actions

    def memory(self) -> None:
        self.send(Kind.SET_MEM_TABLE, MemoryTable((REGION,)), 1)

    def ring(self, index: int = 2, *, enable: bool = True) -> list[Action]:
        """Start a ring as QEMU does; the actions of the message that started it."""
        self.send(Kind.SET_VRING_NUM, VringState(index, 128))
        self.send(Kind.SET_VRING_BASE, VringState(index, 5))
        self.send(Kind.SET_VRING_ADDR, VringAddress(index, 0, 0x1000, 0x3000, 0x2000, 0))
        started = self.send(Kind.SET_VRING_KICK, VringFile(index, no_descriptor=False), 1)
        started += self.send(Kind.SET_VRING_CALL, VringFile(index, no_descriptor=False), 1)
        if enable:
            started += self.send(Kind.SET_VRING_ENABLE, VringState(index, 1))
        return started

    def started(self) -> Driver:
        self.memory()
        self.ring()
        return self


def of_kind(actions: list[Action], *kinds: type) -> list[Action]:
    return [action for action in actions if isinstance(action, kinds)]


def test_what_is_offered() -> None:
    driver = Driver(None)
    (answer,) = driver.send(Kind.GET_FEATURES)
    # VERSION_1, PROTOCOL_FEATURES, EVENT_IDX, INDIRECT_DESC, CHANGE, HOTPLUG
    assert answer == Answer(Message(Kind.GET_FEATURES, Number(0x1_7000_0006), reply=True))
    (answer,) = driver.send(Kind.GET_PROTOCOL_FEATURES)
    # STATUS, CONFIGURE_MEM_SLOTS, RESET_DEVICE, BACKEND_REQ, REPLY_ACK, MQ
    assert answer == Answer(Message(Kind.GET_PROTOCOL_FEATURES, Number(0x1A029), reply=True))


def test_a_modern_ring_starts_when_it_is_enabled() -> None:
    driver = Driver()
    driver.memory()
    assert of_kind(driver.ring(enable=False), StartRing) == []
    actions = driver.send(Kind.SET_VRING_ENABLE, VringState(2, 1))
    (start,) = of_kind(actions, StartRing)
    assert isinstance(start, StartRing)
    assert (start.index, start.size, start.base) == (2, 128, 5)
    assert (start.descriptor, start.available, start.used) == (0x1000, 0x2000, 0x3000)
    assert start.event_idx
    assert start.indirect
    assert [start.kick, start.call] == driver.given[-2:]
    assert driver.closed == [start.kick]  # the engine has its own of it
    assert driver.session.state is State.RUNNING


def test_a_legacy_ring_starts_with_its_kick() -> None:
    driver = Driver(VERSION_1)
    driver.memory()
    (start, *_) = of_kind(driver.ring(enable=False), StartRing)
    assert isinstance(start, StartRing)
    assert start.call == -1  # it was told after the kick
    assert not start.event_idx
    assert not start.indirect


def test_enabling_needs_feature_bit_30() -> None:
    with pytest.raises(StateError, match="bit 30"):
        Driver(VERSION_1).send(Kind.SET_VRING_ENABLE, VringState(0, 1))


@pytest.mark.parametrize("order", list(itertools.permutations(range(5))))
def test_a_ring_may_be_described_in_any_order(order: tuple[int, ...]) -> None:
    driver = Driver()
    messages = (
        (Kind.SET_MEM_TABLE, MemoryTable((REGION,)), 1),
        (Kind.SET_VRING_NUM, VringState(0, 64), 0),
        (Kind.SET_VRING_ADDR, VringAddress(0, 0, 1, 2, 3, 0), 0),
        (Kind.SET_VRING_KICK, VringFile(0, no_descriptor=True), 0),
        (Kind.SET_VRING_ENABLE, VringState(0, 1), 0),
    )
    starts = [bool(of_kind(driver.send(*messages[i]), StartRing)) for i in order]
    assert starts == [False, False, False, False, True]


def test_qemu_tells_calls_before_anything_else() -> None:
    driver = Driver(None)
    driver.send(Kind.SET_VRING_CALL, VringFile(0, no_descriptor=False), 1)
    driver.send(Kind.SET_VRING_ERR, VringFile(0, no_descriptor=False), 1)
    assert driver.session.descriptors == (driver.given[0],)
    assert driver.closed == [driver.given[1]]


def test_a_call_may_change_while_the_ring_runs() -> None:
    driver = Driver().started()
    before = driver.given[-1]
    actions = driver.send(Kind.SET_VRING_CALL, VringFile(2, no_descriptor=False), 1)
    assert actions == [SetCall(2, driver.given[-1]), Release((before,))]
    actions = driver.send(Kind.SET_VRING_CALL, VringFile(2, no_descriptor=True))
    assert actions == [SetCall(2, -1), Release((driver.given[-1],))]


def test_a_running_ring_is_paused_and_goes_on() -> None:
    driver = Driver().started()
    assert driver.send(Kind.SET_VRING_ENABLE, VringState(2, 0)) == [SetEnabled(2, enabled=False)]
    assert driver.send(Kind.SET_VRING_ENABLE, VringState(2, 0)) == []
    assert driver.send(Kind.SET_VRING_ENABLE, VringState(2, 1)) == [SetEnabled(2, enabled=True)]


def test_a_ring_stops_where_the_engine_says_and_starts_there() -> None:
    driver = Driver().started()
    assert driver.send(Kind.GET_VRING_BASE, VringState(2, 0)) == [StopRing(2)]
    answer = Answer(Message(Kind.GET_VRING_BASE, VringState(2, 4711), reply=True))
    assert driver.stopped(2, 4711) == [answer]
    assert driver.session.state is State.CONFIGURING
    # Size, addresses, call and "enabled" are still known: the kick alone starts it again.
    actions = driver.send(Kind.SET_VRING_KICK, VringFile(2, no_descriptor=False), 1)
    (start,) = of_kind(actions, StartRing)
    assert isinstance(start, StartRing)
    assert start.base == 4711


def test_the_base_of_a_ring_that_never_ran() -> None:
    driver = Driver()
    answer = Answer(Message(Kind.GET_VRING_BASE, VringState(7, 0), reply=True))
    assert driver.send(Kind.GET_VRING_BASE, VringState(7, 0)) == [answer]


def test_a_kicked_ring_that_is_stopped_does_not_start_later() -> None:
    driver = Driver()
    driver.memory()
    driver.ring(enable=False)
    kick = driver.given[-2]
    driver.send(Kind.GET_VRING_BASE, VringState(2, 0))
    assert kick in driver.closed
    assert driver.send(Kind.SET_VRING_ENABLE, VringState(2, 1)) == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.SET_VRING_NUM, VringState(2, 64)),
        (Kind.SET_VRING_BASE, VringState(2, 0)),
        (Kind.SET_VRING_ADDR, VringAddress(2, 0, 0, 0, 0, 0)),
        (Kind.SET_VRING_KICK, VringFile(2, no_descriptor=True)),
        (Kind.SET_FEATURES, Number(0)),
        (Kind.SET_PROTOCOL_FEATURES, Number(0)),
    ],
)
def test_what_a_running_ring_does_not_take(kind: Kind, body: object) -> None:
    driver = Driver().started()
    before = driver.session._setup
    with pytest.raises(StateError, match="RUNNING") as caught:
        driver.send(kind, body)
    assert caught.value.required
    assert driver.session._setup == before


@pytest.mark.parametrize("kind", sorted(set.union(*map(set, LEGAL.values()))))
@pytest.mark.parametrize("state", State)
def test_every_pair_of_state_and_message_is_in_the_table_or_refused(
    state: State, kind: Kind
) -> None:
    driver = Driver(None if state is State.NEGOTIATING else MODERN)
    if state is State.RUNNING:
        driver.started()
    assert driver.session.state is state
    if state is State.NEGOTIATING:  # extensions are negotiated before the features are
        driver.send(Kind.SET_PROTOCOL_FEATURES, Number(OFFERED_PROTOCOL))
    if kind is Kind.REM_MEM_REG and state is not State.RUNNING:
        driver.memory()  # there must be something to remove
    body, fds = EXAMPLES[kind]
    before = driver.session._setup
    if kind in LEGAL[state]:
        driver.send(kind, body, fds)
    else:
        with pytest.raises(StateError) as caught:
            driver.send(kind, body, fds)
        assert (caught.value.event, caught.value.state) == (kind.name, state.name)
        assert driver.session._setup == before


#: A body that is right for each kind, for a ring that is not in use.
EXAMPLES: dict[Kind, tuple[object, int]] = {
    Kind.GET_FEATURES: (Nothing(), 0),
    Kind.SET_FEATURES: (Number(VERSION_1), 0),
    Kind.SET_OWNER: (Nothing(), 0),
    Kind.RESET_OWNER: (Nothing(), 0),
    Kind.SET_MEM_TABLE: (MemoryTable((REGION, OTHER)), 2),
    Kind.SET_VRING_NUM: (VringState(9, 256), 0),
    Kind.SET_VRING_ADDR: (VringAddress(9, 0, 1, 2, 3, 4), 0),
    Kind.SET_VRING_BASE: (VringState(9, 1), 0),
    Kind.GET_VRING_BASE: (VringState(9, 0), 0),
    Kind.SET_VRING_KICK: (VringFile(9, no_descriptor=False), 1),
    Kind.SET_VRING_CALL: (VringFile(9, no_descriptor=False), 1),
    Kind.SET_VRING_ERR: (VringFile(9, no_descriptor=False), 1),
    Kind.GET_PROTOCOL_FEATURES: (Nothing(), 0),
    Kind.SET_PROTOCOL_FEATURES: (Number(ProtocolFeature.MQ), 0),
    Kind.GET_QUEUE_NUM: (Nothing(), 0),
    Kind.SET_VRING_ENABLE: (VringState(9, 1), 0),
    Kind.SET_BACKEND_REQ_FD: (Nothing(), 1),
    Kind.RESET_DEVICE: (Nothing(), 0),
    Kind.GET_MAX_MEM_SLOTS: (Nothing(), 0),
    Kind.ADD_MEM_REG: (MemorySlot(OTHER), 1),
    Kind.REM_MEM_REG: (MemorySlot(REGION), 0),
    Kind.SET_STATUS: (Number(15), 0),
    Kind.GET_STATUS: (Nothing(), 0),
}
RING_KINDS = sorted({kind for _, kind in TRANSITIONS})


@pytest.mark.parametrize("kind", RING_KINDS)
@pytest.mark.parametrize("state", RingState)
def test_a_ring_takes_what_its_table_says(state: RingState, kind: Kind) -> None:
    ring = Ring(9, state=state)
    body = EXAMPLES[kind][0]
    assert isinstance(body, VringState | VringAddress | VringFile)
    expected = TRANSITIONS.get((state, kind))
    if expected is None:
        with pytest.raises(StateError, match=state.name):
            advance(ring, kind, body, 7)
    else:
        assert advance(ring, kind, body, 7)[0].state is expected


@pytest.mark.parametrize("kind", sorted(set(EXAMPLES) - {Kind.REM_MEM_REG}))
def test_an_extension_must_be_acknowledged(kind: Kind) -> None:
    needs = {
        Kind.GET_QUEUE_NUM,
        Kind.SET_BACKEND_REQ_FD,
        Kind.RESET_DEVICE,
        Kind.GET_MAX_MEM_SLOTS,
        Kind.ADD_MEM_REG,
        Kind.SET_STATUS,
        Kind.GET_STATUS,
    }
    driver = Driver()
    driver.send(Kind.SET_PROTOCOL_FEATURES, Number(0))
    body, fds = EXAMPLES[kind]
    if kind in needs:
        with pytest.raises(StateError, match="must have been acknowledged"):
            driver.send(kind, body, fds)
    else:
        driver.send(kind, body, fds)


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        (Kind.SET_FEATURES, Number(Feature.RING_PACKED), "0x400000000 were not offered"),
        (Kind.SET_FEATURES, Number(Feature.SCSI_T10_PI | VERSION_1), "0x8 were not offered"),
        (Kind.SET_PROTOCOL_FEATURES, Number(ProtocolFeature.CONFIG), "0x200 were not offered"),
        (Kind.SET_STATUS, Number(256), "more than 8 bits"),
        (Kind.SET_VRING_NUM, VringState(2, 0), "size 0 is not a power of two"),
        (Kind.SET_VRING_NUM, VringState(2, 100), "size 100 is not"),
        (Kind.SET_VRING_NUM, VringState(2, 2048), "size 2048 is not .* up to 1024"),
        (Kind.SET_VRING_NUM, VringState(256, 64), "ring 256 is none of the 256"),
        (Kind.SET_VRING_BASE, VringState(2, 0x10000), "more than 16 bits"),
        (Kind.SET_VRING_ENABLE, VringState(2, 2), "neither 0 nor 1"),
        (Kind.SET_VRING_ADDR, VringAddress(2, 1, 0, 0, 0, 0), "log of writes"),
        (Kind.SET_VRING_KICK, VringFile(2, no_descriptor=False), "0 descriptors .*, not 1"),
        (Kind.SET_MEM_TABLE, MemoryTable((REGION,)), "0 descriptors .*, not 1"),
        (Kind.REM_MEM_REG, MemorySlot(OTHER), "no region of 0x100000 bytes"),
    ],
)
def test_values_out_of_range_change_nothing(kind: Kind, body: object, text: str) -> None:
    driver = Driver()
    driver.memory()
    before = driver.session._setup
    with pytest.raises(ProtocolError, match=text):
        driver.send(kind, body)
    assert driver.session._setup == before


@pytest.mark.parametrize("bits", [Feature.RING_RESET, Feature.ANY_LAYOUT, Feature.ORDER_PLATFORM])
def test_bits_that_qemu_lets_through_unasked_are_tolerated(bits: Feature) -> None:
    assert not bits & OFFERED
    Driver(MODERN | bits)


def test_memory_is_replaced() -> None:
    driver = Driver()
    driver.memory()
    old = driver.given[-1]
    actions = driver.send(Kind.SET_MEM_TABLE, MemoryTable((OTHER, REGION)), 2)
    one, two = driver.given[-2:]
    assert actions == [MapMemory(((OTHER, one), (REGION, two))), Release((old,))]


def test_memory_is_added_and_removed() -> None:
    driver = Driver()
    assert of_kind(driver.send(Kind.ADD_MEM_REG, MemorySlot(REGION), 1), MapMemory)
    assert of_kind(driver.send(Kind.ADD_MEM_REG, MemorySlot(OTHER), 1), MapMemory)
    one, two = driver.given[-2:]
    # Its descriptor is of no use, and is closed.
    actions = driver.send(Kind.REM_MEM_REG, MemorySlot(REGION), 1)
    assert actions == [MapMemory(((OTHER, two),)), Release((one,))]
    assert driver.closed == [driver.given[-1], one]


def test_memory_slots_are_limited() -> None:
    driver = Driver()
    for slot in range(509):
        driver.send(Kind.ADD_MEM_REG, MemorySlot(MemoryRegion(slot << 20, 1, 0, 0)), 1)
    with pytest.raises(ProtocolError, match="all 509 memory slots are taken"):
        driver.send(Kind.ADD_MEM_REG, MemorySlot(REGION), 1)


def test_acknowledgements() -> None:
    driver = Driver()
    (answer,) = driver.send(Kind.SET_OWNER, need_reply=True)
    assert answer == Answer(Message(Kind.SET_OWNER, Number(0), reply=True))
    # It comes last: when all else has been done.
    actions = driver.send(Kind.SET_MEM_TABLE, MemoryTable((REGION,)), 1, need_reply=True)
    assert [type(action) for action in actions] == [MapMemory, Answer]
    # A message with a reply of its own has that one alone.
    assert len(driver.send(Kind.GET_FEATURES, need_reply=True)) == 1
    assert len(driver.send(Kind.GET_VRING_BASE, VringState(0, 0), need_reply=True)) == 1
    wanted = Message(Kind.SET_STATUS, Number(999), need_reply=True)
    assert driver.session.refusal(wanted) == Answer(Message(Kind.SET_STATUS, Number(1), reply=True))
    assert driver.session.refusal(Message(Kind.SET_STATUS, Number(999))) is None


def test_no_acknowledgement_without_the_extension() -> None:
    driver = Driver()
    driver.send(Kind.SET_PROTOCOL_FEATURES, Number(ProtocolFeature.MQ))
    assert driver.send(Kind.SET_OWNER, need_reply=True) == []


def test_reset_stops_and_disables_and_keeps_memory() -> None:
    driver = Driver().started()
    driver.ring(3, enable=False)
    driver.send(Kind.SET_STATUS, Number(15))
    actions = driver.send(Kind.RESET_DEVICE, need_reply=True)
    assert of_kind(actions, AbortCommands, StopRing) == [AbortCommands(), StopRing(2)]
    assert isinstance(actions[-1], Answer)
    assert driver.stopped(2, 99) == []
    assert driver.session.state is State.CONFIGURING
    (status,) = driver.send(Kind.GET_STATUS)
    assert status == Answer(Message(Kind.GET_STATUS, Number(0), reply=True))
    (start,) = of_kind(driver.ring(2), StartRing)
    assert isinstance(start, StartRing)
    (base,) = driver.send(Kind.GET_VRING_BASE, VringState(3, 0))
    assert base == Answer(Message(Kind.GET_VRING_BASE, VringState(3, 0), reply=True))


def test_a_reset_after_asking_a_stopped_ring_starts_from_the_beginning() -> None:
    driver = Driver()
    driver.send(Kind.GET_VRING_BASE, VringState(2, 0))
    driver.started()
    driver.send(Kind.RESET_DEVICE)
    assert driver.stopped(2, 99) == []


def test_close_gives_everything_back() -> None:
    driver = Driver().started()
    driver.send(Kind.SET_BACKEND_REQ_FD, fds=1)
    driver.ring(3, enable=False)
    driver.release(driver.session.close())
    assert sorted(driver.closed) == sorted(driver.given)
    assert driver.session.close() == []


INDEXES = st.sampled_from([0, 1, 2, 255, 256])
REGIONS = st.sampled_from([REGION, OTHER])
FILES = st.builds(VringFile, INDEXES, st.booleans())
MESSAGES = st.one_of(
    st.builds(Message, st.sampled_from(sorted(k for k in EXAMPLES if EXAMPLES[k][0] == Nothing()))),
    st.builds(
        Message,
        st.sampled_from([Kind.SET_FEATURES, Kind.SET_PROTOCOL_FEATURES, Kind.SET_STATUS]),
        st.builds(Number, st.sampled_from([0, int(MODERN), int(OFFERED_PROTOCOL), 1, 1 << 63])),
        st.booleans(),
    ),
    st.builds(
        Message,
        st.sampled_from(
            [Kind.SET_VRING_NUM, Kind.SET_VRING_BASE, Kind.GET_VRING_BASE, Kind.SET_VRING_ENABLE]
        ),
        st.builds(VringState, INDEXES, st.sampled_from([0, 1, 3, 128, 1 << 20])),
        st.booleans(),
    ),
    st.builds(
        Message,
        st.just(Kind.SET_VRING_ADDR),
        st.builds(VringAddress, INDEXES, st.sampled_from([0, 1]), *[st.just(0x1000)] * 4),
    ),
    st.builds(
        Message,
        st.sampled_from([Kind.SET_VRING_KICK, Kind.SET_VRING_CALL, Kind.SET_VRING_ERR]),
        FILES,
        st.booleans(),
    ),
    st.builds(
        Message,
        st.just(Kind.SET_MEM_TABLE),
        st.builds(MemoryTable, st.lists(REGIONS, max_size=2).map(tuple)),
        st.booleans(),
    ),
    st.builds(
        Message,
        st.sampled_from([Kind.ADD_MEM_REG, Kind.REM_MEM_REG]),
        st.builds(MemorySlot, REGIONS),
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.lists(st.tuples(MESSAGES, st.integers(0, 2)), max_size=40))
def test_any_messages_leave_every_descriptor_with_one_owner(
    negotiated: bool, script: list[tuple[Message, int]]
) -> None:
    driver = Driver(MODERN if negotiated else None)
    running: set[int] = set()

    def carry_out(actions: list[Action]) -> None:
        for action in actions:
            match action:
                case StartRing(index=index, kick=kick, call=call):
                    assert index not in running
                    running.add(index)
                    alive = {-1, *driver.given} - set(driver.closed) | set(releases(actions))
                    assert {kick, call} <= alive
                case StopRing(index):
                    running.remove(index)
                    carry_out(driver.stopped(index, 7))
                case SetEnabled(index, _) | SetCall(index, _):
                    assert index in running

    for message, fds in script:
        before = driver.session._setup
        try:
            carry_out(driver.deliver(message, fds))
        except ProtocolError:
            assert driver.session._setup == before
        held = [*driver.session.descriptors, *driver.closed]
        assert sorted(held) == sorted(driver.given)
    driver.release(driver.session.close())
    assert sorted(driver.closed) == sorted(driver.given)


def releases(actions: list[Action]) -> list[int]:
    return [fd for a in actions if isinstance(a, Release) for fd in a.descriptors]
