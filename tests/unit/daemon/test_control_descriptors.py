"""Descriptors that come by the control socket: named, taken, refused, closed."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from qemu.qmp import QMPClient

from tests.harness.control import DEADLINE, RawClient
from tests.harness.operator import PaperOperator
from vhost_pvscsi.daemon.control.descriptors import MAX_NAMED
from vhost_pvscsi.daemon.control.publisher import Publisher
from vhost_pvscsi.daemon.control.server import ControlServer
from vhost_pvscsi.daemon.control.spec import ControlSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Sender(RawClient):
    """A client that sends descriptors, and sees when the daemon has closed them."""

    async def send_with(self, *descriptors: int, **message: object) -> None:
        """Send a command with descriptors, whatever is sent before it having gone."""
        await self.writer.drain()
        sock = self.writer.get_extra_info("socket").dup()
        with sock:
            socket.send_fds(sock, [json.dumps(message).encode()], descriptors)

    async def getfd(self, name: str, *descriptors: int) -> dict[str, dict[str, str]]:
        await self.send_with(*descriptors, execute="getfd", arguments={"fdname": name})
        answer: dict[str, dict[str, str]] = await self.receive()
        return answer

    async def attach(self, pdev: str) -> dict[str, dict[str, str]]:
        """Attach; what the event told is passed over."""
        self.send(
            json.dumps(
                {"execute": "scsi-attach", "arguments": {"pdev": pdev, "vdev": "0:0:0:0"}}
            ).encode()
        )
        while "event" in (answer := await self.receive()):
            pass
        told: dict[str, dict[str, str]] = answer
        return told


class Pipe:
    """A pipe: who holds the other descriptor of its writing end can be told by its end."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)

    def _close_ours(self) -> None:
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    @property
    def held(self) -> bool:
        """Whether somebody else has its writing end; ours is closed."""
        self._close_ours()
        try:
            return os.read(self.reading, 1) != b""
        except BlockingIOError:
            return True

    async def closed(self) -> None:
        """Wait until nobody has."""
        self._close_ours()
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self.reading, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), DEADLINE)
        finally:
            loop.remove_reader(self.reading)
        assert not self.held


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[PaperOperator]:
    events = Publisher()
    made = PaperOperator(events)
    async with ControlServer(made, events, ControlSpec(tmp_path / "c")):
        yield made


@pytest.fixture
async def client(operator: PaperOperator, tmp_path: Path) -> Sender:
    made = await Sender.negotiated(tmp_path / "c")
    await operator.attach_host(0, {"socket_path": "/s"}, transient=True)
    assert (await made.receive())["event"] == "HOST_ATTACHED"
    return made


@pytest.fixture
def null() -> Iterator[int]:
    with Path("/dev/null").open("r+b", buffering=0) as opened:
        yield opened.fileno()


async def test_what_is_sent_and_named_is_attached_and_is_the_units_alone_then(
    operator: PaperOperator, client: Sender, null: int
) -> None:
    assert await client.getfd("tape", null) == {"return": {}}
    assert await client.attach("fd:tape,ro") == {"return": {}}
    # The next daemon could not have it.
    assert operator.passed == [(os.fstat(null).st_rdev, True)]
    again = await client.attach("fd:tape")
    assert "File descriptor named 'tape' not found" in again["error"]["desc"]


async def test_it_may_come_before_getfd(client: Sender, operator: PaperOperator, null: int) -> None:
    sock = client.writer.get_extra_info("socket").dup()
    with sock:
        socket.send_fds(sock, [b" "], [null])
    assert await client.ask(execute="getfd", arguments={"fdname": "tape"}) == {"return": {}}
    assert await client.attach("fd:tape") == {"return": {}}
    assert operator.passed


