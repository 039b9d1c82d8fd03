"""A pvSCSI front-end's session: messages in, actions out. A machine: no I/O.

docs/pvscsi-socket.md. A message is looked at whole before anything changes: `Session.receive`
either raises, and the session is what it was, or returns what is to be done.

Descriptors: those that a message brings stay in its `FdSet` until the message is accepted.
Those the session needs are its own from then on, until it gives them back by `Release`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ProtocolError, StateError
from vhost_pvscsi.transports import memory
from vhost_pvscsi.transports.memory import MAX_MEMORY_SLOTS, NO_FD, Release
from vhost_pvscsi.wire.pvscsi_socket import (
    PROTOCOL_VERSION,
    SEGMENTS_MASK,
    SEGMENTS_SHIFT,
    Ability,
    Acknowledgement,
    Feature,
    GrantTable,
    Hello,
    InflightArea,
    Kind,
    LunReport,
    LunsFrom,
    Message,
    RingPage,
    check_descriptors,
)
from vhost_pvscsi.wire.vhost_user import (
    MemorySlot,
    MemoryTable,
    Number,
    ProtocolFeature,
    VringFile,
    VringState,
)
from vhost_pvscsi.wire.vscsiif import MAX_SEGMENTS

from .actions import (
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
from .offers import (
    ABILITIES,
    EXTENSIONS,
    FEATURES,
    GRANTS,
    INSTEAD,
    NEEDED_ABILITY,
    OFFERED,
    OFFERED_PROTOCOL,
)
from .ring import Ring

if TYPE_CHECKING:
    from vhost_pvscsi.transports.descriptors import FdSet


class State(enum.Enum):
    """Where a session stands."""

    NEW = enum.auto()  #: HELLO has not come
    STOPPED = enum.auto()  #: the ring is not served
    RUNNING = enum.auto()  #: it is
    PAUSED = enum.auto()  #: it is, but nothing is taken from it


_STOPPED_ONLY = frozenset(
    {
        Kind.SET_FEATURES,
        Kind.SET_PROTOCOL_FEATURES,
        Kind.SET_GRANT_TABLE,
        Kind.SET_INFLIGHT,
        Kind.SET_RING,
        Kind.SET_EVENT_CHANNEL,
        Kind.SET_VRING_KICK,
    }
)
_ANY_TIME = frozenset(Kind) - _STOPPED_ONLY - {Kind.HELLO}

#: What is legal when; anything else is a StateError.
LEGAL: dict[State, frozenset[Kind]] = {
    State.NEW: frozenset({Kind.HELLO}),
    State.STOPPED: _ANY_TIME | _STOPPED_ONLY,
    State.RUNNING: _ANY_TIME,
    State.PAUSED: _ANY_TIME,
}

#: Requests whose descriptors the session keeps; those of the others are closed.
_KEEPS = frozenset(
    {
        Kind.SET_MEM_TABLE,
        Kind.ADD_MEM_REG,
        Kind.SET_GRANT_TABLE,
        Kind.SET_INFLIGHT,
        Kind.SET_VRING_KICK,
        Kind.SET_VRING_CALL,
        Kind.SET_BACKEND_REQ_FD,
    }
)

#: Requests that are answered anyway; a wish for an acknowledgement changes nothing for them.
_ANSWERED = frozenset(
    {
        Kind.HELLO,
        Kind.GET_FEATURES,
        Kind.GET_PROTOCOL_FEATURES,
        Kind.GET_MAX_MEM_SLOTS,
        Kind.GET_VRING_BASE,
        Kind.GET_LUNS,
    }
)

_CONSTANTS: dict[Kind, int] = {
    Kind.GET_FEATURES: OFFERED,
    Kind.GET_PROTOCOL_FEATURES: OFFERED_PROTOCOL,
    Kind.GET_MAX_MEM_SLOTS: MAX_MEMORY_SLOTS,
}

NO_ABILITIES = Ability(0)
NO_EXTENSIONS = ProtocolFeature(0)
NEW_RING = Ring()


@dataclass(frozen=True, slots=True)
class _Setup:
    """All that a session knows. Immutable, so that a refused message changes nothing."""

    state: State = State.NEW
    abilities: Ability = NO_ABILITIES  # of both ends
    segments: int = 0  # of a request with SG_GRANT
    extensions: ProtocolFeature = NO_EXTENSIONS
    memory: memory.Memory = ()
    ring: Ring = NEW_RING
    taken: int = 0  # requests, when the ring stopped last
    back_channel: int = NO_FD

    @property
    def descriptors(self) -> tuple[int, ...]:
        held = [fd for _, fd in self.memory]
        held.extend(self.ring.descriptors)
        if self.back_channel != NO_FD:
            held.append(self.back_channel)
        return tuple(held)


_Step = tuple[_Setup, list[Action]]


class Session:
    """The back-end's view of one connected pvSCSI front-end."""

    def __init__(self) -> None:
        self._setup = _Setup()
        self._asked_base = False

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._setup.state

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Descriptors that the session holds."""
        return self._setup.descriptors

    def receive(self, message: Message, fds: FdSet) -> list[Action]:
        """Take one message; what is to be done, in order.

        Raises:
            StateError: it is not legal now. Nothing has changed, `fds` is untouched.
            ProtocolError: it is not legal ever. Likewise.
        """
        self._check_legal(message)
        check_descriptors(message, len(fds))
        setup, actions = self._step(message, fds.peek())
        if self._wants_acknowledgement(message, setup):
            actions.append(_number(message.kind, Acknowledgement.DONE))
        if message.kind in _KEEPS:
            fds.steal()
        self._asked_base = message.kind is Kind.GET_VRING_BASE
        self._setup = setup
        return actions

    def ring_stopped(self, taken: int) -> list[Action]:
        """A StopRing has been carried out; so many requests were taken, modulo 2^32."""
        old = self._setup
        self._setup = replace(old, state=State.STOPPED, ring=old.ring.stopped(), taken=taken)
        answer: list[Action] = [_base(taken)] if self._asked_base else []
        return [*answer, *_release(old.ring.kick)]

    def ring_refused(self, message: Message) -> list[Action]:
        """A StartRing failed by what the guest gave: the ring is stopped, as it was."""
        self._setup = replace(self._setup, state=State.STOPPED)
        if not self._wants_acknowledgement(message, self._setup):
            return []
        return [_number(message.kind, Acknowledgement.GUEST_FAULT)]

    def back_channel_lost(self) -> list[Action]:
        """The socket of SET_BACKEND_REQ_FD is of no use any more."""
        fd = self._setup.back_channel
        self._setup = replace(self._setup, back_channel=NO_FD)
        return _release(fd)

    def refusal(self, message: Message) -> Answer | None:
        """What tells the front-end that its message failed, where it wants to know."""
        if not self._wants_acknowledgement(message, self._setup):
            return None
        return _number(message.kind, Acknowledgement.REFUSED)

    def close(self) -> list[Action]:
        """End the session: everything that it holds is given back."""
        held, self._setup = self._setup.descriptors, _Setup()
        return [Release(held)] if held else []

    def _check_legal(self, message: Message) -> None:
        kind, state = message.kind, self._setup.state
        if kind not in LEGAL[state]:
            raise StateError(kind.name, state.name, _needed(kind, state))
        extension = EXTENSIONS.get(kind, NO_EXTENSIONS)
        if extension & ~self._setup.extensions:
            raise StateError(
                kind.name,
                state.name,
                f"protocol feature {extension.name} must have been acknowledged",
            )
        ability = NEEDED_ABILITY.get(kind, NO_ABILITIES)
        if ability & ~ABILITIES:
            raise ProtocolError(
                f"{kind.name}: this back-end has no {ability.name}", hint=INSTEAD.get(ability)
            )
        if ability & ~self._setup.abilities:
            raise StateError(
                kind.name, state.name, f"both ends must have said {ability.name} in HELLO"
            )

    @staticmethod
    def _wants_acknowledgement(message: Message, setup: _Setup) -> bool:
        return (
            message.need_reply
            and message.kind not in _ANSWERED
            and ProtocolFeature.REPLY_ACK in setup.extensions
        )

    def _step(self, message: Message, fds: tuple[int, ...]) -> _Step:
        setup, kind, fd = self._setup, message.kind, fds[0] if fds else NO_FD
        match message.body:
            case Hello() as hello:
                step = _greet(setup, hello)
            case Number(value):
                step = _set_number(setup, kind, value), []
            case MemoryTable() | MemorySlot() as body:
                changed, actions = _change_memory(setup, kind, body, fds)
                step = replace(setup, memory=changed), [*actions]
            case VringState() | VringFile() as body:
                step = _move_ring(setup, kind, body, fd)
            case GrantTable() | InflightArea() | RingPage() as body:
                step = _describe_ring(setup, body, fd)
            case LunsFrom(first):
                step = setup, [AnswerLuns(first)]
            case LunReport() as report:
                step = setup, [NoteLun(report)]
            case _:
                step = _plain(setup, kind, fd)
        return step


def _needed(kind: Kind, state: State) -> str:
    if state is State.NEW:
        return "HELLO comes first"
    return "it came already" if kind is Kind.HELLO else "stop the ring with GET_VRING_BASE first"


def _greet(setup: _Setup, hello: Hello) -> _Step:
    if hello.version < 1:
        raise ProtocolError(f"HELLO: there is no version {hello.version}")
    both = Ability(hello.abilities & ABILITIES)
    answer = Hello(min(hello.version, PROTOCOL_VERSION), ABILITIES)
    told = Answer(Message(Kind.HELLO, answer, reply=True))
    return replace(setup, state=State.STOPPED, abilities=both), [told]


def _set_number(setup: _Setup, kind: Kind, value: int) -> _Setup:
    if kind is Kind.SET_PROTOCOL_FEATURES:
        if strange := value & ~int(OFFERED_PROTOCOL):
            raise ProtocolError(f"SET_PROTOCOL_FEATURES: bits {strange:#x} were not offered")
        return replace(setup, extensions=ProtocolFeature(value))
    segments = value >> SEGMENTS_SHIFT & SEGMENTS_MASK
    if strange := value & ~(int(FEATURES) | SEGMENTS_MASK << SEGMENTS_SHIFT):
        raise ProtocolError(f"SET_FEATURES: bits {strange:#x} were not offered")
    if segments > MAX_SEGMENTS:
        raise ProtocolError(f"SET_FEATURES: {segments} segments, more than the {MAX_SEGMENTS}")
    return replace(setup, segments=segments if value & Feature.SG_GRANT else 0)


def _change_memory(
    setup: _Setup, kind: Kind, body: MemoryTable | MemorySlot, fds: tuple[int, ...]
) -> memory.Change:
    match body:
        case MemoryTable(regions):
            return memory.exchange(setup.memory, tuple(zip(regions, fds, strict=True)))
        case MemorySlot(region) if kind is Kind.ADD_MEM_REG:
            return memory.add(setup.memory, region, fds[0])
        case MemorySlot(region):
            return memory.remove(setup.memory, region)


def _describe_ring(setup: _Setup, body: GrantTable | InflightArea | RingPage, fd: int) -> _Step:
    old = setup.ring
    match body:
        case GrantTable():
            return replace(setup, ring=old.with_table(body, fd)), _release(old.table_fd)
        case InflightArea():
            return replace(setup, ring=replace(old, area=body, area_fd=fd)), _release(old.area_fd)
        case RingPage():
            return replace(setup, ring=old.with_page(body)), []


def _move_ring(setup: _Setup, kind: Kind, body: VringState | VringFile, fd: int) -> _Step:
    if body.index != 0:
        raise ProtocolError(f"{kind.name}: there is no ring {body.index}, but 0")
    ring = setup.ring
    match body, kind:
        case VringState(_, value), Kind.SET_VRING_ENABLE:
            return _enable(setup, value)
        case VringState(), _:  # GET_VRING_BASE
            if setup.state is not State.STOPPED:
                return setup, [StopRing()]
            stopped = replace(setup, ring=ring.stopped())
            return stopped, [_base(setup.taken), *_release(ring.kick)]
        case _, Kind.SET_VRING_KICK:
            return replace(setup, ring=replace(ring, kicked=True, kick=fd)), _release(ring.kick)
        case _, Kind.SET_VRING_CALL:
            tell: list[Action] = [] if setup.state is State.STOPPED else [SetCall(fd)]
            moved = replace(setup, ring=replace(ring, call=fd))
            return moved, [*tell, *_release(ring.call)]
        case _:
            # SET_VRING_ERR: a broken ring ends the connection. The descriptor is closed.
            return setup, []


def _enable(setup: _Setup, value: int) -> _Step:
    if value > 1:
        raise ProtocolError(f"SET_VRING_ENABLE: {value} is neither 0 nor 1")
    if setup.state is not State.STOPPED:
        wanted = State.RUNNING if value else State.PAUSED
        changed: list[Action] = [SetEnabled(bool(value))] if wanted is not setup.state else []
        return replace(setup, state=wanted), changed
    if not value:
        return setup, []
    if not setup.abilities & GRANTS:
        raise ProtocolError(
            f"SET_VRING_ENABLE: neither {' nor '.join(str(one.name) for one in GRANTS)} was said by"
            " both ends, and this back-end has no GNTDEV",
            hint=INSTEAD[Ability.GNTDEV],
        )
    translated = Ability.TRANSLATED in setup.abilities
    missing = setup.ring.missing(memory=bool(setup.memory), translated=translated)
    if missing:
        raise StateError("SET_VRING_ENABLE", "STOPPED", f"{missing} must have come before")
    return replace(setup, state=State.RUNNING), [StartRing(setup.ring.setup(setup.segments))]


def _plain(setup: _Setup, kind: Kind, fd: int) -> _Step:
    if kind in _CONSTANTS:
        return setup, [_number(kind, _CONSTANTS[kind])]
    match kind:
        case Kind.SET_BACKEND_REQ_FD:
            channel: list[Action] = [SetBackChannel(fd), *_release(setup.back_channel)]
            return replace(setup, back_channel=fd), channel
        case Kind.RESET_DEVICE:
            running = setup.state is not State.STOPPED
            stop: list[Action] = [StopRing()] if running else []
            kept = setup if running else replace(setup, ring=setup.ring.stopped())
            forgotten = [] if running else _release(setup.ring.kick)
            return kept, [AbortCommands(), *stop, *forgotten]
        case _:
            return setup, []  # SET_OWNER says nothing that HELLO has not said


def _base(taken: int) -> Answer:
    return Answer(Message(Kind.GET_VRING_BASE, VringState(0, taken), reply=True))


def _release(fd: int) -> list[Action]:
    return [Release((fd,))] if fd != NO_FD else []


def _number(kind: Kind, value: int) -> Answer:
    return Answer(Message(kind, Number(value), reply=True))
