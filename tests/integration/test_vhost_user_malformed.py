"""Messages that are wrong: that connection ends with one clear line, and no other is touched."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness import peer as wire
from tests.harness.frontend import FrontEnd
from tests.harness.memory import MIB, GuestMemory
from tests.harness.peer import Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.daemon import Daemon

INQUIRY = bytes.fromhex("120000002400")

ALL_EXTENSIONS = 0x1A029
MODERN = 0x1_7000_0000


@pytest.fixture
def peer(two_hosts: Daemon) -> Iterator[Peer]:
    """A front-end that has negotiated."""
    with Peer.connect(two_hosts.sockets[0]) as connected:
        connected.ask_number(wire.GET_FEATURES)
        connected.send(wire.SET_PROTOCOL_FEATURES, wire.number(ALL_EXTENSIONS))
        connected.send(wire.SET_OWNER)
        connected.send(wire.SET_FEATURES, wire.number(MODERN))
        yield connected


def with_files(count: int, use: Callable[[list[int]], None]) -> None:
    files = [os.memfd_create("file") for _ in range(count)]
    try:
        for file in files:
            os.ftruncate(file, MIB)
        use(files)
    finally:
        for file in files:
            os.close(file)


def region(at: int = 0, size: int = MIB, offset: int = 0) -> bytes:
    return wire.region(at, size, (0x7000_0000 + at) % 2**64, offset)


def send(request: int, payload: bytes = b"", files: int = 0) -> Callable[[Peer], None]:
    """A message as it is, with as many descriptors."""
    return lambda peer: with_files(files, lambda fds: peer.send(request, payload, fds))


def raw(data: bytes, files: int = 0) -> Callable[[Peer], None]:
    return lambda peer: with_files(files, lambda fds: peer.send_bytes(data, fds))


def leave_in_the_middle(peer: Peer) -> None:
    peer.send_bytes(struct.pack("<III", wire.SET_FEATURES, 1, 8) + b"half")
    peer.socket.shutdown(socket.SHUT_WR)


def descriptors_late(peer: Peer) -> None:
    peer.send_bytes(struct.pack("<III", wire.SET_OWNER, 1, 4))
    raw(b"late", files=1)(peer)


def kick_without_memory_of_the_ring(peer: Peer) -> None:
    send(wire.SET_MEM_TABLE, wire.memory_table(region()), 1)(peer)
    peer.send(wire.SET_VRING_NUM, wire.vring(2, 128))
    peer.send(wire.SET_VRING_ADDR, wire.vring_address(2, 0xDEAD_0000, 0xDEAD_1000, 0xDEAD_2000))
    peer.send(wire.SET_VRING_ENABLE, wire.vring(2, 1))
    send(wire.SET_VRING_KICK, wire.vring_file(2), 1)(peer)


#: What is sent, and what the log says of it.
CASES: dict[str, tuple[Callable[[Peer], None], str]] = {
    "noise": (raw(b"\xa0" * 64), "protocol version 0, not 1"),
    "HTTP": (raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "protocol version"),
    "version 2": (raw(struct.pack("<III", 1, 2, 0)), "GET_FEATURES: protocol version 2, not 1"),
    "a reply": (raw(struct.pack("<III", 1, 5, 0)), "GET_FEATURES: a reply to nothing we asked"),
    "request 0": (send(0), "request 0: no such request"),
    "request 44": (send(44), "request 44: no such request"),
    "GET_CONFIG": (send(24, bytes(12)), "GET_CONFIG: belongs to a feature that was not offered"),
    "GET_INFLIGHT_FD": (send(31, bytes(24)), "GET_INFLIGHT_FD: belongs to a feature"),
    "SET_LOG_BASE": (send(6, bytes(16), 1), "SET_LOG_BASE: belongs to a feature"),
    "4 GiB payload": (raw(struct.pack("<III", 5, 1, 2**32 - 1)), "payload of 4294967295 bytes"),
    "payload cut": (send(wire.SET_FEATURES, bytes(7)), "SET_FEATURES: payload of 7 bytes"),
    "payload too long": (send(wire.SET_FEATURES, bytes(9)), "SET_FEATURES: payload of 9 bytes"),
    "payload for none": (send(wire.SET_OWNER, b"x"), "SET_OWNER: payload of 1 bytes"),
    "left in the middle": (leave_in_the_middle, "left in the middle of the payload"),
    "unoffered feature": (send(wire.SET_FEATURES, wire.number(1 << 34)), "bits 0x400000000"),
    "unoffered extension": (send(wire.SET_PROTOCOL_FEATURES, wire.number(1 << 9)), "bits 0x200"),
    "9 descriptors": (send(wire.SET_OWNER, b"", 9), "more than 8 came with one message"),
    "unasked descriptor": (send(wire.SET_OWNER, b"", 1), "1 descriptors came with it, not 0"),
    "late descriptor": (descriptors_late, "descriptors came in the middle of a message"),
    "kick without descriptor": (
        send(wire.SET_VRING_KICK, wire.vring_file(2)),
        "SET_VRING_KICK: 0 descriptors came with it, not 1",
    ),
    "descriptor and none": (
        send(wire.SET_VRING_CALL, wire.vring_file(2, no_descriptor=True), 1),
        "SET_VRING_CALL: 1 descriptors came with it, not 0",
    ),
    "9 regions": (
        send(wire.SET_MEM_TABLE, wire.memory_table(*[region(n * MIB) for n in range(9)]), 8),
        "SET_MEM_TABLE: payload of 296 bytes",
    ),
    "a region without file": (
        send(wire.SET_MEM_TABLE, wire.memory_table(region(), region(MIB)), 1),
        "SET_MEM_TABLE: 1 descriptors came with it, not 2",
    ),
    "an empty region": (
        send(wire.SET_MEM_TABLE, wire.memory_table(region(size=0)), 1),
        "memory table",
    ),
    "a region that wraps": (
        send(wire.SET_MEM_TABLE, wire.memory_table(region(2**64 - MIB // 2)), 1),
        "memory table",
    ),
    "regions that overlap": (
        send(wire.SET_MEM_TABLE, wire.memory_table(region(), region(4096)), 2),
        "memory table",
    ),
    "a region beyond its file": (
        send(wire.SET_MEM_TABLE, wire.memory_table(region(size=2 * MIB)), 1),
        "memory table",
    ),
    "an offset beyond the file": (
        send(wire.SET_MEM_TABLE, wire.memory_table(region(offset=2**63)), 1),
        "memory table",
    ),
    "removal of no region": (
        send(wire.REM_MEM_REG, wire.memory_slot(region())),
        "REM_MEM_REG: no region of 0x100000 bytes",
    ),
    "ring 256": (send(wire.SET_VRING_NUM, wire.vring(256, 128)), "ring 256 is none of the 256"),
    "ring of 100": (send(wire.SET_VRING_NUM, wire.vring(2, 100)), "size 100 is not a power of two"),
    "ring of 32768": (send(wire.SET_VRING_NUM, wire.vring(2, 32768)), "up to 1024"),
    "base of 17 bits": (send(wire.SET_VRING_BASE, wire.vring(2, 0x10000)), "more than 16 bits"),
    "enabled twice over": (send(wire.SET_VRING_ENABLE, wire.vring(2, 2)), "neither 0 nor 1"),
    "status of 9 bits": (send(wire.SET_STATUS, wire.number(256)), "more than 8 bits"),
    "ring outside of memory": (kick_without_memory_of_the_ring, "ring 2"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_ends_that_connection_alone(
    two_hosts: Daemon, bystander: FrontEnd, peer: Peer, case: str
) -> None:
    do, text = CASES[case]
    before = two_hosts.log().count("ERROR")
    do(peer)
    peer.expect_closed()
    peer.close()
    two_hosts.wait_for_line("ERROR", count=before + 1)
    assert bystander.scsi(0, 0, INQUIRY, data_in=36).good
    # The host takes the next front-end at once.
    with FrontEnd(two_hosts.sockets[0]) as guest:
        guest.ready()
    new = [line for line in two_hosts.log().splitlines() if "ERROR" in line][before:]
    assert len(new) == 1, new
    assert text in new[0]
    assert "host 0" in new[0]


def test_a_refused_message_is_answered_where_that_was_asked(peer: Peer) -> None:
    def refuse(files: list[int]) -> None:
        table = wire.memory_table(region(size=2 * MIB))
        assert peer.acknowledge(wire.SET_MEM_TABLE, table, files) == 1

    with_files(1, refuse)
    peer.expect_closed()


def test_no_descriptor_is_kept(two_hosts: Daemon, bystander: FrontEnd) -> None:
    """What malformed messages brought is closed, and so is all that a whole session had."""

    def held() -> int:
        return sum(1 for _ in Path(f"/proc/{two_hosts.pid}/fd").iterdir())

    with Peer.connect(two_hosts.sockets[0]) as first:
        first.ask_number(wire.GET_FEATURES)
        before = held()
    with FrontEnd(two_hosts.sockets[0]) as guest:
        guest.ready()
        assert held() > before + 1
        send(wire.SET_OWNER, b"", 5)(guest.peer)
        guest.peer.expect_closed()
    with Peer.connect(two_hosts.sockets[0]) as after:
        after.ask_number(wire.GET_FEATURES)  # the host has let go of the one before
        assert held() == before


def test_memory_of_another_kind_than_a_file_is_refused(two_hosts: Daemon, peer: Peer) -> None:
    reading, writing = os.pipe()
    try:
        peer.send(wire.SET_MEM_TABLE, wire.memory_table(region()), [reading])
        peer.expect_closed()
    finally:
        os.close(reading)
        os.close(writing)


def test_a_kick_that_is_no_eventfd_hurts_nobody(two_hosts: Daemon, bystander: FrontEnd) -> None:
    """It never fires, or the ring ends; the daemon goes on either way."""
    with GuestMemory(MIB) as memory, FrontEnd(two_hosts.sockets[0]) as guest:
        guest.stop_ring(2)
        guest.peer.send(wire.SET_VRING_KICK, wire.vring_file(2), [memory.fd])
        assert bystander.scsi(0, 0, INQUIRY, data_in=36).good
    with FrontEnd(two_hosts.sockets[0]) as guest:
        guest.ready()