async def test_the_client_of_qemu_sends_one(
    client: Sender, operator: PaperOperator, tmp_path: Path, null: int
) -> None:
    qemus = QMPClient("test")
    await qemus.connect(str(tmp_path / "c"))
    qemus.send_fd_scm(null)
    await qemus.execute("getfd", {"fdname": "tape"})
    await qemus.execute("scsi-attach", {"pdev": "fd:tape", "vdev": "0:0:0:0"})
    await qemus.disconnect()
    assert len(operator.passed) == 1


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "No file descriptor supplied via SCM_RIGHTS"),
        (2, "2 descriptors came, and one can have the name"),
        (40, "descriptors were lost"),
    ],
)
async def test_one_is_named_and_neither_none_nor_several(
    client: Sender, count: int, said: str
) -> None:
    pipe = Pipe()
    answer = await client.getfd("tape", *[pipe.writing] * count)
    assert said in answer["error"]["desc"]
    await pipe.closed()
    # What came is not there for the next.
    assert "No file descriptor" in (await client.getfd("tape"))["error"]["desc"]


@pytest.mark.parametrize("name", ["7", "7tape", "", "x" * 65, 7])
async def test_a_name_is_no_number(client: Sender, name: str | int) -> None:
    answer = await client.ask(execute="getfd", arguments={"fdname": name})
    assert "a name that does not begin with a digit" in answer["error"]["desc"]


async def test_a_name_that_is_given_again_is_the_later_ones(client: Sender) -> None:
    first, second = Pipe(), Pipe()
    await client.getfd("tape", first.writing)
    await client.getfd("tape", second.writing)
    await first.closed()
    assert second.held
    assert await client.ask(execute="closefd", arguments={"fdname": "tape"}) == {"return": {}}
    await second.closed()
    answer = await client.ask(execute="closefd", arguments={"fdname": "tape"})
    assert "File descriptor named 'tape' not found" in answer["error"]["desc"]


async def test_what_nobody_has_taken_ends_with_the_connection(client: Sender) -> None:
    named, unnamed = Pipe(), Pipe()
    await client.getfd("tape", named.writing)
    await client.send_with(unnamed.writing, execute="query-hosts")
    await client.receive()
    assert named.held
    assert unnamed.held
    await client.close()
    await named.closed()
    await unnamed.closed()


async def test_a_name_is_its_connections_alone(
    operator: PaperOperator, client: Sender, tmp_path: Path, null: int
) -> None:
    await client.getfd("tape", null)
    other = await Sender.negotiated(tmp_path / "c")
    assert "not found" in (await other.attach("fd:tape"))["error"]["desc"]
    assert not operator.passed


async def test_what_could_not_be_attached_is_closed(client: Sender) -> None:
    pipe = Pipe()
    await client.getfd("tape", pipe.writing)
    refused = await client.ask(
        execute="scsi-attach", arguments={"pdev": "fd:tape", "vdev": "7:0:0:0"}
    )
    assert "there is no virtual host 7" in refused["error"]["desc"]
    await pipe.closed()


async def test_there_is_a_most_of_names(client: Sender, null: int) -> None:
    for number in range(MAX_NAMED):
        assert await client.getfd(f"n{number}", null) == {"return": {}}
    assert f"{MAX_NAMED} descriptors" in (await client.getfd("more", null))["error"]["desc"]
    assert await client.getfd("n0", null) == {"return": {}}


async def test_what_the_daemon_can_have_no_more_of_is_said_to_be_lost(
    client: Sender, null: int
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await client.writer.drain()
    with client.writer.get_extra_info("socket").dup() as sock:
        highest = os.dup(null)
        os.close(highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        try:
            message = json.dumps({"execute": "getfd", "arguments": {"fdname": "tape"}})
            socket.send_fds(sock, [message.encode()], [null])
            answer = await client.receive()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "descriptors were lost" in answer["error"]["desc"]


async def test_a_client_that_may_only_ask_names_none(tmp_path: Path, null: int) -> None:
    events = Publisher()
    spec = ControlSpec(tmp_path / "r", read_only=True)
    async with ControlServer(PaperOperator(events), events, spec):
        client = await Sender.negotiated(spec.path)
        assert "read-only" in (await client.getfd("tape", null))["error"]["desc"]
        await client.close()
