"""Rings that no driver would make: that guest's adapter ends, and no other."""

from __future__ import annotations

import os
import select
import struct
from typing import TYPE_CHECKING

import pytest

from tests.harness import frontend as fe
from tests.harness import peer as wire
from tests.harness.frontend import FrontEnd, Layout, lun_field
from tests.harness.memory import MIB
from tests.harness.ring import INDIRECT, NEXT, WRITE, Buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.daemon import Daemon

INQUIRY = bytes.fromhex("120000002400")
HEADER, ANSWER = 51, 108  # virtio 1.2, 5.6.6.1


@pytest.fixture
def guest(two_hosts: Daemon) -> Iterator[FrontEnd]:
    with FrontEnd(two_hosts.sockets[0]) as front_end:
        front_end.ready()
        yield front_end


class Scribe:
    """Writes descriptors of the request queue by hand."""

    def __init__(self, guest: FrontEnd) -> None:
        self.guest = guest
        self.queue = guest.queues[fe.FIRST_REQUEST]
        self.memory = guest.memory
        self.header = self.memory.allocate(HEADER)
        header = struct.pack("<8sQBBB32s", lun_field(0, 0), 1, 0, 0, 0, INQUIRY)
        self.memory.write(self.header, header)
        self.answer = self.memory.allocate(ANSWER)
        self.room = self.memory.allocate(4096)

    def descriptor(self, slot: int, address: int, length: int, flags: int, next_: int = 0) -> None:
        self.queue.ring.write_descriptor(slot, address, length, flags=flags, next_=next_)

    def table(self, *entries: tuple[int, int, int, int]) -> int:
        address = self.memory.allocate(16 * len(entries))
        for position, entry in enumerate(entries):
            self.memory.write(address + 16 * position, struct.pack("<QIHH", *entry))
        return address

    def publish(self, *heads: int) -> None:
        self.queue.ring.publish(heads)
        self.kick()

    def kick(self) -> None:
        os.eventfd_write(self.queue.kick, 1)


def head_outside_of_the_table(s: Scribe) -> None:
    s.publish(s.queue.ring.size)


def next_outside_of_the_table(s: Scribe) -> None:
    s.descriptor(0, s.header, HEADER, NEXT, s.queue.ring.size)
    s.publish(0)


def chain_that_bites_its_tail(s: Scribe) -> None:
    s.descriptor(0, s.header, HEADER, NEXT, 1)
    s.descriptor(1, s.header, HEADER, NEXT, 0)
    s.publish(0)


def buffer_outside_of_memory(s: Scribe) -> None:
    s.descriptor(0, 0xDEAD_0000_0000, HEADER, NEXT, 1)
    s.descriptor(1, s.answer, ANSWER, WRITE)
    s.publish(0)


def answer_that_wraps(s: Scribe) -> None:
    s.descriptor(0, s.header, HEADER, NEXT, 1)
    s.descriptor(1, 2**64 - 8, ANSWER, WRITE)
    s.publish(0)


def buffer_over_the_end_of_memory(s: Scribe) -> None:
    s.descriptor(0, s.header, HEADER, NEXT, 1)
    s.descriptor(1, s.memory.guest_base + s.memory.size - 8, ANSWER, WRITE)
    s.publish(0)


def available_index_that_jumps(s: Scribe) -> None:
    s.queue.ring.set_available_index(s.guest.queues[2].ring.size + 30)
    s.kick()


def indirect_in_indirect(s: Scribe) -> None:
    inner = s.table((s.header, HEADER, 0, 0))
    outer = s.table((inner, 16, INDIRECT, 0))
    s.descriptor(0, outer, 16, INDIRECT)
    s.publish(0)


def indirect_table_of_odd_length(s: Scribe) -> None:
    s.descriptor(0, s.table((s.header, HEADER, 0, 0)), 17, INDIRECT)
    s.publish(0)


def indirect_table_of_nothing(s: Scribe) -> None:
    s.descriptor(0, s.table((s.header, HEADER, 0, 0)), 0, INDIRECT)
    s.publish(0)


