"""pvSCSI front-ends and guests that break the rules: they lose a command or their connection."""

from __future__ import annotations

import contextlib
import os
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.harness import peer as wire
from tests.harness import pvscsi_frontend as pv
from tests.harness import xen_ring as xen
from tests.harness.generated import examples
from tests.harness.peer import Peer
from tests.harness.pvscsi_frontend import PvscsiFrontEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.daemon import Daemon
    from tests.harness.frontend import FrontEnd

INQUIRY = bytes.fromhex("120000002400")
READ_10 = struct.pack(">BBIBHB", 0x28, 0, 0, 0, 1, 0)
#: References that every guest here has granted: two pages of data, one for reading only.
LENT, READ_ONLY = 1000, 1001


def send(request: int, payload: bytes = b"", files: int = 0) -> Callable[[Peer], None]:
    """A message as it is, with as many descriptors."""

    def act(peer: Peer) -> None:
        with contextlib.ExitStack() as stack:
            fds = [os.memfd_create("file") for _ in range(files)]
            for fd in fds:
                stack.callback(os.close, fd)
                os.ftruncate(fd, 1 << 20)
            peer.send(request, payload, fds)

    return act


MALFORMED = {
    "a second HELLO": (send(pv.HELLO, struct.pack("<IIQ", 1, 0, 0)), "it came already"),
    "a HELLO cut short": (send(pv.HELLO, bytes(8)), "HELLO: payload of 8 bytes"),
    "a message of virtio's": (send(8, wire.vring(0, 128)), "SET_VRING_NUM: no such request"),
    "a number of nobody's": (send(0x5007), "request 20487: no such request"),
    "a table of version 2": (
        send(pv.SET_GRANT_TABLE, struct.pack("<QQIHH", 0, 4096, 2, 0, 1), 1),
        "version 2 is not 1",
    ),
    "a table without its descriptor": (
        send(pv.SET_GRANT_TABLE, struct.pack("<QQIHH", 0, 4096, 1, 0, 1)),
        "0 descriptors came with it, not 1",
    ),
    "an event channel": (
        send(pv.SET_EVENT_CHANNEL, struct.pack("<II", 1, 0), 1),
        "this back-end has no EVENT_CHANNEL",
    ),
    "an enable before all else": (
        send(wire.SET_VRING_ENABLE, wire.vring(0, 1)),
        "SET_MEM_TABLE must have come before",
    ),
    "ring 1": (send(wire.GET_VRING_BASE, wire.vring(1, 0)), "there is no ring 1"),
    "a back channel that is a file": (
        send(wire.SET_BACKEND_REQ_FD, b"", 1),
        "SET_BACKEND_REQ_FD: ",
    ),
    "a LUN state of nobody's": (send(pv.LUN_STATE, struct.pack("<II", 1, 9)), "LUN_STATE: payload"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_message_that_is_wrong_ends_its_connection(
    two_hosts: Daemon, bystander: FrontEnd, case: str
) -> None:
    act, text = MALFORMED[case]
    count = two_hosts.log().count(text)
    guest = PvscsiFrontEnd(two_hosts.sockets[0])
    with contextlib.closing(guest):
        guest.hello()
        guest.peer.send(wire.SET_PROTOCOL_FEATURES, wire.number(guest.offered_extensions()))
        act(guest.peer)
        guest.peer.expect_closed()
    two_hosts.wait_for_line(text, count=count + 1)
    assert bystander.scsi(0, 0, INQUIRY, data_in=36).good


def test_hello_after_a_message_of_virtios_is_too_late(two_hosts: Daemon) -> None:
    with Peer.connect(two_hosts.sockets[0]) as peer:
        peer.ask_number(wire.GET_FEATURES)
        peer.send(pv.HELLO, struct.pack("<IIQ", 1, 0, 0))
        peer.expect_closed()


@pytest.mark.parametrize("what", ["the grant table", "the in-flight area", "guest memory"])
def test_memory_that_vanishes_costs_that_front_end_its_connection(
    two_hosts: Daemon, bystander: FrontEnd, what: str
) -> None:
    count = two_hosts.log().count("guest memory vanished")
    with PvscsiFrontEnd(two_hosts.sockets[0]) as guest:
        guest.ready()
        pages, _ = guest._lend(512, 0, readonly=False)
        segment = xen.Segment(pages[0][1], 0, 512)
        slot = xen.request(1, cdb=READ_10, direction=xen.FROM_DEVICE, segments=[segment])
        memory = {
            "the grant table": guest.grants.memory,
            "the in-flight area": guest.area,
            "guest memory": guest.memory,
        }[what]
        guest.ring.put(slot)
        memory.truncate(0)
        os.eventfd_write(guest.kick, 1)
        guest.peer.expect_closed()
    two_hosts.wait_for_line("guest memory vanished", count=count + 1)
    assert bystander.scsi(0, 0, INQUIRY, data_in=36).good


@pytest.fixture(scope="module")
def guest(two_hosts: Daemon) -> Iterator[PvscsiFrontEnd]:
    """One guest for all examples: none of them may cost it its connection."""
    with PvscsiFrontEnd(two_hosts.sockets[0]) as front_end:
        front_end.ready()
        for reference, flags in ((LENT, 0), (READ_ONLY, xen.READONLY)):
            frame = front_end.frame(front_end.memory.allocate(xen.PAGE))
            front_end.grants.set(reference, xen.PERMIT | flags, 0, frame)
        yield front_end


segments = st.builds(
    xen.Segment,
    st.sampled_from([LENT, READ_ONLY, 0, 8, 32767, 32768, 0xFFFFFFFF]) | st.integers(0, 2**32 - 1),
    st.integers(0, 4096) | st.integers(0, 0xFFFF),
    st.integers(0, 4096) | st.integers(0, 0xFFFF),
)
#: Reading, not writing: whatever is in it, the disk stays as it is. And nothing that takes long.
cdbs = st.sampled_from([READ_10, INQUIRY, bytes(6), bytes.fromhex("a00000000000000020000000")])


@st.composite
def slots(draw: st.DrawFn) -> bytes:
    """A slot that may be right, with one byte of its head changed or none."""
    slot = bytearray(
        xen.request(
            draw(st.integers(0, 0xFFFF)),
            act=draw(st.sampled_from([1, 1, 1, 2, 3, 4, 0, 255])),
            cdb=draw(cdbs),
            place=(draw(st.sampled_from([0, 0, 1])), draw(st.sampled_from([0, 9])), 0),
            ref_rqid=draw(st.integers(0, 0xFFFF)),
            direction=draw(st.integers(0, 4)),
            segments=draw(st.lists(segments, max_size=26)),
            indirect=draw(st.booleans()),
        )
    )
    if draw(st.booleans()):
        # Not the CDB: what it says is other tests' business.
        slot[draw(st.sampled_from([2, 3, *range(20, 32)]))] = draw(st.integers(0, 255))
    return bytes(slot)


@given(slot=slots())
@example(slot=xen.request(1, cdb=READ_10, direction=0, segments=[xen.Segment(LENT, 0, 512)]))
@example(
    slot=xen.request(
        1,
        cdb=READ_10,
        direction=2,
        indirect=True,
        segments=[xen.Segment(LENT, 0, 4096)] * 26,
    )
)
@examples(300)
def test_whatever_is_in_a_slot_it_is_answered_once(
    two_hosts: Daemon, bystander: FrontEnd, guest: PvscsiFrontEnd, slot: bytes
) -> None:
    rqid, act = struct.unpack_from("<HB", slot)
    guest.put(slot)
    answer = guest.wait_answer(rqid, f"slot {slot.hex()}")
    assert answer.clean
    if act in {xen.ABORT, xen.RESET}:
        assert answer.result in {pv.SUCCESS, pv.FAILURE}
    else:
        known = {0, pv.DID_NO_CONNECT, pv.DID_ERROR}
        assert answer.result >> 16 in known
        assert len(answer.sense) in {0, 18}
    assert guest.answers == {}
    assert guest.pinned() == []
    assert two_hosts.log().count("Traceback") == 0
    assert bystander.scsi(0, 0, INQUIRY, data_in=36).good
