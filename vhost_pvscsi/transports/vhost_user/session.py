"""A front-end's session: messages in, actions out. A machine: no I/O.

A message is looked at whole before anything changes: `Session.receive` either raises, and
the session is what it was, or returns what is to be done.

Descriptors: those that a message brings stay in its `FdSet` until the message is accepted.
Those the session needs are its own from then on, until it gives them back by `Release`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ProtocolError, StateError
from vhost_pvscsi.transports import memory
from vhost_pvscsi.transports.memory import MAX_MEMORY_SLOTS, NO_FD, Release
from vhost_pvscsi.wire.vhost_user import (
    MAX_QUEUES,
    Feature,
    Kind,
    MemorySlot,
    MemoryTable,
    Message,
    Number,
    ProtocolFeature,
    VringAddress,
    VringFile,
    VringState,
    check_descriptors,
)

from .actions import AbortCommands, Action, Answer
from .offers import (
    EXTENSIONS,
    OFFERED,
    OFFERED_PROTOCOL,
    TOLERATED,
)
from .ring import Ring, RingState, advance, base_answer, reset, start, stopped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhost_pvscsi.transports.descriptors import FdSet
    from vhost_pvscsi.transports.memory import Memory


class State(enum.Enum):
    """Where a session stands."""

    NEGOTIATING = enum.auto()  #: the guest's features are not known yet
    CONFIGURING = enum.auto()  #: they are; no ring is served
    RUNNING = enum.auto()  #: at least one ring is served


_ANY_TIME = frozenset(
    {
        Kind.GET_FEATURES,
        Kind.GET_PROTOCOL_FEATURES,
        Kind.GET_QUEUE_NUM,
        Kind.SET_OWNER,
        Kind.RESET_OWNER,
        Kind.SET_MEM_TABLE,
        Kind.GET_MAX_MEM_SLOTS,
        Kind.ADD_MEM_REG,
        Kind.REM_MEM_REG,
        Kind.SET_VRING_NUM,
        Kind.SET_VRING_ADDR,
        Kind.SET_VRING_BASE,
        Kind.SET_VRING_CALL,
        Kind.SET_VRING_ERR,
        Kind.GET_VRING_BASE,
        Kind.SET_BACKEND_REQ_FD,
        Kind.RESET_DEVICE,  # QEMU resets the device once before it starts it
        Kind.SET_STATUS,
        Kind.GET_STATUS,
    }
)
_FEATURES = frozenset({Kind.SET_FEATURES, Kind.SET_PROTOCOL_FEATURES})
_STARTING = frozenset({Kind.SET_VRING_KICK, Kind.SET_VRING_ENABLE})

#: What is legal when; anything else is a StateError.
LEGAL: dict[State, frozenset[Kind]] = {
    State.NEGOTIATING: _ANY_TIME | _FEATURES,
    State.CONFIGURING: _ANY_TIME | _FEATURES | _STARTING,
    State.RUNNING: _ANY_TIME | _STARTING,
}

#: What would make it legal.
_NEEDED = {
    Kind.SET_FEATURES: "no ring may be running",
    Kind.SET_PROTOCOL_FEATURES: "no ring may be running",
    Kind.SET_VRING_KICK: "SET_FEATURES must have come before",
    Kind.SET_VRING_ENABLE: "SET_FEATURES must have come before",
}

#: Requests whose descriptors the session keeps; those of the others are closed.
_KEEPS = frozenset(
    {
        Kind.SET_MEM_TABLE,
        Kind.ADD_MEM_REG,
        Kind.SET_VRING_KICK,
        Kind.SET_VRING_CALL,
        Kind.SET_BACKEND_REQ_FD,
    }
)

#: Requests that are answered anyway; a wish for an acknowledgement changes nothing for them.
_ANSWERED = frozenset(
    {
        Kind.GET_FEATURES,
        Kind.GET_PROTOCOL_FEATURES,
        Kind.GET_QUEUE_NUM,
        Kind.GET_MAX_MEM_SLOTS,
        Kind.GET_STATUS,
        Kind.GET_VRING_BASE,
    }
)


NO_EXTENSIONS = ProtocolFeature(0)


@dataclass(frozen=True, slots=True)
class _Setup:
    """All that a session knows. Immutable, so that a refused message changes nothing."""

    features: Feature | None = None
    extensions: ProtocolFeature = NO_EXTENSIONS
    status: int = 0
    memory: Memory = ()
    rings: Mapping[int, Ring] = field(default_factory=lambda: MappingProxyType({}))
    back_channel: int = NO_FD

    @property
    def descriptors(self) -> tuple[int, ...]:
        held = [fd for _, fd in self.memory]
        for ring in self.rings.values():
            held.extend(ring.descriptors)
        if self.back_channel != NO_FD:
            held.append(self.back_channel)
        return tuple(held)

    def with_ring(self, ring: Ring) -> _Setup:
        return replace(self, rings=MappingProxyType({**self.rings, ring.index: ring}))


_Step = tuple[_Setup, list[Action]]


class Session:
    """The back-end's view of one connected front-end."""

    def __init__(self) -> None:
        self._setup = _Setup()
        self._asked_base: int | None = None  # the ring that a GET_VRING_BASE is stopping

    @property
    def state(self) -> State:
        """Where the session stands."""
        if self._setup.features is None:
            return State.NEGOTIATING
        if any(ring.state is RingState.RUNNING for ring in self._setup.rings.values()):
            return State.RUNNING
        return State.CONFIGURING

    @property
    def features(self) -> Feature | None:
        """Features that the guest acknowledged; None before it did."""
        return self._setup.features

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
        setup, started = _start_rings(setup)
        actions += started
        if self._wants_acknowledgement(message, setup):
            actions.append(_number(message.kind, 0))
        if message.kind in _KEEPS:
            fds.steal()
        if message.kind is Kind.GET_VRING_BASE:
            self._asked_base = _stopping(setup)
        self._setup = setup
        return actions

    def ring_stopped(self, index: int, base: int) -> list[Action]:
        """A StopRing has been carried out; `base` is the next available index."""
        asked = self._asked_base == index
        # A device that was reset starts its rings from the beginning.
        ring = stopped(self._setup.rings[index], base if asked else 0)
        self._setup = self._setup.with_ring(ring)
        if not asked:
            return []
        self._asked_base = None
        return [base_answer(ring)]

    def refusal(self, message: Message) -> Answer | None:
        """What tells the front-end that its message failed, where it wants to know."""
        if not self._wants_acknowledgement(message, self._setup):
            return None
        return _number(message.kind, 1)

    def close(self) -> list[Action]:
        """End the session: everything that it holds is given back."""
        held, self._setup = self._setup.descriptors, _Setup()
        return [Release(held)] if held else []

    def _check_legal(self, message: Message) -> None:
        kind = message.kind
        if kind not in LEGAL[self.state]:
            raise StateError(kind.name, self.state.name, _NEEDED[kind])
        extension = EXTENSIONS.get(kind)
        if extension is not None and extension not in self._setup.extensions:
            raise StateError(
                kind.name,
                self.state.name,
                f"protocol feature {extension.name} must have been acknowledged",
            )

    @staticmethod
    def _wants_acknowledgement(message: Message, setup: _Setup) -> bool:
        return (
            message.need_reply
            and message.kind not in _ANSWERED
            and ProtocolFeature.REPLY_ACK in setup.extensions
        )

    def _step(self, message: Message, fds: tuple[int, ...]) -> _Step:
        setup = self._setup
        match message.body:
            case Number(value):
                return _set_number(setup, message.kind, value)
            case VringState() | VringAddress() | VringFile() as body:
                return _move_ring(setup, message, body, fds[0] if fds else NO_FD)
            case MemoryTable(regions):
                table = tuple(zip(regions, fds, strict=True))
                changed, actions = memory.exchange(setup.memory, table)
            case MemorySlot(region) if message.kind is Kind.ADD_MEM_REG:
                changed, actions = memory.add(setup.memory, region, fds[0])
            case MemorySlot(region):
                changed, actions = memory.remove(setup.memory, region)
            case _:
                return _plain(setup, message.kind, fds)
        return replace(setup, memory=changed), [*actions]