def indirect_table_outside_of_memory(s: Scribe) -> None:
    s.descriptor(0, 0xDEAD_0000_0000, 32, INDIRECT)
    s.publish(0)


def indirect_and_next(s: Scribe) -> None:
    s.descriptor(0, s.table((s.header, HEADER, 0, 0)), 16, INDIRECT | NEXT, 1)
    s.descriptor(1, s.answer, ANSWER, WRITE)
    s.publish(0)


def indirect_table_that_loops(s: Scribe) -> None:
    s.descriptor(0, s.table((s.header, HEADER, NEXT, 0)), 16, INDIRECT)
    s.publish(0)


def readable_after_writable(s: Scribe) -> None:
    s.descriptor(0, s.answer, ANSWER, WRITE | NEXT, 1)
    s.descriptor(1, s.header, HEADER, 0)
    s.publish(0)


def header_cut_short(s: Scribe) -> None:
    s.descriptor(0, s.header, HEADER - 1, NEXT, 1)
    s.descriptor(1, s.answer, ANSWER, WRITE)
    s.publish(0)


def no_room_for_an_answer(s: Scribe) -> None:
    s.descriptor(0, s.header, HEADER, NEXT, 1)
    s.descriptor(1, s.answer, ANSWER - 1, WRITE)
    s.publish(0)


def nothing_to_write_into(s: Scribe) -> None:
    s.descriptor(0, s.header, HEADER, 0)
    s.publish(0)


#: What is done, and what the log says of it.
CASES: list[tuple[Callable[[Scribe], None], str]] = [
    (head_outside_of_the_table, "descriptor index 128 is outside the ring"),
    (next_outside_of_the_table, "descriptor index 128 is outside the ring"),
    (chain_that_bites_its_tail, "longer than the ring: it loops"),
    (buffer_outside_of_memory, "0xdead00000000 of 51 bytes lies outside"),
    (answer_that_wraps, "0xfffffffffffffff8 of 108 bytes lies outside"),
    (buffer_over_the_end_of_memory, "of 108 bytes lies outside guest memory"),
    (available_index_that_jumps, "more than the ring holds"),
    (indirect_in_indirect, "indirect descriptor is malformed"),
    (indirect_table_of_odd_length, "indirect descriptor is malformed"),
    (indirect_table_of_nothing, "indirect descriptor is malformed"),
    (indirect_table_outside_of_memory, "0xdead00000000 of 32 bytes lies outside"),
    (indirect_and_next, "indirect descriptor is malformed"),
    (indirect_table_that_loops, "longer than the ring: it loops"),
    (readable_after_writable, "a readable buffer follows a writable one"),
    (header_cut_short, "header is cut short at 50 bytes"),
    (no_room_for_an_answer, "no room for the response: 107 bytes"),
    (nothing_to_write_into, "no room for the response: 0 bytes"),
]


@pytest.mark.parametrize(("case", "text"), CASES)
def test_a_broken_ring_ends_that_adapter_alone(
    two_hosts: Daemon,
    bystander: FrontEnd,
    guest: FrontEnd,
    case: Callable[[Scribe], None],
    text: str,
) -> None:
    before = two_hosts.log().count("ERROR")
    case(Scribe(guest))
    guest.peer.expect_closed()
    two_hosts.wait_for_line("ERROR", count=before + 1)
    assert bystander.scsi(0, 0, INQUIRY, data_in=36).good
    guest.reconnect(two_hosts.sockets[0])
    guest.ready()
    new = [line for line in two_hosts.log().splitlines() if "ERROR" in line][before:]
    assert len(new) == 1, new
    assert "host 0" in new[0]
    assert "ring 2" in new[0]
    assert text in new[0]


@pytest.mark.parametrize("size", [0, 3, 23])
def test_a_control_request_cut_short_ends_the_adapter(
    two_hosts: Daemon, guest: FrontEnd, size: int
) -> None:
    guest.submit_bytes(fe.CONTROL, bytes(size), 1, name="a control request cut short")
    guest.peer.expect_closed()
    guest.reconnect(two_hosts.sockets[0])
    guest.ready()


