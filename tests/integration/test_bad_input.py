"""What docs/bad-input.md tells of CDBs and sockets is what the real daemon does."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import peer as wire
from tests.harness import pvscsi_frontend as pv
from tests.harness import xen_ring as xen
from tests.harness.answers import describe
from tests.harness.frontend import FrontEnd
from tests.harness.memory import GuestMemory
from tests.harness.pvscsi_frontend import PvscsiFrontEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.daemon import Daemon

    from .conftest import MakeDaemon

PAGE = (Path(__file__).parents[2] / "docs" / "bad-input.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head; marks of code are taken off."""
    lines = [line[1:-1] for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in line.split("|")] for line in lines[1:]]


CDBS = rows("CDBs")
SOCKET = rows("The pvSCSI socket")
SLOTS = rows("The pvSCSI ring")
CONTROL = rows("The control socket")


def test_the_page_has_its_rows() -> None:
    for table, width in ((CDBS, 6), (SOCKET, 6), (SLOTS, 3), (CONTROL, 4)):
        assert len(table) > 20
        assert {len(row) for row in table} == {width}


def is_told(said: str, page: str) -> bool:
    """Whether something was said as the page has it, which may leave the end open."""
    return said.startswith(page[:-3]) if page.endswith("...") else said == page


LUNS = ["0:0:0:0=ram:1M", "0:0:1:0=ram:1M,ro"]


def test_every_bad_cdb_gets_what_the_page_says(make_daemon: MakeDaemon) -> None:
    for lun in LUNS:
        assert lun in section("CDBs")
    daemon = make_daemon(LUNS)
    with FrontEnd(daemon.socket) as guest:
        for target in (0, 1):
            guest.ready(target)
        wrong = {}
        for what, place, cdb, out, room, answer in CDBS:
            target, lun = map(int, place.split(":"))
            response = guest.scsi(
                target,
                lun,
                bytes.fromhex(cdb),
                data_out=bytes(int(out or 0)),
                data_in=int(room or 0),
            )
            if (said := describe(response)) != answer:
                wrong[what] = said
        assert not wrong
        guest.ready(0)


def payload(text: str) -> bytes:
    """Hexadecimal bytes; `00*9` is nine of them."""
    words = (word.partition("*") for word in text.split())
    return b"".join(bytes.fromhex(data) * int(times or 1) for data, _, times in words)


def new(guest: PvscsiFrontEnd) -> None:
    """Nothing was said."""


def stopped(guest: PvscsiFrontEnd) -> None:
    guest.negotiate()


def described(guest: PvscsiFrontEnd) -> None:
    guest.negotiate()
    guest.describe()


def running(guest: PvscsiFrontEnd) -> None:
    guest.start()


def translating(guest: PvscsiFrontEnd) -> None:
    guest.abilities = pv.TRANSLATED
    guest.negotiate()


def gntdev(guest: PvscsiFrontEnd) -> None:
    guest.abilities = pv.GNTDEV
    guest.negotiate()


STAGES: dict[str, Callable[[PvscsiFrontEnd], None]] = {
    stage.__name__: stage for stage in (new, stopped, described, running, translating, gntdev)
}
DISCONNECTED = "host 0: front-end disconnected: "


def send(daemon: Daemon, when: str, request: str, data: str, files: str) -> str:
    """Send a message; what the log says of it."""
    before = daemon.log().count(DISCONNECTED)
    with closing(PvscsiFrontEnd(daemon.socket)) as guest, ExitStack() as stack:
        STAGES[when](guest)
        fds = [
            stack.enter_context(closing(GuestMemory(1 << 20))).fd for _ in range(int(files or 0))
        ]
        guest.peer.send(int(request, 0), payload(data), fds)
        guest.peer.expect_closed()
    daemon.wait_for_line(DISCONNECTED, count=before + 1)
    return daemon.log().rpartition(DISCONNECTED)[2].partition("\n")[0].strip()


