"""Front-ends that come, go, stop, start and dawdle."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from tests.harness import frontend as fe
from tests.harness import peer as wire
from tests.harness.frontend import FrontEnd
from tests.harness.memory import MIB, GuestMemory
from tests.harness.peer import Peer

if TYPE_CHECKING:
    from tests.harness.daemon import Daemon

    from .conftest import MakeDaemon

INQUIRY = bytes.fromhex("120000002400")
TEST_UNIT_READY = bytes(6)
LOGICAL_UNIT_RESET = 5


def read(block: int, count: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, block, 0, count, 0)


def write(block: int, count: int) -> bytes:
    return struct.pack(">BBIBHB", 0x2A, 0, block, 0, count, 0)


@pytest.fixture
def server(make_daemon: MakeDaemon) -> Daemon:
    """Two virtual hosts; the second has a slow disk as well."""
    luns = ["0:0:0:0=ram:16M", "1:0:0:0=ram:16M", "0:0:1:0=null:1G,latency=1s"]
    return make_daemon(luns, sockets=2)


def test_one_front_end_after_the_other(server: Daemon) -> None:
    data = os.urandom(512)
    with FrontEnd(server.socket) as guest:
        guest.ready()
        assert guest.scsi(0, 0, write(3, 1), data_out=data).good
    for _ in range(5):
        with FrontEnd(server.socket) as guest:
            guest.ready()
            assert guest.scsi(0, 0, read(3, 1), data_in=512).data == data


def test_a_second_front_end_at_the_same_time_is_turned_away(server: Daemon) -> None:
    with FrontEnd(server.socket) as guest:
        guest.ready()
        with Peer.connect(server.socket) as second:
            second.expect_closed()
        server.wait_for_line("a second front-end is turned away")
        assert guest.scsi(0, 0, INQUIRY, data_in=36).good


def test_a_guest_that_reconnects_with_the_same_memory_goes_on(server: Daemon) -> None:
    data = os.urandom(4096)
    with FrontEnd(server.socket, request_queues=4) as guest:
        guest.ready()
        for turn in range(3):
            assert guest.scsi(0, 0, write(turn * 8, 8), data_out=data, queue=5).good
            guest.reconnect(server.socket)
            guest.ready()
            assert guest.scsi(0, 0, read(turn * 8, 8), data_in=4096, queue=4).data == data


def test_a_reboot(server: Daemon) -> None:
    """What QEMU 7.2 does: pause and stop every ring, reset, and all of it anew."""
    with FrontEnd(server.socket, request_queues=2) as guest:
        guest.ready()
        for _ in range(3):
            for queue in guest.queues:
                guest.peer.send(wire.SET_VRING_ENABLE, wire.vring(queue.index, 0))
            guest.stop()
            guest.peer.send(wire.RESET_DEVICE)
            guest.peer.send(wire.RESET_DEVICE)
            guest.peer.send(wire.SET_FEATURES, wire.number(guest.features))
            for queue in guest.queues:
                guest.start_ring(queue.index)
            guest.ready()
            assert guest.scsi(0, 0, read(0, 1), data_in=512, queue=3).good


def test_a_stopped_ring_goes_on_where_it_was(server: Daemon) -> None:
    with FrontEnd(server.socket) as guest:
        guest.ready()
        for _ in range(4):
            assert guest.scsi(0, 0, read(0, 1), data_in=512).good
            base = guest.stop_ring(2)
            guest.start_ring(2, base)


def test_stopping_a_ring_waits_for_what_was_taken(server: Daemon) -> None:
    with FrontEnd(server.socket) as guest:
        guest.ready(1)
        pending = [guest.submit(1, 0, read(0, 1), data_in=512) for _ in range(3)]
        guest.synchronize()
        # The worker has seen them when it has answered one that came after them.
        assert guest.scsi(0, 0, INQUIRY, data_in=36).sense is not None
        guest.stop_ring(2)
        assert all(guest.is_done(one) for one in pending)
        assert all(guest.wait(one).good for one in pending)


def test_a_paused_ring_is_not_served(server: Daemon) -> None:
    with FrontEnd(server.socket) as guest:
        guest.ready()
        assert guest.peer.acknowledge(wire.SET_VRING_ENABLE, wire.vring(2, 0)) == 0
        pending = guest.submit(0, 0, read(0, 1), data_in=512)
        for _ in range(20):
            guest.synchronize()
        assert not guest.is_done(pending)
        guest.peer.send(wire.SET_VRING_ENABLE, wire.vring(2, 1))
        assert guest.wait(pending).good


def test_a_call_that_changes_is_used(server: Daemon) -> None:
    """QEMU masks and unmasks an interrupt this way, while requests are in flight."""
    with FrontEnd(server.socket) as guest:
        guest.ready()
        queue = guest.queues[2]
        for _ in range(10):
            old = queue.call
            queue.call = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            guest.peer.send(wire.SET_VRING_CALL, wire.vring_file(2), [queue.call])
            guest.synchronize()
            os.close(old)
            assert guest.scsi(0, 0, read(0, 1), data_in=512).good


def test_memory_is_exchanged_while_rings_run(server: Daemon) -> None:
    with FrontEnd(server.socket) as guest, GuestMemory(MIB, guest_base=0, user_base=MIB) as other:
        guest.ready()
        own = wire.region(guest.memory.guest_base, guest.memory.size, guest.memory.user_base)
        more = wire.region(0, MIB, MIB)
        for turn in range(10):
            if turn % 2:
                guest.peer.send(wire.SET_MEM_TABLE, wire.memory_table(own), [guest.memory.fd])
            else:
                table = wire.memory_table(more, own)
                guest.peer.send(wire.SET_MEM_TABLE, table, [other.fd, guest.memory.fd])
            pending = [guest.submit(0, 0, read(0, 8), data_in=4096) for _ in range(8)]
            assert all(guest.wait(one).good for one in pending)


def test_a_dawdler_holds_up_itself_alone(server: Daemon) -> None:
    with Peer.connect(server.socket) as dawdler:
        dawdler.send_bytes(struct.pack("<III", wire.SET_FEATURES, 1, 8) + b"half")
        with FrontEnd(server.sockets[1]) as guest:
            guest.ready()
            assert guest.scsi(0, 0, read(0, 1), data_in=512).good
        # And it does not hold up the end of the daemon.
        server.stop()


def test_a_flooder_does_not_take_the_others_turn(server: Daemon) -> None:
    """Far more messages than a socket holds; nobody reads the replies."""
    with Peer.connect(server.socket) as flooder, FrontEnd(server.sockets[1]) as guest:
        flooder.socket.setblocking(False)
        message = struct.pack("<III", wire.GET_FEATURES, 1, 0)
        guest.ready()
        for _ in range(20):
            try:
                while True:
                    flooder.socket.send(message * 1000)
            except BlockingIOError:
                pass
            assert guest.scsi(0, 0, read(0, 1), data_in=512).good


def test_a_reset_ends_held_commands_first(server: Daemon) -> None:
    with FrontEnd(server.socket) as guest:
        guest.ready(1)
        pending = [guest.submit(1, 0, read(0, 1), data_in=512) for _ in range(4)]
        assert guest.tmf(LOGICAL_UNIT_RESET, 1, 0) == fe.FUNCTION_COMPLETE
        assert all(guest.is_done(one) for one in pending)
        assert {guest.wait(one).response for one in pending} == {fe.RESET_RESPONSE}


@pytest.mark.parametrize(
    ("subtype", "target", "lun", "answer"),
    [
        (LOGICAL_UNIT_RESET, 0, 0, fe.FUNCTION_COMPLETE),
        (LOGICAL_UNIT_RESET, 0, 1, fe.INCORRECT_LUN),
        (LOGICAL_UNIT_RESET, 9, 0, fe.BAD_TARGET),
        (99, 0, 0, fe.FUNCTION_REJECTED),
        (6, 0, 0, fe.FUNCTION_COMPLETE),  # QUERY TASK: no such task
    ],
)
def test_task_management_answers(
    server: Daemon, subtype: int, target: int, lun: int, answer: int
) -> None:
    with FrontEnd(server.socket) as guest:
        guest.ready()
        assert guest.tmf(subtype, target, lun, tag=4711) == answer


def test_stopping_the_daemon_finishes_what_is_in_flight(server: Daemon) -> None:
    with FrontEnd(server.socket) as guest:
        guest.ready(1)
        pending = [guest.submit(1, 0, read(0, 1), data_in=512) for _ in range(3)]
        # The worker has seen them when it has answered one that came after them.
        guest.scsi(0, 0, INQUIRY, data_in=36)
        server.stop()
        guest.leave()
        assert all(guest.wait(one).good for one in pending)


def test_a_front_end_that_vanishes_is_followed_at_once(server: Daemon) -> None:
    """Its slow commands are ended early: the next one does not wait for them."""
    for _ in range(3):
        with FrontEnd(server.socket) as guest:
            guest.ready(1)
            for _ in range(16):
                guest.submit(1, 0, read(0, 1), data_in=512)
    with FrontEnd(server.socket) as guest:
        guest.ready()
