"""`serve --metrics`: what Prometheus reads of the real daemon, and clients that do it wrong."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import stat
import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import commands as cdb
from tests.harness.daemon import program
from tests.harness.frontend import FrontEnd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon

    from .conftest import MakeDaemon

WAIT = 30.0
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def daemon(make_daemon: MakeDaemon, folder: Path) -> Daemon:
    return make_daemon(
        ["0:0:0:0=ram:16M", "0:0:1:0=null:1G"],
        *("--metrics", f"unix:{folder / 'm'},mode=660"),
        *("--metrics", "0"),
        *("--control", str(folder / "control")),
    )


@pytest.fixture
def url(daemon: Daemon) -> str:
    daemon.wait_for_line("metrics at http://")
    found = re.search(r"metrics at (http://127\.0\.0\.1:\d+/metrics)", daemon.log())
    assert found is not None
    return found[1]


def read(url: str) -> dict[tuple[str, str], float]:
    """All samples by name and VDEV or host."""
    with urllib.request.urlopen(url, timeout=WAIT) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        text = response.read().decode()
    return {
        (sample.name, sample.labels.get("vdev") or sample.labels.get("host", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("le", "+Inf") == "+Inf"
    }


@contextlib.contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WAIT)
        client.connect(str(path))
        yield client


def answer(client: socket.socket) -> bytes:
    """Everything until the daemon closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(1 << 16):
            data += piece
    return data


def test_metrics_say_what_was_done(daemon: Daemon, url: str) -> None:
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        for _ in range(5):
            assert guest.scsi(0, 0, cdb.read_10(0, 8), data_in=4096).good
        told = read(url)
        assert told["vhost_pvscsi_lun_reads_total", "0:0:0:0"] == 5
        assert told["vhost_pvscsi_lun_read_bytes_total", "0:0:0:0"] == 5 * 4096
        assert told["vhost_pvscsi_lun_read_latency_seconds_bucket", "0:0:0:0"] == 5
        assert told["vhost_pvscsi_lun_reads_total", "0:0:1:0"] == 0
        assert told["vhost_pvscsi_host_connected", "0"] == 1
    daemon.wait_for_line("disconnected")
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        assert read(url)["vhost_pvscsi_host_connects_total", "0"] == 2


def test_the_unix_socket_has_its_mode_and_goes_with_the_daemon(
    daemon: Daemon, folder: Path
) -> None:
    path = folder / "m"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with connected(path) as client:
        client.sendall(GET)
        assert b"\r\n\r\n# HELP " in answer(client)
    daemon.stop()
    assert not path.exists()
    daemon.start()


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 404),
        ("/metrics/x", "GET", 404),
        ("/metrics", "POST", 405),
        ("/metrics?a=b", "HEAD", 200),
    ],
)
def test_what_is_not_there_is_said(url: str, path: str, method: str, status: int) -> None:
    asked = http.client.HTTPConnection(url.split("/")[2], timeout=WAIT)
    with contextlib.closing(asked):
        asked.request(method, path)
        response = asked.getresponse()
        assert response.status == status
        assert (response.getheader("Allow") == "GET, HEAD") == (status == 405)
        assert int(response.getheader("Content-Length", "0")) > 0
        assert (response.read() == b"") == (method == "HEAD")


@pytest.mark.parametrize("sent", [b"", b"GET /met", GET[:-2]], ids=["silent", "half", "no end"])
def test_a_client_that_does_not_ask_is_let_go(daemon: Daemon, folder: Path, sent: bytes) -> None:
    with connected(folder / "m") as client:
        client.sendall(sent)
        # Until the daemon's deadline; ours is longer.
        assert answer(client) == b""


@pytest.mark.parametrize(
    "sent", [os.urandom(100_000), b"GET " + b"/" * 1_000_000], ids=["garbage", "endless"]
)
def test_garbage_is_refused(daemon: Daemon, folder: Path, sent: bytes) -> None:
    with connected(folder / "m") as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(sent)
        told = answer(client)
        assert not told or re.match(rb"HTTP/1.1 4(00|31) ", told)


def test_many_clients_are_turned_away_and_the_guest_is_not(
    daemon: Daemon, folder: Path, url: str
) -> None:
    with contextlib.ExitStack() as stack, FrontEnd(daemon.socket) as guest:
        clients = [stack.enter_context(connected(folder / "m")) for _ in range(60)]
        # Those beyond the limit are let go at once, the others after their deadline.
        assert sum(answer(client) == b"" for client in clients[40:]) == 20
        guest.ready()
        assert guest.scsi(0, 0, cdb.read_10(0, 8), data_in=4096).good
        for client in clients:
            client.close()
        # When the daemon has seen them go, there is room.
        while True:
            try:
                assert read(url)
                break
            except (ConnectionError, urllib.error.URLError):
                continue


def test_what_cannot_be_served_is_said_before_anything_is(folder: Path) -> None:
    def serve(where: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program()), "serve", "--socket-path", str(folder / "s"), "--metrics", where],
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT,
        )

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = serve(str(port))
    assert done.returncode == 1
    assert f"error: 127.0.0.1:{port}: metrics cannot be served there: " in done.stderr
    assert "\nhint: " in done.stderr
    assert serve("192.0.2.1:9744").returncode == 1
    assert serve("nonsense:").returncode == 2
    assert serve(f"unix:{folder}/no/m").returncode == 1


def test_a_warning_is_given_where_others_can_read(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(["0:0:0:0=ram:1M"], "--metrics", "0.0.0.0:0")
    daemon.wait_for_line("metrics at 0.0.0.0: whoever reaches that address can read them")
    assert "WARNING" in daemon.log()
