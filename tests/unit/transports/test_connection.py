"""The socket: framing, descriptors, and a peer that does it wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness.peer import Peer
from vhost_pvscsi.errors import ProtocolError
from vhost_pvscsi.transports.connection import Connection, Frame
from vhost_pvscsi.transports.descriptors import FdSet
from vhost_pvscsi.wire.vhost_user import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE = 10.0


def open_descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def pair() -> Iterator[tuple[Peer, socket.socket]]:
    ours, theirs = socket.socketpair()
    with Peer(theirs, deadline=DEADLINE) as peer, ours:
        yield peer, ours


@pytest.fixture
def files() -> Iterator[list[int]]:
    numbers = [os.memfd_create(f"file-{n}") for n in range(12)]
    yield numbers
    for number in numbers:
        os.close(number)


async def receive(connection: Connection) -> Frame | None:
    return await asyncio.wait_for(connection.receive(), DEADLINE)


async def test_a_message_and_its_descriptors(
    pair: tuple[Peer, socket.socket], files: list[int]
) -> None:
    peer, ours = pair
    connection = Connection(ours)
    peer.send(Kind.SET_MEM_TABLE, b"payload", files[:3])
    frame = await receive(connection)
    assert frame is not None
    assert (frame.header.request, frame.payload) == (Kind.SET_MEM_TABLE, b"payload")
    with frame.fds:
        assert len(frame.fds) == 3
        for mine, his in zip(frame.fds.peek(), files, strict=False):
            assert os.fstat(mine).st_ino == os.fstat(his).st_ino
            assert not os.get_inheritable(mine)


async def test_two_messages_are_not_mixed_up(
    pair: tuple[Peer, socket.socket], files: list[int]
) -> None:
    peer, ours = pair
    connection = Connection(ours)
    peer.send(1, b"", files[:1])
    peer.send(2, b"x", files[1:3])
    first, second = await receive(connection), await receive(connection)
    assert first is not None
    assert second is not None
    with first.fds, second.fds:
        assert (len(first.fds), len(second.fds), second.payload) == (1, 2, b"x")


async def test_a_message_may_come_byte_by_byte(
    pair: tuple[Peer, socket.socket], files: list[int]
) -> None:
    peer, ours = pair
    connection = Connection(ours)
    receiving = asyncio.create_task(receive(connection))
    data = struct.pack("<III", 12, 1, 4) + b"four"
    peer.send_bytes(data[:1], files[:1])
    for position in range(1, len(data)):
        await asyncio.sleep(0)  # let the receiver take what is there
        assert not receiving.done()
        peer.send_bytes(data[position : position + 1])
    frame = await receiving
    assert frame is not None
    with frame.fds:
        assert (frame.payload, len(frame.fds)) == (b"four", 1)


async def test_leaving_between_messages_is_no_error(pair: tuple[Peer, socket.socket]) -> None:
    peer, ours = pair
    peer.send(1)
    peer.close()
    connection = Connection(ours)
    assert await receive(connection) is not None
    assert await receive(connection) is None


@pytest.mark.parametrize("cut", [1, 11, 12, 15])
async def test_leaving_in_the_middle_is_an_error(
    pair: tuple[Peer, socket.socket], cut: int
) -> None:
    peer, ours = pair
    peer.send_bytes((struct.pack("<III", 1, 1, 4) + b"four")[:cut])
    peer.close()
    with pytest.raises(ProtocolError, match="left in the middle of"):
        await receive(Connection(ours))


async def test_too_large_a_payload_is_refused_before_it_is_read(
    pair: tuple[Peer, socket.socket],
) -> None:
    peer, ours = pair
    peer.send_bytes(struct.pack("<III", Kind.SET_MEM_TABLE, 1, 0xFFFF_FFFF))
    with pytest.raises(ProtocolError, match="SET_MEM_TABLE: announces a payload of 4294967295"):
        await receive(Connection(ours))


async def test_too_many_descriptors_are_noticed_and_none_is_kept(
    pair: tuple[Peer, socket.socket], files: list[int]
) -> None:
    peer, ours = pair
    connection = Connection(ours)
    peer.send(1, b"", files[:9])
    before = open_descriptors()
    with pytest.raises(ProtocolError, match="more than 8 came with one message"):
        await receive(connection)
    assert open_descriptors() <= before


async def test_descriptors_in_the_middle_are_refused_and_none_is_kept(
    pair: tuple[Peer, socket.socket], files: list[int]
) -> None:
    peer, ours = pair
    connection = Connection(ours)
    peer.send_bytes(struct.pack("<III", 1, 1, 4), files[:1])
    peer.send_bytes(b"four", files[1:2])
    before = open_descriptors()
    with pytest.raises(ProtocolError, match="in the middle of a message"):
        await receive(connection)
    assert open_descriptors() <= before


async def test_receiving_can_be_cancelled_and_keeps_nothing(
    pair: tuple[Peer, socket.socket], files: list[int]
) -> None:
    peer, ours = pair
    connection = Connection(ours)
    before = open_descriptors()
    peer.send_bytes(b"\1", files[:2])
    receiving = asyncio.create_task(receive(connection))
    while len(open_descriptors()) < len(before) + 2:  # noqa: ASYNC110  # no event tells of it
        await asyncio.sleep(0)
    receiving.cancel()
    await asyncio.wait({receiving}, timeout=DEADLINE)
    assert receiving.cancelled()
    assert open_descriptors() <= before


async def test_a_peer_that_does_not_read_delays_its_sender_alone(
    pair: tuple[Peer, socket.socket],
) -> None:
    peer, ours = pair
    connection = Connection(ours)
    data = bytes(4 << 20)
    sending = asyncio.create_task(connection.send(data))
    await asyncio.sleep(0)
    assert not sending.done()
    received = 0
    while received < len(data):
        received += len(await asyncio.to_thread(peer.socket.recv, 1 << 20))
    await asyncio.wait_for(sending, DEADLINE)


async def test_sending_to_one_who_left(pair: tuple[Peer, socket.socket]) -> None:
    peer, ours = pair
    peer.close()
    with pytest.raises(ConnectionError):
        await Connection(ours).send(b"anybody there")


async def test_descriptors_are_sent_with_the_first_byte(
    pair: tuple[Peer, socket.socket], files: list[int]
) -> None:
    peer, ours = pair
    await Connection(ours).send(b"here", files[:2])
    data, fds, _, _ = socket.recv_fds(peer.socket, 16, 4)
    with FdSet(fds):
        assert (data, len(fds)) == (b"here", 2)


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.integers(0, 9)), max_size=6))
def test_any_bytes_and_descriptors_are_frames_or_a_protocol_error(
    files: list[int], pieces: list[tuple[bytes, int]]
) -> None:
    async def read_all(sock: socket.socket) -> None:
        connection = Connection(sock)
        while (frame := await receive(connection)) is not None:
            frame.fds.close()

    before = open_descriptors()
    ours, theirs = socket.socketpair()
    with ours, Peer(theirs) as peer:
        for data, count in pieces:
            peer.send_bytes(data, files[:count])
        peer.close()
        with contextlib.suppress(ProtocolError):
            asyncio.run(read_all(ours))
    assert open_descriptors() == before


def test_an_fd_set_closes_what_nobody_took(files: list[int]) -> None:
    one, two = os.dup(files[0]), os.dup(files[1])
    with FdSet([one]) as owned:
        owned.add([two])
        assert owned.peek() == (one, two)
    for number in (one, two):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)


def test_an_fd_set_does_not_close_what_was_taken(files: list[int]) -> None:
    number = os.dup(files[0])
    with FdSet([number]) as owned:
        assert owned.steal() == (number,)
    os.close(number)
