"""A front-end, the real engine, and the transport between them; the adapter is a small one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import struct
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.harness import frontend as fe
from tests.harness import peer as wire
from tests.harness.frontend import FrontEnd, Layout
from tests.harness.memory import MIB, GuestMemory
from tests.harness.peer import Peer
from vhost_pvscsi import _engine
from vhost_pvscsi.engine import Engine, GateReason, MapEntry
from vhost_pvscsi.errors import ProtocolError, RingError
from vhost_pvscsi.medium import Medium
from vhost_pvscsi.scsi.request import (
    ManagementOutcome,
    Reply,
    Request,
    Service,
    TaskManagement,
)
from vhost_pvscsi.transports import front_end as module
from vhost_pvscsi.transports.connection import Connection
from vhost_pvscsi.transports.vhost_user.transport import VhostUserTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from vhost_pvscsi import engine

DEADLINE = 20.0

READ_10, ECHO, HOLD = 0x28, 0xC0, 0xC1

_T = TypeVar("_T")


class Adapter:
    """Answers commands with the last data that it was sent, or keeps them until cancelled."""

    def __init__(self) -> None:
        self.transport: VhostUserTransport | None = None
        self.held: dict[int, Request] = {}
        self.asked: list[TaskManagement] = []
        self.may_manage = asyncio.Event()
        self.may_manage.set()
        self.holds = asyncio.Event()
        self.sent = b""
        self.host: engine.Host | None = None

    def command(self, request: Request, mapping: int, generation: int) -> None:
        assert self.host is not None
        if mapping == 0:
            self.host.complete(request.token, Reply(service=Service.ABSENT_TARGET))
        elif request.opcode == HOLD:
            self.held[request.token] = request
            self.holds.set()
        else:
            self.sent = request.data_out or self.sent
            taken = len(request.data_out) or None
            data = b"" if request.data_out else self.sent
            self.host.complete(request.token, Reply(data=data, transferred=taken))

    def control(self, session: int, token: int, data: bytes, writable: int) -> None:
        assert self.transport is not None
        assert session == self.transport.session_id
        self.transport.control(token, data, writable)

    def cancel(self, token: int, service: Service) -> None:
        assert self.host is not None
        self.held.pop(token, None)
        self.host.complete(token, Reply(service=service))

    def broken(self, session: int, queue: int, reason: str) -> None:
        assert self.transport is not None
        self.transport.fail(f"ring {queue}: {reason}")

    async def manage(self, task: TaskManagement) -> ManagementOutcome:
        assert self.host is not None
        self.asked.append(task)
        await self.may_manage.wait()
        await self.host.abort(Service.ABORTED, target=task.target, lun=task.lun)
        return ManagementOutcome.COMPLETE

    def notifications(self, target: int, lun: int) -> int | ManagementOutcome:
        return 0

    async def device_reset(self) -> None:
        pass


class Rig:
    """An engine with one host, and the transport of one front-end."""

    def __init__(self, adapter: Adapter, peer: Peer, running: asyncio.Task[str]) -> None:
        self.adapter = adapter
        self.peer = peer
        self.running = running
        assert adapter.transport is not None
        self.transport = adapter.transport

    async def ended(self) -> str:
        """Wait for the end of `run`."""
        return await asyncio.wait_for(self.running, DEADLINE)


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    before = open_files()
    core = Engine(2)
    adapter = Adapter()
    host = adapter.host = core.add_host("host0", adapter)
    ram = Medium(_engine.Medium.ram(size=MIB, block_size=512, read_only=False))
    mapping = core.new_mapping()
    await host.change_map(1, added=[MapEntry(0, 0, mapping, ram, frozenset({READ_10}))])
    host.gate(mapping).open(GateReason.NEW)
    ours, theirs = socket.socketpair()
    peer = Peer(theirs, deadline=DEADLINE)
    adapter.transport = VhostUserTransport(Connection(ours), host, adapter, name="host 0")
    running = asyncio.create_task(adapter.transport.run())
    try:
        yield Rig(adapter, peer, running)
    finally:
        peer.close()
        await asyncio.wait({running}, timeout=DEADLINE)
        assert running.done(), "the transport did not end"
        running.exception()
        core.remove_host(host)
        await core.close()
        del core, host, ram
    # What a front-end gave is given back. The engine's own files end with the engine.
    assert not [name for name in open_files() - before if "guest-memory" in name]


def open_files() -> set[str]:
    folder = Path("/proc/self/fd")
    found = set()
    for entry in folder.iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except FileNotFoundError:
            continue
    return found


async def in_thread(work: Callable[[], _T]) -> _T:
    return await asyncio.wait_for(asyncio.to_thread(work), 2 * DEADLINE)


def read_10(block: int, count: int) -> bytes:
    return struct.pack(">BBIBHB", READ_10, 0, block, 0, count, 0)


FEATURE_SETS = [
    fe.VERSION_1 | fe.PROTOCOL_FEATURES | fe.EVENT_IDX | fe.INDIRECT_DESC,
    fe.VERSION_1 | fe.PROTOCOL_FEATURES | fe.INDIRECT_DESC,
    fe.VERSION_1,
]
LAYOUTS = [fe.PLAIN, Layout(piece=7), Layout(indirect=True), Layout(indirect=True, piece=5)]


@pytest.mark.parametrize("features", FEATURE_SETS)
async def test_commands_take_either_road_in_any_layout(features: int) -> None:
    def work() -> list[int]:
        with FrontEnd(r.peer, features=features) as guest:
            for layout in LAYOUTS:
                if layout.indirect and not features & fe.INDIRECT_DESC:
                    continue
                sent = guest.scsi(0, 0, bytes((ECHO,)), data_out=b"hello" * 10, layout=layout)
                assert (sent.good, sent.resid) == (True, 0), sent
                echo = guest.scsi(0, 0, bytes((ECHO,)), data_in=70, layout=layout)
                assert (echo.good, echo.resid) == (True, 20), echo
                assert echo.data == b"hello" * 10 + b"\xa5" * 20
                zeros = guest.scsi(0, 0, read_10(0, 1), data_in=512, layout=layout)
                assert (zeros.good, zeros.data) == (True, bytes(512)), zeros
            assert guest.scsi(9, 0, bytes(6)).response == fe.BAD_TARGET
            return guest.stop()

    async with rig() as r:
        bases = await in_thread(work)
        assert bases[:2] == [0, 0]
        assert bases[2] > 4
        assert await r.ended() == "the front-end left"


async def test_rings_are_stopped_and_started_again() -> None:
    def work() -> None:
        with FrontEnd(r.peer, request_queues=3) as guest:
            for _ in range(3):
                assert guest.scsi(0, 0, read_10(0, 1), data_in=512, queue=4).good
                base = guest.stop_ring(4)
                guest.start_ring(4, base)
            assert base == 3
            guest.peer.send(wire.RESET_DEVICE)
            for queue in range(5):
                guest.start_ring(queue)
            assert guest.scsi(0, 0, read_10(0, 1), data_in=512, queue=3).good

    async with rig() as r:
        await in_thread(work)


async def test_memory_by_slots() -> None:
    def work() -> None:
        guest = FrontEnd(r.peer)
        guest.negotiate()
        memory = guest.memory
        assert guest.peer.ask_number(wire.GET_MAX_MEM_SLOTS) == 509
        slot = wire.memory_slot(wire.region(memory.guest_base, memory.size, memory.user_base))
        assert guest.peer.acknowledge(wire.ADD_MEM_REG, slot, [memory.fd]) == 0
        with GuestMemory(MIB, guest_base=0, user_base=0x1000_0000) as other:
            second = wire.memory_slot(wire.region(0, MIB, 0x1000_0000))
            assert guest.peer.acknowledge(wire.ADD_MEM_REG, second, [other.fd]) == 0
            for index in range(3):
                guest.start_ring(index)
            assert guest.peer.acknowledge(wire.REM_MEM_REG, second) == 0
        assert guest.scsi(0, 0, read_10(0, 1), data_in=512).good
        guest.close()

    async with rig() as r:
        await in_thread(work)


async def test_a_task_function_is_answered_when_it_has_ended() -> None:
    def work() -> None:
        with FrontEnd(r.peer) as guest:
            command = guest.submit(0, 0, bytes((HOLD,)), tag=9)
            task = guest.submit_tmf(5, 0, 0)
            query = guest.tmf(99, 0, 0)  # is answered while the other is going on
            assert query == fe.FUNCTION_REJECTED
            assert not guest.is_done(task)
            assert not guest.is_done(command)
            loop.call_soon_threadsafe(r.adapter.may_manage.set)
            assert guest.wait_tmf(task) == fe.FUNCTION_COMPLETE
            assert guest.is_done(command)  # it ended before its task function did
            assert guest.wait(command).response == fe.ABORTED

    loop = asyncio.get_running_loop()
    async with rig() as r:
        r.adapter.may_manage.clear()
        await in_thread(work)
        assert [(t.function, t.target, t.lun) for t in r.adapter.asked] == [(5, 0, 0)]


async def test_a_bug_in_task_management_is_told_as_failure(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def manage(task: TaskManagement) -> ManagementOutcome:
        raise ZeroDivisionError

    def work() -> None:
        with FrontEnd(r.peer) as guest:
            assert guest.tmf(0, 0, 0, tag=1) == fe.FAILURE

    async with rig() as r:
        monkeypatch.setattr(r.adapter, "manage", manage)
        await in_thread(work)
    assert "was not carried out" in caplog.text


async def test_a_cut_control_request_breaks_the_ring() -> None:
    def work() -> None:
        with FrontEnd(r.peer) as guest:
            guest.submit_bytes(fe.CONTROL, bytes(23), 1, name="a control request cut short")
            guest.peer.expect_closed()

    async with rig() as r:
        await in_thread(work)
        with pytest.raises(RingError, match="task management request of 23 bytes, not 24"):
            await r.ended()


async def test_stopping_a_ring_waits_for_a_held_command_and_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.02)

    def work() -> None:
        with FrontEnd(r.peer) as guest:
            command = guest.submit(0, 0, bytes((HOLD,)))
            guest.synchronize()
            release.result(DEADLINE)  # it is in Python's hands
            assert guest.stop_ring(2) == 1
            assert guest.is_done(command)

    async def let_go() -> None:
        await asyncio.wait_for(r.adapter.holds.wait(), DEADLINE)
        release.set_result(None)
        while "waiting for" not in caplog.text:  # noqa: ASYNC110  # a log line is no event
            await asyncio.sleep(0.01)
        for token in list(r.adapter.held):
            assert r.adapter.host is not None
            r.adapter.host.complete(token, Reply())

    release: concurrent.futures.Future[None] = concurrent.futures.Future()
    async with rig() as r:
        await asyncio.wait_for(asyncio.gather(in_thread(work), let_go()), 2 * DEADLINE)
    assert "host 0: waiting for 0 s until the commands of ring 2 have ended" in caplog.text


async def test_a_front_end_that_leaves_takes_its_commands_along() -> None:
    def work() -> None:
        with FrontEnd(r.peer) as guest:
            guest.submit(0, 0, bytes((HOLD,)))
            guest.synchronize()
            release.result(DEADLINE)

    release: concurrent.futures.Future[None] = concurrent.futures.Future()
    async with rig() as r:
        working = asyncio.create_task(in_thread(work))
        await asyncio.wait_for(r.adapter.holds.wait(), DEADLINE)
        release.set_result(None)
        await working
        assert await r.ended() == "the front-end left"
        assert not r.adapter.held


async def test_draining_ends_what_was_taken() -> None:
    def work() -> fe.Response:
        with FrontEnd(r.peer) as guest:
            command = guest.submit(0, 0, bytes((HOLD,)))
            guest.peer.expect_closed()
            guest.peer.close()
            return guest.wait(command)

    async with rig() as r:
        working = asyncio.create_task(in_thread(work))
        await asyncio.wait_for(r.adapter.holds.wait(), DEADLINE)
        draining = asyncio.create_task(r.transport.drain())
        await asyncio.wait({draining}, timeout=0.05)
        assert not draining.done()
        (token,) = r.adapter.held
        assert r.adapter.host is not None
        r.adapter.host.complete(token, Reply())
        await asyncio.wait_for(draining, DEADLINE)
        assert await r.ended() == "the back-end is stopping"
        assert (await working).good


async def test_a_ring_that_cannot_be_is_broken() -> None:
    def work() -> None:
        with FrontEnd(r.peer) as guest:
            queue = guest.queues[2]
            queue.ring.publish([queue.ring.size])  # a head outside of the table
            os.eventfd_write(queue.kick, 1)
            guest.peer.expect_closed()

    async with rig() as r:
        await in_thread(work)
        with pytest.raises(RingError, match="ring 2"):
            await r.ended()


async def test_memory_that_is_not_there_is_refused() -> None:
    def work() -> None:
        guest = FrontEnd(r.peer)
        guest.negotiate()
        memory = guest.memory
        beyond = wire.region(memory.guest_base, 2 * memory.size, memory.user_base)
        table = wire.memory_table(beyond)
        assert guest.peer.acknowledge(wire.SET_MEM_TABLE, table, [memory.fd]) == 1
        guest.peer.expect_closed()
        guest.close()

    async with rig() as r:
        await in_thread(work)
        with pytest.raises(ProtocolError, match="memory table"):
            await r.ended()


async def test_ring_addresses_outside_of_memory_are_refused() -> None:
    def work() -> None:
        guest = FrontEnd(r.peer)
        guest.negotiate()
        guest.share_memory()
        peer = guest.peer
        peer.send(wire.SET_VRING_NUM, wire.vring(2, 128))
        peer.send(wire.SET_VRING_ADDR, wire.vring_address(2, 0x1000, 0x2000, 0x3000))
        peer.send(wire.SET_VRING_KICK, wire.vring_file(2, no_descriptor=True))
        assert peer.acknowledge(wire.SET_VRING_ENABLE, wire.vring(2, 1)) == 1
        peer.expect_closed()
        guest.close()

    async with rig() as r:
        await in_thread(work)
        with pytest.raises(ProtocolError, match="ring 2"):
            await r.ended()


@pytest.mark.parametrize(
    ("request_", "payload", "text"),
    [
        (wire.SET_FEATURES, b"short", "SET_FEATURES: payload of 5 bytes"),
        (wire.SET_VRING_KICK, wire.vring_file(2), "SET_VRING_KICK is not legal in state NEGOT"),
        (wire.SET_VRING_NUM, wire.vring(2, 3), "size 3 is not a power of two"),
        (6, b"", "SET_LOG_BASE: belongs to a feature that was not offered"),
        (4711, b"", "request 4711: no such request"),
    ],
)
async def test_a_wrong_message_ends_the_connection(
    request_: int, payload: bytes, text: str
) -> None:
    async with rig() as r:
        r.peer.send(request_, payload)
        with pytest.raises(ProtocolError, match=text):
            await r.ended()
        await in_thread(r.peer.expect_closed)
