"""Hosts and LUNs that come and go while a front-end is served, by the documented verbs."""

from __future__ import annotations

import json
import re
import shlex
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from qemu.qmp import ExecuteError

from tests.harness import commands as cdb
from tests.harness.answers import describe
from tests.harness.daemon import Daemon
from tests.harness.frontend import (
    BAD_TARGET,
    EVENT_IDX,
    HOTPLUG,
    INDIRECT_DESC,
    PROTOCOL_FEATURES,
    VERSION_1,
    FrontEnd,
)
from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.evidence import Collector

FEATURES = VERSION_1 | INDIRECT_DESC | EVENT_IDX | PROTOCOL_FEATURES | HOTPLUG
TRANSPORT_RESET = 1
RESCAN, REMOVED = 1, 2


@pytest.fixture
def daemon(folder: Path, evidence: Collector) -> Iterator[Daemon]:
    """A daemon with one empty virtual host, and a control socket."""
    control = folder / "control"
    daemon = Daemon(
        folder, sockets=[folder / "0.sock"], luns=[], options=["--control", str(control)]
    )
    with daemon, evidence.watch(daemon):
        yield daemon


@pytest.fixture
def verb(daemon: Daemon) -> Verbs:
    """Type a verb; what it printed, or its error."""
    return Verbs(daemon.socket.with_name("control"))


def event(guest: FrontEnd, pending: object) -> tuple[int, bytes, int]:
    kind, lun, reason = guest.wait_event(pending)
    return kind, lun, reason


def test_a_lun_comes_and_goes(daemon: Daemon, verb: Verbs, image: Path) -> None:
    with FrontEnd(daemon.socket, features=FEATURES) as guest:
        first, second = guest.offer_events(2)
        assert guest.scsi(1, 0, cdb.inquiry(36), data_in=36).response == BAD_TARGET
        verb("scsi-attach", f"{image},serial=ONE", "0:0:1:0")
        assert event(guest, first) == (TRANSPORT_RESET, bytes((1, 1, 0, 0, 0, 0, 0, 0)), RESCAN)
        guest.ready(1)
        assert guest.scsi(1, 0, cdb.write_10(0, 1), data_out=b"x" * 512).good
        [lun] = json.loads(verb("scsi-list", "--json"))
        assert (lun["vdev"], lun["serial"]) == ("0:0:1:0", "ONE")
        assert "0:0:1:0" in verb("scsi-list")
        verb("scsi-detach", "0:0:1:0")
        assert event(guest, second) == (TRANSPORT_RESET, bytes((1, 1, 0, 0, 0, 0, 0, 0)), REMOVED)
        assert guest.scsi(1, 0, cdb.inquiry(36), data_in=36).response == BAD_TARGET
        assert json.loads(verb("scsi-list", "--json")) == []
    # Its file is free again, for others and for us.
    subprocess.run(["qemu-io", "-f", "raw", "-c", "read 0 512", str(image)], check=True)
    verb("scsi-attach", str(image), "0:0:2:5")


def test_the_verbs_of_the_readme(verb: Verbs, image: Path, folder: Path) -> None:
    readme = Path(__file__).parents[2] / "README.md"
    [block] = re.findall(r"^```bash\n(.*?)^```", readme.read_text(), re.MULTILINE | re.DOTALL)
    said = []
    for line in block.splitlines():
        program_name, *words = shlex.split(line)
        assert program_name == "vhost-pvscsi"
        words = [word.replace("/run/", f"{folder}/") for word in words]
        said.append(verb(*[re.sub("^disk.img", str(image), word) for word in words]))
    assert "1:0:1:0" in said[2]
    assert json.loads(verb("scsi-list", "--json")) == []


def test_hosts_come_and_go(daemon: Daemon, verb: Verbs, folder: Path) -> None:
    other = folder / "7.sock"
    verb("host-attach", "7", "--socket-path", str(other))
    verb("scsi-attach", "ram:1M", "7:0:0:0")
    with FrontEnd(other) as guest:
        guest.ready()
        refused = verb("host-detach", "7", status=1)
        assert refused == (
            "error: virtual host 7 has a guest\nhint: end the guest first, or force it\n"
        )
        assert guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512).good
    verb("host-detach", "7", "--force")
    assert not other.exists()
    assert [host["host"] for host in json.loads(verb("show", "--json"))["hosts"]] == [0]


def test_a_guest_is_let_go_by_force(daemon: Daemon, verb: Verbs, folder: Path) -> None:
    verb("host-attach", "7", "--socket-path", str(folder / "7.sock"))
    verb("scsi-attach", "ram:1M,fault=opcode=read:hang", "7:0:0:0")
    with FrontEnd(folder / "7.sock") as guest:
        guest.ready()
        guest.submit(0, 0, cdb.read_10(0, 1), data_in=512)
        verb("host-detach", "7", "--force")
    assert daemon.log().count("disconnected") == 1


