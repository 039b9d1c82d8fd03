"""LUNs that come to a running Linux guest and go again, without a rescan."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.harness import scsi_view
from tests.harness.background import Background, verifying
from tests.harness.scsi_view import Place
from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon
    from tests.harness.machine import Machine

pytestmark = pytest.mark.guest

#: In no order, LUN 0 of a target late, on both sides of 256, up to the last.
COMING = [
    Place(0, 0, 5),
    Place(0, 0, 0),
    Place(0, 0, 256),
    Place(0, 3, 16383),
    Place(0, 0, 1),
    Place(0, 3, 0),
    Place(0, 255, 255),
    Place(0, 0, 300),
]
#: Linux has 8 buffers for events, and we keep no more than so many (docs: EVENTS_MISSED).
BURST = 72
MIB = 1 << 20


@pytest.fixture(scope="module")
def luns() -> list[str]:
    return []


@pytest.fixture(scope="module")
def daemon_options(short_folder: Path) -> list[str]:
    return ["--control", str(short_folder / "control")]


@pytest.fixture
def verb(daemon: Daemon, guest: Machine, short_folder: Path) -> Iterator[Verbs]:
    """The verbs; what a test has attached is detached behind it."""
    verbs = Verbs(short_folder / "control")
    yield verbs
    left = list(verbs.listed())
    with verbs.client() as client:
        for vdev in left:
            client.execute("scsi-detach", vdev=vdev, force=True)
    scsi_view.wait_for(guest, *map(Place.of, left), there=False)


def test_a_host_is_there_before_any_lun(guest: Machine, verb: Verbs) -> None:
    assert scsi_view.places(guest) == set()
    assert guest.console.check("cat /sys/class/scsi_host/host0/proc_name").strip() == "virtio_scsi"
    [host] = json.loads(verb("show", "--json"))["hosts"]
    assert (host["connected"], host["luns"]) == (True, 0)


def test_luns_come_and_go_without_a_rescan(guest: Machine, verb: Verbs) -> None:
    """The guest is never told to scan: what it sees it has heard by an event."""
    seconds = {}
    for number, at in enumerate(COMING):
        verb("scsi-attach", f"ram:1M,serial=S{number}", at.vdev())
        seconds[f"+{at.vdev()}"] = scsi_view.wait_for(guest, at)
    wanted = {Place.of(lun): told["serial"] for lun, told in verb.listed().items()}
    assert set(wanted) == set(COMING)
    assert scsi_view.serials(guest) == wanted
    for number in (1, 6, 3, 0):
        verb("scsi-detach", COMING[number].vdev())
        seconds[f"-{COMING[number].vdev()}"] = scsi_view.wait_for(
            guest, COMING[number], there=False
        )
        del wanted[COMING[number]]
        assert scsi_view.places(guest) == set(wanted)
    verb("scsi-attach", "ram:1M,serial=AGAIN", COMING[0].vdev())
    scsi_view.wait_for(guest, COMING[0])
    assert scsi_view.serials(guest)[COMING[0]] == "AGAIN"
    print("seconds after the verb:", {name: round(took, 3) for name, took in seconds.items()})


@pytest.mark.parametrize("way", ["drained", "forced", "timed-out"])
def test_a_lun_goes_under_io_and_the_others_do_not_notice(
    guest: Machine, verb: Verbs, way: str
) -> None:
    slow = "latency=100ms" if way == "drained" else "fault=opcode=read:nth=20:hang"
    bystander, goes = Place(0, 0, 0), Place(0, 1, 0)
    verb("scsi-attach", "ram:16M", bystander.vdev())
    verb("scsi-attach", f"ram:16M,{slow}", goes.vdev())
    scsi_view.wait_for(guest, bystander, goes)
    reading = f"dd if={scsi_view.disk(guest, goes).node} of=/dev/null bs=4k iflag=direct"
    with Background(guest, "verify", verifying(scsi_view.disk(guest, bystander).node)) as verifier:
        reader = Background(guest, "read", f"until ! {reading}; do :; done").start()
        guest.console.check(f"until [ $(cat {goes.path()}/device_busy) -gt 0 ]; do :; done")
        options = {"drained": ["--timeout", "20"], "forced": ["--force"]}.get(way, ["--timeout=1"])
        verb("scsi-detach", goes.vdev(), *options)
        scsi_view.wait_for(guest, goes, there=False)
        assert reader.wait() == 0, reader.output()
        rounds = verifier.output().count("round")
        verifier.wait_for_more(rounds + 1)
    assert scsi_view.places(guest) == {bystander}


def test_more_luns_than_the_guest_has_buffers_for_events_all_come(
    guest: Machine, verb: Verbs
) -> None:
    first = Place(0, 0, 0)
    verb("scsi-attach", "ram:16M", first.vdev())
    scsi_view.wait_for(guest, first)
    burst = [Place(0, 1 + number % 3, number // 3 + 240) for number in range(BURST)]
    with (
        Background(guest, "verify", verifying(scsi_view.disk(guest, first).node)) as verifier,
        verb.client() as client,
    ):
        for at in burst:
            client.execute("scsi-attach", pdev="null:1M", vdev=at.vdev())
        took = scsi_view.wait_for(guest, *burst)
        verifier.wait_for_more(1)
        print(f"{BURST} LUNs under load: {took:.2f} s after the last")
        assert scsi_view.places(guest) == {first, *burst}
        for at in burst:
            client.execute("scsi-detach", vdev=at.vdev())
        scsi_view.wait_for(guest, *burst, there=False)
    assert scsi_view.places(guest) == {first}


def test_a_disk_grows_with_its_file_without_a_rescan(
    guest: Machine, verb: Verbs, tmp_path: Path
) -> None:
    image, at = tmp_path / "growing.img", Place(0, 0, 0)
    image.touch()
    os.truncate(image, 16 * MIB)
    verb("scsi-attach", str(image), at.vdev())
    scsi_view.wait_for(guest, at)
    disk = scsi_view.disk(guest, at)
    name = disk.node.rpartition("/")[2]
    sectors = f"/sys/block/{name}/size"
    with Background(guest, "verify", verifying(disk.node)) as verifier:
        verifier.wait_for_more(1)
        for size in (32 * MIB, 48 * MIB):
            began = time.monotonic()
            os.truncate(image, size)
            until = f"until [ $(cat {sectors}) = {size // 512} ]; do sleep 0.01; done"
            guest.console.check(until, timeout=scsi_view.PATIENCE)
            print(f"seconds from truncate to {sectors}: {time.monotonic() - began:.2f}")
        verifier.wait_for_more(verifier.output().count("round") + 1)
    last = 48 * MIB // 4096 - 1
    writing = f"dd of={disk.node} bs=4k seek={last} count=1 oflag=direct"
    guest.console.check(f"yes beyond | head -c 4096 | {writing} iflag=fullblock")
    guest.console.check(
        f"dd if={disk.node} bs=4k skip={last} count=1 iflag=direct | grep -q beyond"
    )
    with image.open("rb") as file:
        file.seek(-4096, os.SEEK_END)
        assert file.read() == (b"beyond\n" * 586)[:4096]


def attach_and_detach(guest: Machine, verb: Verbs, rounds: int) -> None:
    stays, goes = Place(0, 0, 0), Place(0, 0, 1)
    verb("scsi-attach", "ram:16M", stays.vdev())
    scsi_view.wait_for(guest, stays)
    with (
        Background(guest, "verify", verifying(scsi_view.disk(guest, stays).node)) as verifier,
        verb.client() as client,
    ):
        for number in range(rounds):
            client.execute("scsi-attach", pdev=f"ram:1M,serial=R{number}", vdev=goes.vdev())
            scsi_view.wait_for(guest, goes)
            client.execute("scsi-detach", vdev=goes.vdev())
            scsi_view.wait_for(guest, goes, there=False)
        verifier.wait_for_more(verifier.output().count("round") + 1)
    assert "Call Trace" not in guest.console.check("dmesg")


def test_a_lun_comes_and_goes_ten_times(guest: Machine, verb: Verbs) -> None:
    attach_and_detach(guest, verb, 10)


@pytest.mark.long
def test_a_lun_comes_and_goes_a_hundred_times(guest: Machine, verb: Verbs) -> None:
    attach_and_detach(guest, verb, 100)
