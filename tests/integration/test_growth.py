"""Files that grow and shrink behind their LUNs, with the real daemon's own look at them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness.frontend import (
    EVENT_IDX,
    INDIRECT_DESC,
    PROTOCOL_FEATURES,
    VERSION_1,
    FrontEnd,
    Pending,
)
from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon
    from tests.harness.qmp import Qmp

    from .conftest import MakeDaemon

CHANGE = 1 << 2  # virtio 1.2, 5.6.3
FEATURES = VERSION_1 | INDIRECT_DESC | EVENT_IDX | PROTOCOL_FEATURES | CHANGE
PARAM_CHANGE, CAPACITY = 3, 0x092A
CAPACITY_CHANGED = (6, 0x2A, 0x09)
OUT_OF_RANGE = (5, 0x21, 0)
MIB = 1 << 20
OLD = 64 * MIB
PATIENCE = 20.0


class Set:
    """A daemon, its control socket, and what a guest may ask there."""

    def __init__(self, make: MakeDaemon, folder: Path, *luns: str, sockets: int = 1) -> None:
        control = folder / "control"
        self.daemon: Daemon = make(luns, "--control", str(control), sockets=sockets)
        self.verb = Verbs(control)


@contextmanager
def guest_of(daemon: Daemon, number: int = 0) -> Iterator[FrontEnd]:
    """A guest that has heard the unit attentions of LUN 0."""
    with FrontEnd(daemon.sockets[number], features=FEATURES) as guest:
        guest.ready()
        yield guest


def capacities(guest: FrontEnd) -> tuple[int, int]:
    """Bytes, as READ CAPACITY(10) and (16) have it."""
    ten = guest.scsi(0, 0, b"\x25" + bytes(9), data_in=8).data
    sixteen = guest.scsi(
        0, 0, b"\x9e\x10" + bytes(8) + (32).to_bytes(4, "big") + bytes(2), data_in=32
    ).data
    last_10, size_10 = int.from_bytes(ten[:4], "big"), int.from_bytes(ten[4:], "big")
    last_16, size_16 = int.from_bytes(sixteen[:8], "big"), int.from_bytes(sixteen[8:12], "big")
    return (last_10 + 1) * size_10, (last_16 + 1) * size_16


def told(guest: FrontEnd, buffer: Pending) -> None:
    """The guest hears of it, by the event and by its next command, once."""
    assert guest.wait_event(buffer) == (PARAM_CHANGE, bytes((1, *bytes(7))), CAPACITY)
    assert guest.scsi(0, 0, bytes(6)).sense_code == CAPACITY_CHANGED
    assert guest.scsi(0, 0, bytes(6)).good


def resized(client: Qmp) -> dict[str, object]:
    data = client.wait_event("LUN_RESIZED", timeout=PATIENCE)["data"]
    assert isinstance(data, dict)
    return data


def long_road(verb: Verbs) -> int:
    with verb.client() as client:
        [host] = client.execute("query-stats")
    count = host["long-road"]
    assert isinstance(count, int)
    return count


@pytest.fixture
def one(make_daemon: MakeDaemon, folder: Path, image: Path) -> Set:
    return Set(make_daemon, folder, f"0:0:0:0={image}")


def test_a_file_that_grows_twice_is_a_larger_disk_twice(one: Set, image: Path) -> None:
    with guest_of(one.daemon) as guest, one.verb.client() as client:
        for buffer, size in zip(guest.offer_events(2), (OLD + 4096 + 511, 2 * OLD), strict=True):
            before, after = capacities(guest)[0], size // 512 * 512
            beyond = cdb.write_10(before // 512, 1)
            assert guest.scsi(0, 0, beyond, data_out=bytes(512)).sense_code == OUT_OF_RANGE
            os.truncate(image, size)
            assert resized(client) == {
                "vdev": "0:0:0:0",
                "blocks": after // 512,
                "block-size": 512,
            }
            told(guest, buffer)
            assert capacities(guest) == (after, after)
            check_both_roads(one, guest, after // 512 - 8)
            past = cdb.read_10(after // 512 - 7, 8)
            assert guest.scsi(0, 0, past, data_in=4096).sense_code == OUT_OF_RANGE
    assert one.daemon.log().count("has grown from") == 2
    with image.open("rb") as file:
        file.seek(2 * OLD - 4096)
        assert file.read() == b"L" * 4096


def check_both_roads(one: Set, guest: FrontEnd, lba: int) -> None:
    """Write and read there without Python, then by way of it: a fault rule shuts the gate."""
    for road, letter in (("short", b"S"), ("long", b"L")):
        if road == "long":
            # A rule that fits no command that is sent here.
            one.verb("fault-set", "0:0:0:0", "opcode=read:lba=0-0:sense=3/11/00")
        before = long_road(one.verb)
        data = letter * 4096
        assert guest.scsi(0, 0, cdb.write_10(lba, 8), data_out=data).good
        assert guest.scsi(0, 0, cdb.read_16(lba, 8), data_in=4096).data == data
        went_up = long_road(one.verb) - before
        assert went_up == (2 if road == "long" else 0), road
    one.verb("fault-lift", "0:0:0:0")


def test_a_file_grows_while_commands_run_on_it(one: Set, image: Path) -> None:
    """Of all commands each that begins after a growth may hear of it, and one does."""
    with guest_of(one.daemon) as guest:
        rounds = 0
        for size in (2 * OLD, 3 * OLD, 4 * OLD):
            os.truncate(image, size)
            attentions, end = 0, time.monotonic() + PATIENCE
            while not attentions:
                assert time.monotonic() < end, f"no unit attention within {PATIENCE:g} s"
                rounds += 1
                # The last blocks of the old size: nothing of them may be lost.
                data = rounds.to_bytes(4, "big") * 1024
                pending = [
                    guest.submit(0, 0, cdb.write_10(OLD // 512 - 8 * at, 8), data_out=data)
                    for at in range(1, 17)
                ]
                answers = [guest.wait(each) for each in pending]
                assert {each.sense_code for each in answers if not each.good} <= {CAPACITY_CHANGED}
                attentions = sum(not each.good for each in answers)
            assert attentions == 1
            assert capacities(guest) == (size, size)
            last = guest.scsi(0, 0, cdb.read_10(OLD // 512 - 8, 8), data_in=4096)
            # It is of the last round, unless that was the write which heard.
            assert last.data[:4] in {number.to_bytes(4, "big") for number in (rounds - 1, rounds)}
            assert last.data == last.data[:4] * 1024
        print(f"{rounds} rounds of 16 writes under three growths")


def test_a_file_that_shrinks_is_told_once_and_not_followed(one: Set, image: Path) -> None:
    with guest_of(one.daemon) as guest:
        os.truncate(image, MIB)
        one.daemon.wait_for_line(f"LUN 0:0:0:0: {image}: has shrunk from {OLD} to {MIB} bytes")
        refused = one.verb("scsi-resize", "0:0:0:0", status=1)
        assert refused == (
            f"error: LUN 0:0:0:0: {image}: has shrunk from {OLD} to {MIB} bytes, the LUN has not\n"
            f"hint: make it {OLD} bytes again; detach and attach the LUN to have it smaller\n"
        )
        assert capacities(guest) == (OLD, OLD)
        assert guest.scsi(0, 0, cdb.read_10(0, 8), data_in=4096).good
        os.truncate(image, 2 * MIB)
        one.daemon.wait_for_line(f"to {2 * MIB} bytes")
        os.truncate(image, OLD + MIB)
        one.daemon.wait_for_line("has grown from")
        # Each was said once, in all the looks between.
        assert one.daemon.log().count("has shrunk") == 2
        # The log's line is written before the guest is told; this ends after.
        one.verb("scsi-resize", "0:0:0:0")
        assert guest.scsi(0, 0, bytes(6)).sense_code == CAPACITY_CHANGED
        assert capacities(guest) == (OLD + MIB, OLD + MIB)


def test_an_operator_can_have_it_looked_at_at_once(
    make_daemon: MakeDaemon, folder: Path, image: Path
) -> None:
    house = Set(make_daemon, folder, f"0:0:0:0={image}", "0:0:1:0=ram:1M")
    with guest_of(house.daemon) as guest:
        assert house.verb("scsi-resize", "0:0:0:0") == "131072 blocks of 512 bytes, 64M\n"
        os.truncate(image, 2 * OLD)
        assert house.verb("scsi-resize", "0:0:0:0") == "262144 blocks of 512 bytes, 128M\n"
        assert guest.scsi(0, 0, bytes(6)).sense_code == CAPACITY_CHANGED
        assert house.verb.listed()["0:0:0:0"]["blocks"] == 262144
        refused = house.verb("scsi-resize", "0:0:1:0", status=1)
        assert refused == (
            "error: LUN 0:0:1:0: it has no file that could grow\n"
            "hint: detach it, and attach it with another size\n"
        )
        assert "has nothing at 0:0:9:0" in house.verb("scsi-resize", "0:0:9:0", status=1)


def test_a_shared_unit_is_larger_for_both_hosts(
    make_daemon: MakeDaemon, folder: Path, image: Path
) -> None:
    luns = [f"{host}:0:0:0={image},share=on" for host in (0, 1)]
    house = Set(make_daemon, folder, *luns, sockets=2)
    with (
        guest_of(house.daemon, 0) as first,
        guest_of(house.daemon, 1) as second,
        house.verb.client() as client,
    ):
        buffers = [guest.offer_events(1)[0] for guest in (first, second)]
        os.truncate(image, 2 * OLD)
        assert [resized(client)["vdev"] for _ in range(2)] == ["0:0:0:0", "1:0:0:0"]
        for guest, buffer in zip((first, second), buffers, strict=True):
            told(guest, buffer)
            assert capacities(guest) == (2 * OLD, 2 * OLD)


def test_a_detached_file_is_let_go(one: Set, image: Path) -> None:
    """And what a new LUN with it has, it has from its beginning."""
    one.verb("scsi-detach", "0:0:0:0")
    os.truncate(image, 2 * OLD)
    subprocess.run(["qemu-io", "-f", "raw", "-c", "read 0 512", str(image)], check=True)
    one.verb("scsi-attach", str(image), "0:0:3:0")
    assert one.verb("scsi-resize", "0:0:3:0") == "262144 blocks of 512 bytes, 128M\n"
    assert "has grown" not in one.daemon.log()


@contextmanager
def loop_device(image: Path) -> Iterator[str]:
    made = subprocess.run(
        ["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=True
    )
    device = made.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("losetup") is None,
    reason="needs root and losetup (package mount): run as root to force it",
)
def test_a_block_device_grows(make_daemon: MakeDaemon, folder: Path, image: Path) -> None:
    with loop_device(image) as device:
        house = Set(make_daemon, folder, f"0:0:0:0={device}")
        with guest_of(house.daemon) as guest:
            [buffer] = guest.offer_events(1)
            os.truncate(image, 2 * OLD)
            subprocess.run(["losetup", "--set-capacity", device], check=True)
            told(guest, buffer)
            assert capacities(guest) == (2 * OLD, 2 * OLD)
            last = cdb.write_10(2 * OLD // 512 - 8, 8)
            assert guest.scsi(0, 0, last, data_out=b"B" * 4096).good
            assert guest.scsi(0, 0, cdb.synchronize_cache_10()).good
        house.daemon.stop()
    with image.open("rb") as file:
        file.seek(-4096, os.SEEK_END)
        assert file.read() == b"B" * 4096
