"""The control socket over a real UNIX socket: QMP's manners, order, bad clients, who may."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qemu.qmp import QMPClient

from tests.harness.control import DEADLINE, RawClient
from tests.harness.operator import PaperOperator
from vhost_pvscsi.control.commands import COMMANDS
from vhost_pvscsi.daemon.control import server as server_module
from vhost_pvscsi.daemon.control.access import Peer
from vhost_pvscsi.daemon.control.publisher import Publisher
from vhost_pvscsi.daemon.control.server import ControlServer
from vhost_pvscsi.daemon.control.spec import ControlSpec, parse_control
from vhost_pvscsi.daemon.control.stream import MAX_LENGTH
from vhost_pvscsi.daemon.options import parse_serve
from vhost_pvscsi.errors import ConfigurationError, DeviceBusyError
from vhost_pvscsi.identity import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class House:
    """A server, its operator and where it listens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events = Publisher()
        self.operator = PaperOperator(self.events)

    def server(self, *, read_only: bool = False) -> ControlServer:
        spec = ControlSpec(self.path, read_only=read_only)
        self._server = ControlServer(self.operator, self.events, spec)
        return self._server

    @property
    def listeners(self) -> int:
        return self._server.listeners

    @property
    def unread(self) -> int:
        """Bytes that wait for clients to read them."""
        return sum(
            client._writer.transport.get_write_buffer_size() for client in self._server._clients
        )


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path / "c")
    async with made.server():
        yield made
    assert not made.path.exists()


async def test_a_client_is_greeted_and_negotiates_first(house: House) -> None:
    client = await RawClient.connect(house.path)
    greeting = (await client.receive())["QMP"]
    assert greeting["capabilities"] == []
    assert set(greeting["version"]["qemu"]) == {"major", "minor", "micro"}
    early = await client.ask(execute="query-hosts", id=1)
    assert early["error"]["class"] == "CommandNotFound"
    assert "qmp_capabilities" in early["error"]["desc"]
    assert early["id"] == 1
    wrong = await client.ask(execute="qmp_capabilities", arguments={"enable": ["oob"]})
    assert wrong["error"]["class"] == "GenericError"
    assert await client.ask(execute="qmp_capabilities", id=[]) == {"id": [], "return": {}}
    again = await client.ask(execute="qmp_capabilities")
    assert again["error"]["class"] == "CommandNotFound"
    assert await client.ask(execute="query-hosts") == {"return": []}


@pytest.mark.parametrize(
    ("message", "kind", "said"),
    [
        ({"execute": "nope"}, "CommandNotFound", "The command nope has not been found"),
        ({"exec": 1}, "GenericError", "'exec' is unexpected"),
        ({"id": 4}, "GenericError", "lacks member 'execute'"),
        ({"execute": 1}, "GenericError", "must be a string"),
        ({"execute": "quit", "arguments": []}, "GenericError", "must be an object"),
        ({"execute": "quit", "arguments": {"a": 1}}, "GenericError", "argument 'a' is not known"),
    ],
)
async def test_what_is_no_command_is_refused_as_qemu_does(
    house: House, message: dict[str, object], kind: str, said: str
) -> None:
    client = await RawClient.negotiated(house.path)
    error = (await client.ask(**message))["error"]
    assert error["class"] == kind
    assert said in error["desc"]
    assert not house.operator.stopped.is_set()


async def test_hosts_and_luns_come_and_go(house: House) -> None:
    client = await RawClient.negotiated(house.path)
    client.send(
        b'{"execute": "host-attach", "arguments": {"host": 3, "socket-path": "/s"}}'
        b'{"execute": "scsi-attach", "arguments": {"pdev": "ram:1M,ro", "vdev": "3:0:1:0"},"id":2}'
    )
    told = [await client.receive() for _ in range(4)]
    assert [message.get("event") for message in told] == [
        *("HOST_ATTACHED", None, "LUN_ATTACHED", None)
    ]
    assert told[0]["data"] == {"host": 3, "socket-path": "/s"}
    assert set(told[0]["timestamp"]) == {"seconds", "microseconds"}
    assert told[3] == {"id": 2, "return": {}}
    [host] = (await client.ask(execute="query-hosts"))["return"]
    assert host == {"host": 3, "socket-path": "/s", "connected": False, "luns": 1, "problem": None}
    [lun] = (await client.ask(execute="query-luns", arguments={"host": 3}))["return"]
    assert (lun["vdev"], lun["pdev"], lun["block-size"]) == ("3:0:1:0", "ram:1M,ro", 512)
    assert (await client.ask(execute="query-luns", arguments={"host": 4}))["return"] == []
    await client.ask(execute="scsi-detach", arguments={"vdev": "3:0:1:0", "timeout": 2.5})
    assert house.operator.asked[-1] == ("detach", Address(3, 0, 1, 0), False, 2.5)