#: Requests that ask for a number which is always the same.
_CONSTANTS: dict[Kind, int] = {
    Kind.GET_FEATURES: OFFERED,
    Kind.GET_PROTOCOL_FEATURES: OFFERED_PROTOCOL,
    Kind.GET_QUEUE_NUM: MAX_QUEUES,
    Kind.GET_MAX_MEM_SLOTS: MAX_MEMORY_SLOTS,
}


def _plain(setup: _Setup, kind: Kind, fds: tuple[int, ...]) -> _Step:
    if kind in _CONSTANTS:
        return setup, [_number(kind, _CONSTANTS[kind])]
    match kind:
        case Kind.GET_STATUS:
            return setup, [_number(kind, setup.status)]
        case Kind.SET_BACKEND_REQ_FD:
            old = setup.back_channel
            release: list[Action] = [Release((old,))] if old != NO_FD else []
            return replace(setup, back_channel=fds[0]), release
        case Kind.RESET_DEVICE:
            return _reset(setup)
        case _:
            # SET_OWNER and RESET_OWNER. Owning says nothing that the connection does not say,
            # and front-ends mean different things by giving it up, so both are accepted and
            # nothing is done (vhost-user.rst, VHOST_USER_RESET_OWNER).
            return setup, []


def _set_number(setup: _Setup, kind: Kind, value: int) -> _Step:
    match kind:
        case Kind.SET_FEATURES:
            if strange := value & ~int(OFFERED | TOLERATED):
                raise ProtocolError(f"SET_FEATURES: bits {strange:#x} were not offered")
            return replace(setup, features=Feature(value)), []
        case Kind.SET_PROTOCOL_FEATURES:
            if strange := value & ~int(OFFERED_PROTOCOL):
                raise ProtocolError(f"SET_PROTOCOL_FEATURES: bits {strange:#x} were not offered")
            return replace(setup, extensions=ProtocolFeature(value)), []
        case _:
            # SET_STATUS. Kept to be read back and nothing else: QEMU never says DRIVER_OK for
            # a SCSI device.
            if value > 0xFF:
                raise ProtocolError(f"SET_STATUS: {value:#x} has more than 8 bits")
            return replace(setup, status=value), []


