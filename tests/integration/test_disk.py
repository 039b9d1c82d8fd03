"""A disk's commands through the real daemon, with data in every shape a guest may give it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness.frontend import FAILURE, OVERRUN, FrontEnd, Layout

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.frontend import Response

    from .conftest import MakeDaemon

FILE, RAM, NULL = 0, 1, 2
KEEPING = (FILE, RAM)
BLOCK = 512

#: Descriptor layouts: all in one, cut small, indirect, headers split over descriptors.
LAYOUTS = [
    Layout(),
    Layout(indirect=True),
    Layout(piece=500),
    Layout(piece=100, indirect=True),
    Layout(piece=7, indirect=True),
]


def pattern(blocks: int, seed: int = 1) -> bytes:
    return b"".join((seed * 1000 + n).to_bytes(8, "big") * (BLOCK // 8) for n in range(blocks))


def sense(response: Response) -> tuple[int, int, int]:
    assert (response.response, response.status) == (0, 2), response
    return response.sense_code


@pytest.mark.parametrize("target", KEEPING)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_what_is_written_is_read(guest: FrontEnd, target: int, layout: Layout) -> None:
    data = pattern(3)
    done = guest.scsi(target, 0, cdb.write_10(40, 3), data_out=data, layout=layout)
    assert done.good, done
    assert done.resid == 0
    back = guest.scsi(target, 0, cdb.read_16(40, 3), data_in=len(data), layout=layout)
    assert back.good, back
    assert back.data == data
    assert back.written == 108 + len(data)


@pytest.mark.parametrize("target", [FILE, RAM, NULL])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_room_that_is_not_needed_is_the_residual(
    guest: FrontEnd, target: int, layout: Layout
) -> None:
    read = guest.scsi(target, 0, cdb.read_10(8, 2), data_in=5 * BLOCK, layout=layout)
    assert read.good, read
    assert (read.resid, read.written) == (3 * BLOCK, 108 + 2 * BLOCK)
    write = guest.scsi(target, 0, cdb.write_10(8, 2), data_out=pattern(5), layout=layout)
    assert write.good, write
    assert write.resid == 3 * BLOCK
    for fua in (False, True):
        write = guest.scsi(target, 0, cdb.write_16(8, 2, fua=fua), data_out=pattern(3))
        assert write.good, write
        assert write.resid == BLOCK


def test_what_is_written_is_in_the_file(guest: FrontEnd, image: Path) -> None:
    data = pattern(8)
    assert guest.scsi(FILE, 0, cdb.write_16(100, 8, fua=True), data_out=data).good
    with image.open("rb") as file:
        file.seek(100 * BLOCK)
        assert file.read(len(data)) == data


def test_null_reads_zeros(guest: FrontEnd) -> None:
    assert guest.scsi(NULL, 0, cdb.write_10(0, 2), data_out=pattern(2)).good
    assert guest.scsi(NULL, 0, cdb.read_10(0, 2), data_in=1024).data == bytes(1024)


@pytest.mark.parametrize("target", [FILE, RAM, NULL])
def test_many_in_flight_all_end(guest: FrontEnd, target: int) -> None:
    sent = [
        guest.submit(target, 0, cdb.write_10(n * 8, 8), data_out=pattern(8, n)) for n in range(40)
    ]
    assert all(guest.wait(one).good for one in sent)
    sent = [guest.submit(target, 0, cdb.read_10(n * 8, 8), data_in=4096) for n in range(40)]
    for n, one in enumerate(sent):
        expected = bytes(4096) if target == NULL else pattern(8, n)
        assert guest.wait(one).data == expected


def test_a_buffer_larger_than_the_transfer_leaves_a_residual(guest: FrontEnd) -> None:
    response = guest.scsi(RAM, 0, cdb.read_10(0, 1), data_in=2048)
    assert response.good
    assert response.resid == 2048 - BLOCK
    assert response.data[BLOCK:] == b"\xa5" * (2048 - BLOCK), "bytes past the transfer were touched"


@pytest.mark.parametrize("target", [FILE, RAM, NULL])
def test_a_buffer_smaller_than_the_transfer_is_an_overrun(guest: FrontEnd, target: int) -> None:
    assert guest.scsi(target, 0, cdb.read_10(0, 2), data_in=BLOCK).response == OVERRUN
    assert guest.scsi(target, 0, cdb.write_10(0, 2), data_out=bytes(BLOCK)).response == OVERRUN


@pytest.mark.parametrize("target", [FILE, RAM, NULL])
@pytest.mark.parametrize(
    "command",
    [
        cdb.read_16(2**63, 1),
        cdb.read_16(2**64 - 1, 2),
        cdb.write_16(2**40, 1),
        cdb.verify_10(2**32 - 1, 1),
    ],
    ids=lambda command: command.hex(),
)
def test_blocks_past_the_end_are_refused(guest: FrontEnd, target: int, command: bytes) -> None:
    write = command[0] == 0x8A
    response = guest.scsi(
        target, 0, command, data_out=bytes(1024 * write), data_in=1024 * (not write)
    )
    assert sense(response) == (5, 0x21, 0)
    assert response.resid == 1024


def test_the_last_block_is_there(guest: FrontEnd) -> None:
    last = (64 << 20) // BLOCK - 1
    assert guest.scsi(RAM, 0, cdb.write_16(last, 1), data_out=pattern(1)).good
    assert guest.scsi(RAM, 0, cdb.read_16(last, 1), data_in=BLOCK).data == pattern(1)
    assert sense(guest.scsi(RAM, 0, cdb.read_16(last, 2), data_in=1024)) == (5, 0x21, 0)


def test_no_blocks_is_no_error(guest: FrontEnd) -> None:
    assert guest.scsi(FILE, 0, cdb.read_10(0, 0)).good
    assert guest.scsi(FILE, 0, cdb.write_16(0, 0)).good


def test_unmap_punches_a_hole(guest: FrontEnd, image: Path) -> None:
    data = pattern(2048)
    assert guest.scsi(FILE, 0, cdb.write_10(0, 2048), data_out=data).good
    assert guest.scsi(FILE, 0, cdb.synchronize_cache_10()).good
    before = image.stat().st_blocks
    listed = cdb.unmap_list((0, 1024), (1024, 512))
    assert guest.scsi(FILE, 0, cdb.unmap(len(listed)), data_out=listed).good
    assert before - image.stat().st_blocks >= 1536 - 16, "the host got no space back"
    back = guest.scsi(FILE, 0, cdb.read_10(0, 2048), data_in=len(data))
    assert back.data == bytes(1536 * BLOCK) + data[1536 * BLOCK :]


@pytest.mark.parametrize("target", KEEPING)
def test_unmap_zeros_exactly_what_it_names(guest: FrontEnd, target: int) -> None:
    data = pattern(64)
    assert guest.scsi(target, 0, cdb.write_10(0, 64), data_out=data).good
    listed = cdb.unmap_list((3, 50))
    assert guest.scsi(target, 0, cdb.unmap(len(listed)), data_out=listed).good
    back = guest.scsi(target, 0, cdb.read_10(0, 64), data_in=len(data)).data
    assert back == data[: 3 * BLOCK] + bytes(50 * BLOCK) + data[53 * BLOCK :]


@pytest.mark.parametrize(
    ("listed", "code"),
    [
        (cdb.unmap_list((2**40, 1)), (5, 0x21, 0)),
        (cdb.unmap_list((0, 0x400000)), (5, 0x26, 0)),
        (bytes(4), (5, 0x1A, 0)),
    ],
    ids=["past the end", "too much", "cut short"],
)
def test_unmap_refuses_what_it_cannot_do(
    guest: FrontEnd, listed: bytes, code: tuple[int, int, int]
) -> None:
    assert sense(guest.scsi(RAM, 0, cdb.unmap(len(listed)), data_out=listed)) == code


def test_unmap_of_nothing_is_no_error(guest: FrontEnd) -> None:
    assert guest.scsi(RAM, 0, cdb.unmap(0)).good
    assert guest.scsi(RAM, 0, cdb.unmap(8), data_out=cdb.unmap_list()).good


@pytest.mark.parametrize("target", KEEPING)
@pytest.mark.parametrize("block", [bytes(BLOCK), b"\x5a" * BLOCK], ids=["zeros", "pattern"])
@pytest.mark.parametrize("unmap", [False, True])
def test_write_same(guest: FrontEnd, target: int, block: bytes, unmap: bool) -> None:
    assert guest.scsi(target, 0, cdb.write_10(0, 40), data_out=pattern(40)).good
    assert guest.scsi(target, 0, cdb.write_same_16(5, 30, unmap=unmap), data_out=block).good
    back = guest.scsi(target, 0, cdb.read_10(0, 40), data_in=40 * BLOCK).data
    assert back == pattern(40)[: 5 * BLOCK] + block * 30 + pattern(40)[35 * BLOCK :]


def test_write_same_without_data_writes_zeros(guest: FrontEnd) -> None:
    assert guest.scsi(FILE, 0, cdb.write_10(0, 4), data_out=pattern(4)).good
    assert guest.scsi(FILE, 0, cdb.write_same_16(1, 2, ndob=True)).good
    back = guest.scsi(FILE, 0, cdb.read_10(0, 4), data_in=4 * BLOCK).data
    assert back == pattern(4)[:BLOCK] + bytes(2 * BLOCK) + pattern(4)[3 * BLOCK :]


@pytest.mark.parametrize("target", KEEPING)
def test_verify_finds_the_difference(guest: FrontEnd, target: int) -> None:
    data = pattern(16)
    assert guest.scsi(target, 0, cdb.write_10(0, 16), data_out=data).good
    assert guest.scsi(target, 0, cdb.verify_10(0, 16)).good
    assert guest.scsi(target, 0, cdb.verify_10(0, 16, bytchk=1), data_out=data).good
    other = bytearray(data)
    other[3000] ^= 1
    response = guest.scsi(target, 0, cdb.verify_10(0, 16, bytchk=1), data_out=bytes(other))
    assert sense(response) == (0xE, 0x1D, 0)
    assert int.from_bytes(response.sense[3:7], "big") == 3000


@pytest.mark.parametrize("target", KEEPING)
@pytest.mark.parametrize("bytchk", [0, 1])
@pytest.mark.parametrize("layout", [Layout(), Layout(piece=500)], ids=str)
def test_write_and_verify_writes(guest: FrontEnd, target: int, bytchk: int, layout: Layout) -> None:
    data = pattern(16, 7)
    command = cdb.write_and_verify_10(3, 16, bytchk=bytchk)
    done = guest.scsi(target, 0, command, data_out=data, layout=layout)
    assert done.good, done
    assert done.resid == 0
    assert guest.scsi(target, 0, cdb.read_10(3, 16), data_in=len(data)).data == data


def test_write_and_verify_notices_a_disk_that_forgets(guest: FrontEnd) -> None:
    data = bytes(700) + b"x" + bytes(323)
    assert guest.scsi(NULL, 0, cdb.write_and_verify_10(0, 2), data_out=data).good
    response = guest.scsi(NULL, 0, cdb.write_and_verify_10(0, 2, bytchk=1), data_out=data)
    assert sense(response) == (0xE, 0x1D, 0)
    assert int.from_bytes(response.sense[3:7], "big") == 700


@pytest.mark.parametrize("target", KEEPING)
@pytest.mark.parametrize("layout", [Layout(), Layout(piece=500)], ids=str)
def test_compare_and_write_writes_what_compares(
    guest: FrontEnd, target: int, layout: Layout
) -> None:
    old, new = pattern(20, 3), pattern(20, 4)
    assert guest.scsi(target, 0, cdb.write_10(0, 20), data_out=old).good
    command = cdb.compare_and_write(2, 16)
    inner = slice(2 * BLOCK, 18 * BLOCK)
    done = guest.scsi(target, 0, command, data_out=old[inner] + new[inner], layout=layout)
    assert done.good, done
    assert done.resid == 0
    now = old[: 2 * BLOCK] + new[inner] + old[18 * BLOCK :]
    assert guest.scsi(target, 0, cdb.read_10(0, 20), data_in=len(now)).data == now
    wrong = bytearray(new[inner])
    wrong[1234] ^= 0x80
    response = guest.scsi(target, 0, command, data_out=bytes(wrong) + old[inner], layout=layout)
    assert sense(response) == (0xE, 0x1D, 0)
    assert response.sense[0] & 0x80, "INFORMATION is not valid"
    assert int.from_bytes(response.sense[3:7], "big") == 1234
    assert guest.scsi(target, 0, cdb.read_10(0, 20), data_in=len(now)).data == now


def test_compare_and_write_takes_as_many_blocks_as_its_byte_says(guest: FrontEnd) -> None:
    new = pattern(255, 9)
    command = cdb.compare_and_write(0, 255, fua=True)
    assert guest.scsi(FILE, 0, command, data_out=bytes(255 * BLOCK) + new).good
    assert guest.scsi(FILE, 0, cdb.read_10(0, 255), data_in=len(new)).data == new
    limits = guest.scsi(FILE, 0, cdb.inquiry(64, page=0xB0), data_in=64).data
    assert limits[5] == 255
    assert guest.scsi(FILE, 0, command, data_out=new).response == OVERRUN
    assert sense(guest.scsi(FILE, 0, cdb.compare_and_write(2**40, 1), data_out=bytes(1024))) == (
        5,
        0x21,
        0,
    )


def test_pre_fetch_says_whether_the_cache_has_room(guest: FrontEnd) -> None:
    for target, command, status in (
        (FILE, cdb.pre_fetch_10(0, 8), 4),
        (FILE, cdb.pre_fetch_10(8, 0, immediate=True), 4),
        (RAM, cdb.pre_fetch_10(0, 8), 4),
    ):
        response = guest.scsi(target, 0, command)
        assert (response.response, response.status) == (0, status)
    assert sense(guest.scsi(FILE, 0, cdb.pre_fetch_10(2**31, 8))) == (5, 0x21, 0)


@pytest.mark.parametrize(("size", "cache", "status"), [(1, "none", 0), (65, "writeback", 0)])
def test_pre_fetch_of_what_no_cache_keeps_is_good(
    make_daemon: MakeDaemon, image: Path, size: int, cache: str, status: int
) -> None:
    os.truncate(image, size << 20)
    daemon = make_daemon([f"0:0:0:0={image},cache={cache}"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        response = guest.scsi(0, 0, cdb.pre_fetch_10(0, 0))
        assert (response.response, response.status) == (0, status)


@pytest.mark.parametrize("cache", ["none", "writeback", "writethrough", "directsync"])
@pytest.mark.parametrize("piece", [None, 1000], ids=["aligned", "in odd pieces"])
def test_cache_modes(make_daemon: MakeDaemon, image: Path, cache: str, piece: int | None) -> None:
    daemon = make_daemon([f"0:0:0:0={image},cache={cache}"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        layout = Layout(piece=piece)
        data = pattern(64)
        assert guest.scsi(0, 0, cdb.write_10(8, 64), data_out=data, layout=layout).good
        assert guest.scsi(0, 0, cdb.read_10(8, 64), data_in=len(data), layout=layout).data == data
        caching = guest.scsi(0, 0, bytes((0x1A, 8, 8, 0, 255, 0)), data_in=255).data
        write_cache = bool(caching[4 + 2] & 4)
        assert write_cache == (cache in {"none", "writeback"})
    with image.open("rb") as file:
        file.seek(8 * BLOCK)
        assert file.read(len(data)) == data


def test_blocks_of_4096_bytes(make_daemon: MakeDaemon, image: Path) -> None:
    daemon = make_daemon([f"0:0:0:0={image},block-size=4096"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        assert guest.scsi(0, 0, cdb.write_10(1, 1), data_out=b"4" * 4096).good
        assert guest.scsi(0, 0, cdb.read_10(1, 1), data_in=4096).data == b"4" * 4096
    with image.open("rb") as file:
        file.seek(4096)
        assert file.read(4097) == b"4" * 4096 + b"\0"


@pytest.mark.parametrize("how", ["option", "flag"])
def test_read_only(make_daemon: MakeDaemon, image: Path, how: str) -> None:
    lun = f"0:0:0:0={image}" + (",ro" if how == "option" else "")
    daemon = make_daemon([lun, "0:0:1:0=ram:1M,ro"], *(["--read-only"] if how == "flag" else []))
    before = image.read_bytes()
    with FrontEnd(daemon.socket) as guest:
        for target in (0, 1):
            guest.ready(target)
            assert sense(guest.scsi(target, 0, cdb.write_10(0, 1), data_out=pattern(1))) == (
                7,
                0x27,
                0,
            )
            listed = cdb.unmap_list((0, 1))
            both = bytes(2 * BLOCK)
            for command in (cdb.compare_and_write(0, 1), cdb.write_and_verify_10(0, 1)):
                refused = guest.scsi(target, 0, command, data_out=both)
                assert sense(refused) == (7, 0x27, 0)
            refused = guest.scsi(target, 0, cdb.unmap(len(listed)), data_out=listed)
            assert sense(refused)[0] in {5, 7}
            assert guest.scsi(target, 0, cdb.read_10(0, 1), data_in=BLOCK).good
            assert guest.scsi(target, 0, cdb.synchronize_cache_10()).good
            mode = guest.scsi(target, 0, bytes((0x1A, 8, 0x3F, 0, 255, 0)), data_in=255)
            assert mode.data[2] & 0x80, "MODE SENSE does not say that it is write-protected"
    assert image.read_bytes() == before


def test_a_file_that_was_cut_short_is_a_medium_error(guest: FrontEnd, image: Path) -> None:
    os.truncate(image, 1 << 20)
    response = guest.scsi(FILE, 0, cdb.read_10(100_000, 8), data_in=4096)
    assert sense(response) == (3, 0x11, 0)
    assert guest.scsi(FILE, 0, cdb.read_10(0, 8), data_in=4096).good


@pytest.mark.parametrize("target", [FILE, RAM, NULL])
def test_data_both_ways_is_no_request(guest: FrontEnd, target: int) -> None:
    """VIRTIO_SCSI_F_INOUT is not offered: nothing is carried out (virtio 1.2, 5.6.6.1)."""
    assert guest.scsi(target, 0, cdb.write_10(0, 1), data_out=pattern(1, seed=7)).good
    both = guest.scsi(target, 0, cdb.write_10(0, 1), data_out=pattern(1), data_in=512)
    assert (both.response, both.written) == (FAILURE, 108)
    back = guest.scsi(target, 0, cdb.read_10(0, 1), data_in=512)
    assert back.data == (bytes(512) if target == NULL else pattern(1, seed=7))