LAYOUTS = [
    Layout(),
    Layout(piece=1),
    Layout(piece=17),
    Layout(indirect=True),
    Layout(indirect=True, piece=3),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "features",
    [
        fe.VERSION_1 | fe.PROTOCOL_FEATURES | fe.INDIRECT_DESC | fe.EVENT_IDX,
        fe.VERSION_1 | fe.PROTOCOL_FEATURES | fe.INDIRECT_DESC,
        fe.VERSION_1 | fe.INDIRECT_DESC,
    ],
)
def test_any_legal_layout_is_understood(two_hosts: Daemon, features: int, layout: Layout) -> None:
    with FrontEnd(two_hosts.sockets[0], features=features, queue_size=1024) as guest:
        guest.ready()
        written = os.urandom(512)
        write = struct.pack(">BBIBHB", 0x2A, 0, 7, 0, 1, 0)
        read = struct.pack(">BBIBHB", 0x28, 0, 7, 0, 1, 0)
        assert guest.scsi(0, 0, write, data_out=written, layout=layout).good
        answer = guest.scsi(0, 0, read, data_in=512, layout=layout)
        assert answer.good, answer
        assert answer.data == written
        assert guest.scsi(0, 0, INQUIRY, data_in=36, layout=layout).good


def test_the_ring_wraps_around_many_times(guest: FrontEnd) -> None:
    """Indices pass 65535, with chains of several in flight."""
    read = struct.pack(">BBIBHB", 0x28, 0, 0, 0, 0, 0)
    queue = guest.queues[fe.FIRST_REQUEST]
    guest.stop_ring(fe.FIRST_REQUEST)
    guest.start_ring(fe.FIRST_REQUEST, base=0xFFF0)
    for _ in range(8):
        pending = [guest.submit(0, 0, read) for _ in range(8)]
        assert all(guest.wait(one).good for one in pending)
    assert queue.ring.in_flight == 0
    assert guest.stop_ring(fe.FIRST_REQUEST) == (0xFFF0 + 64) & 0xFFFF


def test_memory_truncated_under_load_ends_that_adapter_alone(
    two_hosts: Daemon, bystander: FrontEnd
) -> None:
    """The front-end takes the file away from beneath its rings and its data."""
    before = two_hosts.log().count("ERROR")
    guest = FrontEnd(two_hosts.sockets[0])
    guest.start()
    guest.ready()
    # Data and rings in the part that goes; nothing of it is touched from here any more.
    data = guest.memory.allocate(MIB)
    header = struct.pack(
        "<8sQBBB32s", lun_field(0, 0), 1, 0, 0, 0, struct.pack(">BBIBHB", 0x28, 0, 0, 0, 256, 0)
    )
    head = guest.memory.allocate(HEADER)
    guest.memory.write(head, header)
    answer = guest.memory.allocate(ANSWER)
    queue = guest.queues[fe.FIRST_REQUEST]
    buffers = [Buffer(head, HEADER), Buffer(answer, ANSWER, True), Buffer(data, 131072, True)]
    for _ in range(30):
        queue.ring.offer(buffers)
    os.eventfd_write(queue.kick, 1)
    guest.memory.truncate(0)
    os.eventfd_write(queue.kick, 1)
    guest.peer.expect_closed()
    two_hosts.wait_for_line("ERROR", count=before + 1)
    guest.close()
    for _ in range(20):
        assert bystander.scsi(0, 0, INQUIRY, data_in=36).good
    with FrontEnd(two_hosts.sockets[0]) as after:
        after.ready()
        assert after.peer.ask_number(wire.GET_QUEUE_NUM) == 256


def test_a_new_call_descriptor_is_signalled_at_once(guest: FrontEnd) -> None:
    """QEMU gives another one when the guest unmasks an interrupt; what went to the old is lost."""
    new = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        guest.peer.send(wire.SET_VRING_CALL, wire.vring_file(fe.FIRST_REQUEST), [new])
        heard, _, _ = select.select([new], [], [], 10)
        assert heard, "waited 10 s for a notification on the new descriptor"
    finally:
        os.close(new)
