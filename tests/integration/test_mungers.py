"""Mungers of third parties in the real daemon: an installed package, files, the control socket."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness.daemon import program
from tests.harness.frontend import FrontEnd
from tests.harness.house import House
from tests.harness.packages import install
from vhost_pvscsi.munge.layer import Layer
from vhost_pvscsi.munge.registry import REGISTRY
from vhost_pvscsi.scsi.request import Reply

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.request import Request
    from vhost_pvscsi.translation import Mapping

    from .conftest import MakeDaemon

PAGE = (Path(__file__).parents[2] / "docs" / "munging.md").read_text(encoding="utf-8")
OVERRUN = 1  #: VIRTIO_SCSI_S_OVERRUN (virtio 1.2, 5.6.6.1)
INTERNAL_TARGET_FAILURE = (4, 0x44, 0)

#: READ(10) is answered without the unit, READ CAPACITY(10) fails whatever it is asked.
READS = """
import sys
from vhost_pvscsi.munge.registry import inbound, outbound
from vhost_pvscsi.scsi.codes import Opcode
from vhost_pvscsi.scsi.request import Reply

@inbound(Opcode.READ_10)
def same_everywhere(request, mapping):
    return Reply(data=bytes(range(256)) * 2)

@outbound(Opcode.READ_CAPACITY_10)
def ends(request, reply, mapping):
    sys.exit("at once")
"""


def ask(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [program(), *words, "--control", folder / "control"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout


def test_a_package_is_found_by_its_entry_point_and_only_when_named(
    make_daemon: MakeDaemon, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("example-munger", folder / "site")
    monkeypatch.setenv("PYTHONPATH", str(folder / "site"))
    vendors = []
    for options in ((), ("--mungers", "example", "--control", str(folder / "control"))):
        daemon = make_daemon(["0:0:0:0=ram:1M,vendor=OURS"], *options)
        with FrontEnd(daemon.socket) as guest:
            guest.ready()
            vendors.append(guest.scsi(0, 0, cdb.inquiry(36), data_in=36).data[8:16])
    # Theirs is nearer the guest than ours, which has put the attachment's name there.
    assert vendors == [b"OURS    ", b"EXAMPLE "]
    daemon.wait_for_line("mungers of example-munger 1.2: inquiry (outbound)")
    told = json.loads(ask(folder, "mungers", "--json"))
    assert {
        "command": "inquiry",
        "opcode": 0x12,
        "service-action": None,
        "direction": "outbound",
        "function": "example_munger.other_vendor",
        "origin": "example-munger 1.2",
    } in told
    assert {row["origin"] for row in told} == {"example-munger 1.2", "vhost-pvscsi"}


def test_files_munge_reads_and_one_that_fails_costs_its_command(
    make_daemon: MakeDaemon, folder: Path
) -> None:
    (folder / "reads.py").write_text(READS)
    daemon = make_daemon(["0:0:0:0=ram:1M"], "--mungers", str(folder / "reads.py"))
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        for _ in range(3):
            munged = guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512)
            assert munged.good
            assert munged.data == bytes(range(256)) * 2
            # More than the guest has room for is cut, and it is told so.
            short = guest.scsi(0, 0, cdb.read_10(0, 1), data_in=100)
            assert (short.response, short.data) == (OVERRUN, bytes(range(100)))
            assert guest.scsi(0, 0, cdb.read_16(0, 1), data_in=512).data == bytes(512)
            failed = guest.scsi(0, 0, bytes([0x25]) + bytes(9), data_in=8)
            assert failed.sense_code == INTERNAL_TARGET_FAILURE
    daemon.wait_for_line(f"ends of {folder.resolve()}/reads.py has raised SystemExit: at once")


async def test_a_munger_answers_alike_on_both_roads(
    monkeypatch: pytest.MonkeyPatch, io_uring: bool
) -> None:
    monkeypatch.setattr(REGISTRY, "theirs", Layer())

    @REGISTRY.on_request(0x28)
    def same_everywhere(request: Request, mapping: Mapping) -> Reply:
        del request, mapping
        return Reply(data=(b"munged" * 100)[:512])

    async with House(["0:0:0:0=ram:1M"], io_uring=io_uring) as house:
        guest = await house.connect()

        def read() -> bytes:
            return guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512).data

        # As it is, then with the gate shut: there is no road past the munger.
        session = house.adapter.session_id
        before = house.short_road(session)
        answers = [await asyncio.to_thread(read), await house.on_long_road(0, read)]
        assert house.short_road(session) == before
        assert answers == [(b"munged" * 100)[:512]] * 2
        guest.close()


@pytest.mark.parametrize(
    ("text", "said", "status"),
    [(None, "No such file", 1), ("def:\n", ":1: invalid syntax", 2), ("", "is registered", 2)],
)
def test_nothing_is_started_with_mungers_that_cannot_be(
    folder: Path, text: str | None, said: str, status: int
) -> None:
    if text is not None:
        (folder / "m.py").write_text(text)
    words = ["--socket-path", "s", "--lun", "0:0:0:0=ram:1M", "--mungers", "m.py"]
    done = subprocess.run(
        [program(), "serve", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == status
    assert "error: mungers m.py: " in done.stderr
    assert said in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "s").exists()


def test_the_page_as_it_is_followed(make_daemon: MakeDaemon, folder: Path) -> None:
    [example] = re.findall(r" `vendor.py`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)
    [listed] = re.findall(r"\$ vhost-pvscsi mungers.*?\n(.*?)```", PAGE, re.DOTALL)
    (folder / "vendor.py").write_text(example)
    control = ("--control", str(folder / "control"))
    daemon = make_daemon(["0:0:0:0=ram:1M"], "--mungers", str(folder / "vendor.py"), *control)
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        assert guest.scsi(0, 0, cdb.inquiry(36), data_in=36).data[8:16] == b"EXAMPLE "
        page = guest.scsi(0, 0, cdb.inquiry(255, page=0x83), data_in=255)
        assert page.good
        assert page.data[1] == 0x83
    told = ask(folder, "mungers").replace(str(folder.resolve()), "/srv")
    # Columns are as wide as what stands in them.
    assert [line.split() for line in told.splitlines()] == [
        line.split() for line in listed.splitlines()
    ]


def test_other_mungers_need_a_restart(make_daemon: MakeDaemon, folder: Path) -> None:
    (folder / "reads.py").write_text(READS)
    config = folder / "c.toml"
    config.write_text('[daemon]\nmungers = ["reads.py"]\n[[control]]\npath = "control"\n')
    make_daemon(["0:0:0:0=ram:1M"], "--config", str(config))
    assert ask(folder, "reload") == "nothing has changed\n"
    config.write_text('[daemon]\n[[control]]\npath = "control"\n')
    assert ask(folder, "reload") == "mungers: needs a restart\n"
