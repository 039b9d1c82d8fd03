"""The states of one ring, as the front-end's messages move it. A machine: no I/O.

vhost-user.rst, "Ring states": a ring is stopped until it is kicked and until GET_VRING_BASE
stops it again; apart from that it is enabled or disabled. Front-ends describe a ring in no
certain order, so a kicked ring waits here until all of it is known and it may be served.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from vhost_pvscsi.errors import ProtocolError, StateError
from vhost_pvscsi.transports.memory import NO_FD, Release
from vhost_pvscsi.wire.vhost_user import (
    Kind,
    Message,
    VringAddress,
    VringFile,
    VringState,
)

from .actions import Action, Answer, SetCall, SetEnabled, StartRing, StopRing

RingBody = VringState | VringAddress | VringFile

#: Descriptors a ring may have; QEMU's limit too (VIRTQUEUE_MAX_SIZE).
MAX_SIZE = 1024

#: vhost-user.rst, "Vring address description": log writes to the used ring.
_LOG = 1


class RingState(enum.Enum):
    """Where a ring stands."""

    STOPPED = enum.auto()  #: it has not been kicked
    KICKED = enum.auto()  #: its kick is there; it waits for the rest
    RUNNING = enum.auto()  #: requests are taken from it
    STOPPING = enum.auto()  #: requests that were taken end


#: Every legal move; a pair that is not here is a StateError. KICKED becomes RUNNING by itself,
#: STOPPING becomes STOPPED by `stopped`.
TRANSITIONS: dict[tuple[RingState, Kind], RingState] = {
    (RingState.STOPPED, Kind.SET_VRING_NUM): RingState.STOPPED,
    (RingState.STOPPED, Kind.SET_VRING_ADDR): RingState.STOPPED,
    (RingState.STOPPED, Kind.SET_VRING_BASE): RingState.STOPPED,
    (RingState.STOPPED, Kind.SET_VRING_CALL): RingState.STOPPED,
    (RingState.STOPPED, Kind.SET_VRING_ERR): RingState.STOPPED,
    (RingState.STOPPED, Kind.SET_VRING_ENABLE): RingState.STOPPED,
    (RingState.STOPPED, Kind.SET_VRING_KICK): RingState.KICKED,
    (RingState.STOPPED, Kind.GET_VRING_BASE): RingState.STOPPED,
    (RingState.KICKED, Kind.SET_VRING_NUM): RingState.KICKED,
    (RingState.KICKED, Kind.SET_VRING_ADDR): RingState.KICKED,
    (RingState.KICKED, Kind.SET_VRING_BASE): RingState.KICKED,
    (RingState.KICKED, Kind.SET_VRING_CALL): RingState.KICKED,
    (RingState.KICKED, Kind.SET_VRING_ERR): RingState.KICKED,
    (RingState.KICKED, Kind.SET_VRING_ENABLE): RingState.KICKED,
    (RingState.KICKED, Kind.SET_VRING_KICK): RingState.KICKED,
    (RingState.KICKED, Kind.GET_VRING_BASE): RingState.STOPPED,
    (RingState.RUNNING, Kind.SET_VRING_CALL): RingState.RUNNING,
    (RingState.RUNNING, Kind.SET_VRING_ERR): RingState.RUNNING,
    (RingState.RUNNING, Kind.SET_VRING_ENABLE): RingState.RUNNING,
    (RingState.RUNNING, Kind.GET_VRING_BASE): RingState.STOPPING,
}


@dataclass(frozen=True, slots=True)
class Ring:
    """What is known of one ring, and the descriptors that are held for it."""

    index: int
    state: RingState = RingState.STOPPED
    size: int = 0
    address: VringAddress | None = None
    base: int = 0
    enabled: bool = False
    kick: int = NO_FD
    call: int = NO_FD

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Those held now."""
        return tuple(fd for fd in (self.kick, self.call) if fd != NO_FD)


def advance(ring: Ring, kind: Kind, body: RingBody, fd: int) -> tuple[Ring, list[Action]]:
    """Let one message move one ring; `fd` came with it, or is NO_FD.

    Raises:
        StateError: the message is not legal in the ring's state.
        ProtocolError: a value is out of range.
    """
    state = TRANSITIONS.get((ring.state, kind))
    if state is None:
        raise StateError(
            f"{kind.name} for ring {ring.index}",
            ring.state.name,
            "stop the ring with GET_VRING_BASE first",
        )
    moved = replace(ring, state=state)
    match body:
        case VringState(_, value):
            return _set_number(moved, kind, value)
        case VringAddress():
            return _set_address(moved, body), []
        case VringFile():
            return _set_file(moved, kind, fd)