def test_a_hanging_command_ends_when_its_lun_goes(daemon: Daemon, verb: Verbs) -> None:
    verb("scsi-attach", "ram:1M,fault=opcode=read:hang", "0:0:0:0")
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        pending = guest.submit(0, 0, cdb.read_10(0, 1), data_in=512)
        verb("scsi-detach", "0:0:0:0", "--force")
        assert describe(guest.wait(pending)) == "ABORTED"


def test_mistakes_of_operators_change_nothing(
    daemon: Daemon, verb: Verbs, image: Path, folder: Path
) -> None:
    verb("scsi-attach", str(image), "0:0:1:0")
    for words, said in (
        (["scsi-attach", "ram:1M", "0:0:1:0"], "has 0:0:1:0 already"),
        (["scsi-attach", "ram:1M", "3:0:1:0"], "there is no virtual host 3"),
        (["scsi-attach", str(image), "0:0:2:0"], "is LUN 0:0:1:0 already"),
        (["scsi-attach", str(folder / "none.img"), "0:0:2:0"], "No such file"),
        (["scsi-detach", "0:0:9:0"], "has nothing at 0:0:9:0"),
        (["host-detach", "9"], "there is no virtual host 9"),
        (["host-attach", "0", "--socket-path", str(folder / "x")], "is there already"),
        (["host-attach", "1", "--socket-path", str(folder / "no" / "x")], "cannot listen there"),
    ):
        refused = verb(*words, status=1)
        assert said in refused, refused
        assert "hint: " in refused or "cannot listen" in refused
    [lun] = json.loads(verb("scsi-list", "--json"))
    assert lun["vdev"] == "0:0:1:0"
    # What was refused has left nothing open: the host's number is free.
    verb("host-attach", "1", "--socket-path", str(folder / "1.sock"))


def test_a_vdev_out_of_range_is_asked_wrongly(verb: Verbs) -> None:
    for vdev in ("0:0:256:0", "0:0:0:16384", "0:1:0:0", "65536:0:0:0"):
        assert "out of range" in verb("scsi-attach", "ram:1M", vdev, status=2)


def test_of_two_clients_at_once_one_gets_the_place(verb: Verbs) -> None:
    """And neither waits for ever, nor is there half a LUN of the other's."""

    def attach(serial: int) -> int:
        won = 0
        with verb.client() as client:
            for lun in range(40):
                with suppress(ExecuteError):
                    pdev = f"ram:1M,serial=C{serial}"
                    client.execute("scsi-attach", pdev=pdev, vdev=f"0:0:0:{lun}")
                    won += 1
        return won

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(attach, range(2)))
    serials = [lun["serial"] for lun in verb.listed().values()]
    assert [serials.count("C0"), serials.count("C1")] == won
    assert sum(won) == 40


def test_faults_are_set_and_lifted(daemon: Daemon, verb: Verbs) -> None:
    verb("scsi-attach", "ram:1M", "0:0:0:0")
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        read = cdb.read_10(0, 1)
        verb("fault-set", "0:0:0:0", "opcode=read:sense=3/11/00")
        assert describe(guest.scsi(0, 0, read, data_in=512)) == "3h/11h/00h"
        verb("fault-lift", "0:0:0:0")
        assert guest.scsi(0, 0, read, data_in=512).good


def test_the_well_known_unit_answers_at_a_target_that_has_luns(daemon: Daemon, verb: Verbs) -> None:
    verb("scsi-attach", "ram:1M", "0:0:3:7")
    well_known = 0xC101
    with FrontEnd(daemon.socket) as guest:
        asked = guest.scsi(3, well_known, cdb.inquiry(36), data_in=36)
        assert (asked.good, asked.data[0]) == (True, 0x1E)
        assert guest.scsi(3, well_known, bytes(6)).good
        told = guest.scsi(3, well_known, cdb.report_luns(64, select=2), data_in=64)
        assert told.data[:24].hex() == "00000010000000000007000000000000c101000000000000"
        read = guest.scsi(3, well_known, cdb.read_10(0, 1), data_in=512)
        assert describe(read) == "5h/20h/00h"


def test_two_thousand_luns_are_reported(daemon: Daemon, verb: Verbs) -> None:
    with verb.client() as control, FrontEnd(daemon.socket) as guest:
        for lun in range(2000):
            control.execute("scsi-attach", pdev="null:1M", vdev=f"0:0:3:{lun}")
        room = 8 + 8 * 2000
        told = guest.scsi(3, 0, cdb.report_luns(room), data_in=room)
        assert told.good
        assert struct.unpack_from(">I", told.data) == (16000,)
        entries = struct.unpack_from(">2000Q", told.data, 8)
        wanted = [(lun if lun < 256 else 0x4000 | lun) << 48 for lun in range(2000)]
        assert list(entries) == wanted
