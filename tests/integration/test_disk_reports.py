"""What a disk reports of itself, with the engine: holes, log pages, ports, a medium that goes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.harness import commands as cdb
from tests.harness.answers import describe
from tests.harness.frontend import FUNCTION_COMPLETE, FrontEnd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon

    from .conftest import MakeDaemon

MIB = 1 << 20
MAPPED, HOLE = 0, 1
LUN_RESET = 5

EJECT, LOAD = bytes.fromhex("1b0000000200"), bytes.fromhex("1b0000000300")
PREVENT, ALLOW = bytes.fromhex("1e0000000100"), bytes.fromhex("1e0000000000")
READY = bytes(6)
NO_MEDIUM, PREVENTED, MAY_HAVE_CHANGED = "2h/3Ah/00h", "5h/53h/02h", "6h/28h/00h"


def holes(
    guest: FrontEnd, lba: int = 0, *, kind: int = 0, room: int = 4096
) -> list[tuple[int, ...]]:
    """(LBA, blocks, provisioning status) of GET LBA STATUS."""
    command = struct.pack(">BBQIBB", 0x9E, 0x12, lba, room, kind, 0)
    answer = guest.scsi(0, 0, command, data_in=room)
    assert answer.good, describe(answer)
    length = struct.unpack(">I", answer.data[:4])[0] + 4
    return [struct.unpack_from(">QIB", answer.data, at) for at in range(8, length, 16)]


@pytest.fixture(params=["writeback", "none"])
def guest(
    make_daemon: MakeDaemon, image: Path, request: pytest.FixtureRequest
) -> Iterator[FrontEnd]:
    """A front-end of an image of 64 MiB that is a hole."""
    daemon = make_daemon([f"0:0:0:0={image},cache={request.param}"])
    with FrontEnd(daemon.socket) as front_end:
        front_end.ready()
        yield front_end


def test_lba_status_is_what_the_guest_has_written_and_unmapped(guest: FrontEnd) -> None:
    blocks = 64 * MIB // 512
    assert holes(guest) == [(0, blocks, HOLE)]
    # A mebibyte at 1 MiB, and one block of 512 bytes at 4 MiB: a page of the file system.
    for at in range(2048, 4096, 256):
        assert guest.scsi(0, 0, cdb.write_10(at, 256), data_out=b"\1" * 256 * 512).good
    assert guest.scsi(0, 0, cdb.write_10(8192, 8), data_out=b"\1" * 8 * 512).good
    assert guest.scsi(0, 0, cdb.synchronize_cache_10()).good
    assert holes(guest) == [
        (0, 2048, HOLE),
        (2048, 2048, MAPPED),
        (4096, 4096, HOLE),
        (8192, 8, MAPPED),
        (8200, blocks - 8200, HOLE),
    ]
    assert holes(guest, 3000, room=24) == [(3000, 1096, MAPPED)]
    assert holes(guest, kind=2) == [(2048, 2048, MAPPED), (8192, 8, MAPPED)]
    assert guest.scsi(0, 0, cdb.unmap(24), data_out=cdb.unmap_list((2048, 2048))).good
    assert holes(guest, kind=2) == [(8192, 8, MAPPED)]
    assert holes(guest, blocks - 1) == [(blocks - 1, 1, HOLE)]
    beyond = guest.scsi(0, 0, struct.pack(">BBQIBB", 0x9E, 0x12, blocks, 24, 0, 0), data_in=24)
    assert describe(beyond) == "5h/21h/00h"


def test_lba_status_of_a_disk_of_terabytes(make_daemon: MakeDaemon, folder: Path) -> None:
    image = folder / "large.img"
    blocks = (3 << 40) // 512
    with image.open("wb") as file:
        try:
            file.truncate(3 << 40)
        except OSError as error:
            pytest.skip(f"no file of 3 TiB here: {error}; a TMPDIR on ext4 or XFS has them")
    daemon = make_daemon([f"0:0:0:0={image}"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        far = blocks - 8
        assert guest.scsi(0, 0, cdb.write_16(far, 8), data_out=b"\1" * 8 * 512).good
        assert holes(guest) == [
            (0, 0xFFFFFFFF, HOLE),
            (0xFFFFFFFF, far - 0xFFFFFFFF, HOLE),
            (far, 8, MAPPED),
        ]


def test_memory_has_no_holes(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(["0:0:0:0=ram:1M"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        assert holes(guest) == [(0, 2048, MAPPED)]


def test_ports_agree_with_the_identification_page(guest: FrontEnd) -> None:
    inquiry = guest.scsi(0, 0, cdb.inquiry(96), data_in=96)
    assert inquiry.data[5] >> 4 & 3 == 1, "TPGS: implicit"
    page = guest.scsi(0, 0, cdb.inquiry(255, page=0x83), data_in=255).data
    groups = guest.scsi(0, 0, bytes.fromhex("a32a00000000000000ff0000"), data_in=255).data
    assert b"\x01\x14\x00\x04\x00\x00" + groups[18:20] in page
    assert b"\x01\x15\x00\x04\x00\x00" + groups[10:12] in page


def test_log_sense_has_no_exception(guest: FrontEnd) -> None:
    answer = guest.scsi(0, 0, bytes.fromhex("4d006f0000000000ff00"), data_in=255)
    assert answer.data[:11].hex() == "af000007000003030000ff"


# -- a medium that can be taken out


class Guests(NamedTuple):
    """Two front-ends of one removable disk."""

    a: FrontEnd
    b: FrontEnd


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Daemon:
    luns = [f"{host}:0:0:0=ram:1M,share=on,removable=on" for host in (0, 1)]
    return make_daemon(luns, sockets=2)


@pytest.fixture
def guests(daemon: Daemon) -> Iterator[Guests]:
    with FrontEnd(daemon.sockets[0]) as a, FrontEnd(daemon.sockets[1]) as b:
        a.ready()
        b.ready()
        yield Guests(a, b)


def ask(guest: FrontEnd, command: bytes) -> str:
    return describe(guest.scsi(0, 0, command))


def read(guest: FrontEnd) -> str:
    return describe(guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512))


def test_an_ejected_medium_is_gone_for_all_until_it_is_loaded(guests: Guests) -> None:
    a, b = guests
    assert a.scsi(0, 0, cdb.write_10(0, 1), data_out=b"\7" * 512).good
    assert (read(a), read(b)) == ("GOOD", "GOOD")
    assert ask(a, EJECT) == "GOOD"
    for guest in guests:
        assert read(guest) == NO_MEDIUM
        assert ask(guest, READY) == NO_MEDIUM
        capacity = guest.scsi(0, 0, bytes([0x25]).ljust(10, b"\0"), data_in=8)
        assert describe(capacity) == NO_MEDIUM
        assert guest.scsi(0, 0, cdb.inquiry(36), data_in=36).data[1] == 0x80
    assert ask(a, LOAD) == "GOOD"
    assert read(a) == "GOOD"
    assert read(b) == MAY_HAVE_CHANGED
    assert b.scsi(0, 0, cdb.read_10(0, 1), data_in=512).data == b"\7" * 512


def test_a_guest_that_prevents_it_keeps_the_medium_in(guests: Guests) -> None:
    a, b = guests
    assert ask(b, PREVENT) == "GOOD"
    assert ask(a, EJECT) == PREVENTED
    assert read(a) == "GOOD"
    assert ask(b, ALLOW) == "GOOD"
    assert ask(a, EJECT) == "GOOD"
    assert read(b) == NO_MEDIUM


def test_a_guest_that_has_gone_prevents_nothing(daemon: Daemon, guests: Guests) -> None:
    a, b = guests
    assert ask(b, PREVENT) == "GOOD"
    assert ask(a, EJECT) == PREVENTED
    b.reconnect(daemon.sockets[1])
    b.ready()
    assert ask(a, EJECT) == "GOOD"


def test_a_reset_ends_preventions_and_loads_nothing(guests: Guests) -> None:
    a, b = guests
    assert ask(b, PREVENT) == "GOOD"
    assert a.tmf(LUN_RESET, 0, 0) == FUNCTION_COMPLETE
    a.ready()
    assert ask(a, EJECT) == "GOOD"
    assert a.tmf(LUN_RESET, 0, 0) == FUNCTION_COMPLETE
    assert ask(a, READY) == "6h/29h/03h"
    assert ask(a, READY) == NO_MEDIUM