def start(ring: Ring, *, event_idx: bool, indirect: bool) -> tuple[Ring, list[Action]] | None:
    """Start a kicked ring whose size and addresses are known; None while they are not."""
    if ring.state is not RingState.KICKED or not ring.size or ring.address is None:
        return None
    order = StartRing(
        index=ring.index,
        size=ring.size,
        descriptor=ring.address.descriptor,
        available=ring.address.available,
        used=ring.address.used,
        base=ring.base,
        event_idx=event_idx,
        indirect=indirect,
        kick=ring.kick,
        call=ring.call,
    )
    # The engine has a duplicate of the kick. The call is kept: a front-end may start the ring
    # again without telling it anew.
    return replace(ring, state=RingState.RUNNING, kick=NO_FD), [order, *_release(ring.kick)]


def stopped(ring: Ring, base: int) -> Ring:
    """A ring that was STOPPING has stopped before this index."""
    return replace(ring, state=RingState.STOPPED, base=base)


def reset(ring: Ring) -> tuple[Ring, list[Action]]:
    """Stop and disable it and forget its description (vhost-user.rst, RESET_DEVICE)."""
    fresh = Ring(ring.index, call=ring.call)
    if ring.state is RingState.RUNNING:
        return replace(fresh, state=RingState.STOPPING), [StopRing(ring.index)]
    return fresh, _release(ring.kick)


def _set_number(ring: Ring, kind: Kind, value: int) -> tuple[Ring, list[Action]]:
    match kind:
        case Kind.SET_VRING_NUM:
            if not 1 <= value <= MAX_SIZE or value & (value - 1):
                raise ProtocolError(
                    f"ring {ring.index}: size {value} is not a power of two up to {MAX_SIZE}"
                )
            return replace(ring, size=value), []
        case Kind.SET_VRING_BASE:
            if value > 0xFFFF:
                raise ProtocolError(f"ring {ring.index}: base {value:#x} has more than 16 bits")
            return replace(ring, base=value), []
        case Kind.SET_VRING_ENABLE:
            return _set_enabled(ring, value)
        case _:  # GET_VRING_BASE
            if ring.state is RingState.STOPPING:
                return ring, [StopRing(ring.index)]
            return replace(ring, kick=NO_FD), [base_answer(ring), *_release(ring.kick)]


def base_answer(ring: Ring) -> Answer:
    """Answer GET_VRING_BASE."""
    return Answer(Message(Kind.GET_VRING_BASE, VringState(ring.index, ring.base), reply=True))


def _set_enabled(ring: Ring, value: int) -> tuple[Ring, list[Action]]:
    if value > 1:
        raise ProtocolError(f"ring {ring.index}: SET_VRING_ENABLE {value} is neither 0 nor 1")
    changed = ring.state is RingState.RUNNING and ring.enabled != bool(value)
    actions: list[Action] = [SetEnabled(ring.index, bool(value))] if changed else []
    return replace(ring, enabled=bool(value)), actions


def _set_address(ring: Ring, address: VringAddress) -> Ring:
    if address.flags & _LOG:
        raise ProtocolError(f"ring {ring.index}: asks for a log of writes, which was not offered")
    return replace(ring, address=address)


def _set_file(ring: Ring, kind: Kind, fd: int) -> tuple[Ring, list[Action]]:
    match kind:
        case Kind.SET_VRING_KICK:
            return replace(ring, kick=fd), _release(ring.kick)
        case Kind.SET_VRING_CALL:
            running = ring.state is RingState.RUNNING
            tell: list[Action] = [SetCall(ring.index, fd)] if running else []
            return replace(ring, call=fd), [*tell, *_release(ring.call)]
        case _:
            # SET_VRING_ERR. A broken ring ends the connection, which the front-end sees
            # without an eventfd. The descriptor stays with the message, to be closed.
            return ring, []


def _release(fd: int) -> list[Action]:
    return [Release((fd,))] if fd != NO_FD else []