def test_every_bad_message_ends_its_connection_as_the_page_says(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(["0:0:0:0=ram:1M"])
    wrong = {}
    for what, when, request, data, files, logged in SOCKET:
        if not is_told(said := send(daemon, when, request, data, files), logged):
            wrong[what] = said
    assert not wrong
    assert "Traceback" not in daemon.log()
    with PvscsiFrontEnd(daemon.socket) as guest:
        guest.ready()


RQID = 7
READ_10 = struct.pack(">BBIBHB", 0x28, 0, 0, 0, 1, 0)
HOSTS = {0: "", 1: "DID_NO_CONNECT", 7: "DID_ERROR"}
MANAGED = {pv.SUCCESS: "SUCCESS", pv.FAILURE: "FAILED"}


def lend(guest: PvscsiFrontEnd) -> None:
    """Grant what the page says."""
    pages = {number: guest.memory.allocate(xen.PAGE) for number in range(16, 24)}
    guest.memory.write(pages[21], xen.Segment(16, 0, 512).pack())
    guest.memory.write(pages[22], xen.Segment(20, 0, 512).pack())
    guest.memory.write(pages[23], xen.Segment(16, 0, 8).pack() * 512)
    for number, address in pages.items():
        flags = {17: xen.PERMIT | xen.READONLY, 20: 0}.get(number, xen.PERMIT)
        frame = 0xFFFFFFF if number == 19 else guest.frame(address)
        guest.grants.set(number, flags, 7 if number == 18 else 0, frame)
    guest.grants.set(24, 2, 0, guest.frame(pages[16]))


def changed(changes: str) -> bytes:
    """The slot of a good READ(10), with other bytes at some offsets."""
    segment = xen.Segment(16, 0, 512)
    slot = bytearray(xen.request(RQID, cdb=READ_10, direction=2, segments=[segment]))
    for change in changes.split(", "):
        at, _, data = change.partition(": ")
        new = payload(data)
        slot[int(at) : int(at) + len(new)] = new
    assert len(slot) == xen.SLOT
    return bytes(slot)


def told(answer: xen.Answer) -> str:
    if answer.result in MANAGED:
        return MANAGED[answer.result]
    status = answer.result & 0xFF
    if status == 2:
        key, asc, ascq = answer.sense[2] & 15, answer.sense[12], answer.sense[13]
        return f"{key:X}h/{asc:02X}h/{ascq:02X}h"
    return HOSTS[answer.result >> 16] or ("GOOD" if not status else f"status {status:#04x}")


def test_every_bad_slot_gets_what_the_page_says(make_daemon: MakeDaemon) -> None:
    assert changed("0: 0700") == changed("3: 0a")  # as the page describes it
    daemon = make_daemon(["0:0:0:0=ram:1M"])
    with PvscsiFrontEnd(daemon.socket) as guest:
        guest.ready()
        lend(guest)
        wrong = {}
        for what, changes, answer in SLOTS:
            guest.put(changed(changes))
            got = guest.wait_answer(RQID, what)
            if (said := told(got)) != answer:
                wrong[what] = said
            assert got.clean, what
            assert guest.pinned() == [], what
            guest.put(changed("0: 0700"))
            assert guest.wait_answer(RQID, f"a good READ after {what}").result == 0
        assert not wrong


NEGOTIATE, QUERY = '{"execute": "qmp_capabilities"}', '{"execute": "query-luns"}'


@pytest.fixture
def control(folder: Path, make_daemon: MakeDaemon) -> Path:
    path = folder / "c"
    daemon = make_daemon(["0:0:0:0=ram:1M"], "--control", str(path))
    daemon.socket.rename(folder / "s")  # the name that the page uses
    return path


def ask(control: Path, when: str, sent: str) -> dict[str, Any]:
    """Send something after the greeting, or after negotiation; the answer."""
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(wire.DEADLINE)
        client.connect(str(control))
        with client.makefile("rwb") as stream:
            json.loads(stream.readline())

            def say(text: str) -> dict[str, Any]:
                stream.write(text.encode() + b"\n")
                stream.flush()
                while "event" in (told := json.loads(stream.readline())):
                    pass
                return dict(told)

            if when == "negotiated":
                assert say(NEGOTIATE) == {"return": {}}
            answer = say(sent)
            # It goes on with this client, and nothing has changed.
            if when == "greeted":
                assert say(NEGOTIATE) == {"return": {}}
            assert [lun["vdev"] for lun in say(QUERY)["return"]] == ["0:0:0:0"]
    return answer


def test_every_bad_object_gets_what_the_page_says(control: Path, folder: Path) -> None:
    wrong = {}
    for when, sent, kind, desc in CONTROL:
        answer = ask(control, when, sent.replace("FOLDER", str(folder)))
        error = answer.get("error", {"class": "none", "desc": str(answer)})
        said = error["desc"].replace(str(folder), "FOLDER")
        if error["class"] != kind or not is_told(said, desc):
            wrong[sent] = (error["class"], said)
    assert not wrong