def _move_ring(
    setup: _Setup, message: Message, body: VringState | VringAddress | VringFile, fd: int
) -> _Step:
    if body.index >= MAX_QUEUES:
        raise ProtocolError(
            f"{message.kind.name}: ring {body.index} is none of the {MAX_QUEUES} there can be"
        )
    if message.kind is Kind.SET_VRING_ENABLE and not _rings_begin_disabled(setup):
        raise StateError(
            message.kind.name, "without PROTOCOL_FEATURES", "feature bit 30 must be acknowledged"
        )
    ring, actions = advance(setup.rings.get(body.index, Ring(body.index)), message.kind, body, fd)
    return setup.with_ring(ring), actions


def _reset(setup: _Setup) -> _Step:
    # Memory, features and extensions stay: QEMU keeps its side of them over a reset.
    rings: dict[int, Ring] = {}
    actions: list[Action] = [AbortCommands()]
    for index, ring in setup.rings.items():
        rings[index], more = reset(ring)
        actions += more
    return replace(setup, rings=MappingProxyType(rings), status=0), actions


def _rings_begin_disabled(setup: _Setup) -> bool:
    return setup.features is not None and Feature.PROTOCOL_FEATURES in setup.features


def _stopping(setup: _Setup) -> int | None:
    """The ring that is being stopped; messages come one by one, so it is one at most."""
    states = ((ring.index, ring.state) for ring in setup.rings.values())
    return next((index for index, state in states if state is RingState.STOPPING), None)


def _start_rings(setup: _Setup) -> _Step:
    """Start every ring that has become complete, and may be served."""
    actions: list[Action] = []
    if setup.features is None or not setup.memory:
        return setup, actions
    for ring in list(setup.rings.values()):
        if not ring.enabled and _rings_begin_disabled(setup):
            continue
        begun = start(
            ring,
            event_idx=Feature.EVENT_IDX in setup.features,
            indirect=Feature.INDIRECT_DESC in setup.features,
        )
        if begun is not None:
            setup = setup.with_ring(begun[0])
            actions += begun[1]
    return setup, actions


def _number(kind: Kind, value: int) -> Answer:
    return Answer(Message(kind, Number(value), reply=True))