async def test_an_error_for_people_has_its_hint_and_one_of_ours_a_traceback(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    client = await RawClient.negotiated(house.path)
    arguments = {"host": 0, "socket-path": "/s"}
    await client.ask(execute="host-attach", arguments=arguments)
    await client.receive()
    refused = await client.ask(execute="host-attach", arguments=arguments)
    assert refused["error"] == {
        "class": "GenericError",
        "desc": "virtual host 0 is there already (detach it first)",
        "hint": "detach it first",
    }
    bug = await client.ask(execute="host-detach", arguments={"host": 9})
    assert bug["error"] == {"class": "GenericError", "desc": "internal error"}
    assert "KeyError" in caplog.text
    assert await client.ask(execute="query-stats") == {
        "return": [{"host": 0, "queue": {"requests": 7}}]
    }


async def test_commands_of_one_client_wait_for_each_other_and_no_other_does(house: House) -> None:
    slow, quick = [await RawClient.negotiated(house.path) for _ in range(2)]
    house.operator.hold.clear()
    slow.send(b'{"execute":"scsi-detach","arguments":{"vdev":"0:0:0:0"}}{"execute":"query-hosts"}')
    await asyncio.wait_for(house.operator.held.wait(), DEADLINE)
    assert await quick.ask(execute="query-hosts", id="q") == {"id": "q", "return": []}
    house.operator.hold.set()
    assert (await slow.receive())["error"]["desc"] == "internal error"  # nothing is there
    assert await slow.receive() == {"return": []}


async def test_a_client_that_leaves_does_not_stop_what_it_asked(house: House) -> None:
    watcher = await RawClient.negotiated(house.path)
    client = await RawClient.negotiated(house.path)
    await client.ask(execute="host-attach", arguments={"host": 0, "socket-path": "/s"})
    await client.ask(execute="scsi-attach", arguments={"pdev": "ram:1M", "vdev": "0:0:0:0"})
    house.operator.hold.clear()
    client.send(b'{"execute":"scsi-detach","arguments":{"vdev":"0:0:0:0"}}')
    await asyncio.wait_for(house.operator.held.wait(), DEADLINE)
    await client.close()
    house.operator.hold.set()
    while (await watcher.receive())["event"] != "LUN_DETACHED":
        pass


async def test_events_are_for_those_that_have_negotiated(house: House) -> None:
    new = await RawClient.connect(house.path)
    await new.receive()
    old = await RawClient.negotiated(house.path)
    house.events.publish("FRONTEND_CONNECTED", host=1)
    assert (await old.receive())["event"] == "FRONTEND_CONNECTED"
    assert await new.ask(execute="qmp_capabilities") == {"return": {}}


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_garbage_never_ends_the_server(tmp_path: Path, pieces: list[bytes]) -> None:
    async def main() -> None:
        house = House(tmp_path / "g")
        async with house.server():
            bad = await RawClient.connect(house.path)
            for piece in pieces:
                bad.send(piece)
            bad.shut_down()
            while (told := await bad.receive()) is not None:
                assert set(told) <= {"QMP", "error", "return", "id"}
            good = await RawClient.negotiated(house.path)
            assert "return" in await good.ask(execute="query-commands")

    asyncio.run(main())


async def test_a_message_without_end_costs_its_client_the_connection(house: House) -> None:
    client = await RawClient.negotiated(house.path)
    client.send(b'{"' + b"x" * MAX_LENGTH)
    assert "longer than" in (await client.receive())["error"]["desc"]
    assert await client.receive() is None


async def test_a_client_that_never_reads_is_let_go(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = await RawClient.negotiated(house.path)
    deaf = await RawClient.negotiated(house.path)
    deaf.writer.transport.pause_reading()
    for number in range(200):
        house.events.publish("LUN_ATTACHED", vdev=str(number), pdev="x" * 20_000)
        assert (await watcher.receive())["data"]["vdev"] == str(number)
    assert caplog.text.count("does not read what it is told") == 1
    assert "return" in await watcher.ask(execute="query-hosts")


async def test_answers_left_unread_have_a_deadline(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "READ_DEADLINE", 0.2)
    other = await RawClient.negotiated(house.path)
    deaf = await RawClient.negotiated(house.path)
    deaf.writer.transport.pause_reading()
    deaf.send(b'{"execute": "query-schema"}' * 2000)
    async with asyncio.timeout(DEADLINE):
        while house.listeners > 1:
            await other.ask(execute="query-version")
    assert "does not read what it is told" in caplog.text


async def test_a_long_answer_is_not_held_against_a_client(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.operator, "stats", lambda: [{"long": "x" * 4_000_000}])
    slow, other = [await RawClient.negotiated(house.path) for _ in range(2)]
    slow.writer.transport.pause_reading()
    slow.send(b'{"execute": "query-stats"}')
    while house.unread < 2_000_000:
        await other.ask(execute="query-version")
    house.events.publish("HOST_DETACHED", host=0)
    slow.writer.transport.resume_reading()
    assert "return" in await slow.receive()
    assert (await slow.receive())["event"] == "HOST_DETACHED"


async def test_there_is_a_most_of_clients(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 2)
    first, second = [await RawClient.negotiated(house.path) for _ in range(2)]
    assert await (await RawClient.connect(house.path)).receive() is None
    await first.close()
    async with asyncio.timeout(DEADLINE):
        while house.listeners > 1:
            await second.ask(execute="query-version")
    assert "return" in await (await RawClient.negotiated(house.path)).ask(execute="query-hosts")


async def test_a_read_only_socket_answers_queries_alone(tmp_path: Path) -> None:
    house = House(tmp_path / "ro")
    async with house.server(read_only=True):
        client = await RawClient.negotiated(house.path)
        for command in COMMANDS.values():
            answer = await client.ask(execute=command.name)
            refused = "read-only" in answer.get("error", {}).get("desc", "")
            assert refused != command.query, command.name
        assert house.operator.asked == []
        assert not house.operator.stopped.is_set()


async def test_the_answer_to_quit_arrives(house: House) -> None:
    client = await RawClient.negotiated(house.path)
    assert await client.ask(execute="quit") == {"return": {}}
    assert house.operator.stopped.is_set()


async def test_the_end_lets_a_command_end_and_tells_its_client(tmp_path: Path) -> None:
    house = House(tmp_path / "c")
    server = house.server()
    await server.__aenter__()
    idle, client = [await RawClient.negotiated(house.path) for _ in range(2)]
    house.operator.hold.clear()
    client.send(b'{"execute":"scsi-detach","arguments":{"vdev":"0:0:0:0"}}{"execute":"quit"}')
    await asyncio.wait_for(house.operator.held.wait(), DEADLINE)
    ending = asyncio.create_task(server.__aexit__(None, None, None))
    assert await idle.receive() is None
    house.operator.hold.set()
    assert "error" in await client.receive()
    assert await client.receive() is None
    await asyncio.wait_for(ending, DEADLINE)
    assert not house.operator.stopped.is_set()


async def test_the_file_is_for_its_owner_or_a_group(tmp_path: Path) -> None:
    for text, mode in (("c", 0o600), (f"c,group={os.getgid()}", 0o660), ("c,mode=606", 0o606)):
        spec = parse_control(f"{tmp_path}/{text}")
        events = Publisher()
        async with ControlServer(PaperOperator(events), events, spec):
            status = spec.path.stat()
            assert stat.S_IMODE(status.st_mode) == mode
            assert spec.group in {None, status.st_gid}
            with pytest.raises(DeviceBusyError):
                await ControlServer(PaperOperator(events), events, spec).__aenter__()


def test_credentials_decide(tmp_path: Path) -> None:
    path = tmp_path / "c"
    stranger = Peer(1, 54321, frozenset({7, 8}))
    own = Peer(1, os.geteuid(), frozenset())
    assert own.may_use(ControlSpec(path))
    assert Peer(1, 0, frozenset()).may_use(ControlSpec(path))
    assert not stranger.may_use(ControlSpec(path))
    assert stranger.may_use(ControlSpec(path, 0o660, group=8))
    assert not stranger.may_use(ControlSpec(path, 0o660, group=9))
    assert not stranger.may_use(ControlSpec(path, 0o600, group=8))
    assert stranger.may_use(ControlSpec(path, 0o666))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    # pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user: run as root")
@pytest.mark.parametrize(("groups", "welcome"), [([], False), ([3, 12345], True)])
async def test_another_user_needs_the_group_whatever_the_file_lets(
    open_folder: Path, caplog: pytest.LogCaptureFixture, groups: list[int], welcome: bool
) -> None:
    code = (
        f"import os, socket, sys; os.setgroups({groups}); os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(7))"
    )
    events = Publisher()
    spec = parse_control(f"{open_folder}/c,group=12345")
    async with ControlServer(PaperOperator(events), events, spec):
        spec.path.chmod(0o666)  # as if somebody had done that behind our back
        child = await asyncio.create_subprocess_exec(
            "/usr/bin/env", "python3", "-c", code, str(spec.path), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await asyncio.wait_for(child.communicate(), DEADLINE)
    assert said == (b"b'{\"QMP\":'\n" if welcome else b"b''\n")
    assert ("of user 65534: refused: is not for that user" in caplog.text) != welcome


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no path"),
        (",ro", "has no path"),
        ("/c,rw", "option 'rw' is not known"),
        ("/c,group=", "there is no group ''"),
        ("/c,group=no-such-group", "there is no group 'no-such-group'"),
        ("/c,mode=999", "'999' is no file mode"),
    ],
)
def test_a_control_socket_that_cannot_be(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        parse_control(text)
    assert caught.value.hint


def test_a_control_socket_is_read() -> None:
    assert parse_control("/a,,b,ro,mode=0640").path.name == "a,b"
    assert parse_control("/c,ro").read_only


def test_with_a_control_socket_no_other_is_needed() -> None:
    options = parse_serve(
        socket_paths=(),
        fds=(),
        luns=(),
        read_only=False,
        threads=1,
        poll_us=0,
        io_uring=False,
        controls=("/c", "/d,ro"),
    )
    assert [(str(spec), spec.read_only) for spec in options.controls] == [
        *(("/c", False), ("/d", True))
    ]


async def test_the_client_of_qemu_drives_it(house: House) -> None:
    client = QMPClient("test")
    await client.connect(str(house.path))
    names = {command["name"] for command in await client.execute("query-commands")}
    assert names == set(COMMANDS)
    await client.execute("host-attach", {"host": 0, "socket-path": "/s"})
    event = await asyncio.wait_for(client.events.get(), DEADLINE)
    assert event["event"] == "HOST_ATTACHED"
    await client.disconnect()


async def test_qmp_shell_drives_it_as_it_stands(house: House, tmp_path: Path) -> None:
    shell = f"{sysconfig.get_path('scripts')}/qmp-shell"
    child = await asyncio.create_subprocess_exec(
        shell,
        str(house.path),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    typed = b"host-attach host=0 socket-path=/s\nscsi-attach vdev=0:0:0:0 pdev=ram:1M,ro\n"
    typed += b"scsi-detach vdev=0:0:0:0 force=true timeout=5\nhost-attach\nquery-hosts\n"
    said, complained = await asyncio.wait_for(child.communicate(typed), DEADLINE)
    answers = [json.loads(line[7:]) for line in said.decode().splitlines() if "(QEMU) {" in line]
    assert [set(answer) for answer in answers] == [
        *({"return"}, {"return"}, {"return"}, {"error"}, {"return"})
    ], (said, complained)
    assert house.operator.asked[1:] == [
        ("attach", Address(0, 0, 0, 0), "ram:1M,ro"),
        ("detach", Address(0, 0, 0, 0), True, 5.0),
    ]
