"""A medium's blocks, read, written and copied by the host itself; what can be changed at run time.

Real files, with and without O_DIRECT, RAM and null, in the compiled engine.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness.house import House
from vhost_pvscsi.engine import Engine, GateReason
from vhost_pvscsi.medium import Medium
from vhost_pvscsi.scsi.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vhost_pvscsi.scsi.request import Reply

BLOCK = 512
#: Larger than the engine's own pieces of 1 MiB, and no multiple of them.
SIZE = (5 << 20) + 3 * 4096


class Files:
    """Makes media over files of one folder; closes their descriptors."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[int] = []

    def make(self, name: str, *, direct: bool = False, read_only: bool = False) -> Medium:
        path = self._folder / name
        if not path.exists():
            path.touch()
            os.truncate(path, SIZE)
        flags = os.O_RDONLY if read_only else os.O_RDWR
        fd = os.open(path, flags | (os.O_DIRECT if direct else 0))
        self._open.append(fd)
        return Medium.file(
            fd,
            size=SIZE,
            block_size=BLOCK,
            read_only=read_only,
            direct=direct,
            sync_writes=False,
        )

    def close(self) -> None:
        for fd in self._open:
            os.close(fd)


@pytest.fixture
def files(folder: Path) -> Iterator[Files]:
    files = Files(folder)
    yield files
    files.close()


def ram(*, read_only: bool = False) -> Medium:
    return Medium.ram(size=SIZE, block_size=BLOCK, read_only=read_only)


def null() -> Medium:
    return Medium.null(size=SIZE, block_size=BLOCK, read_only=False)


def pattern(length: int, seed: int = 0) -> bytes:
    """Bytes of which no two blocks are alike."""
    return b"".join(struct.pack(">QQ", seed, at) * (BLOCK // 16) for at in range(0, length, BLOCK))


@pytest.fixture(params=["buffered", "direct", "ram"])
def medium(request: pytest.FixtureRequest, files: Files) -> Medium:
    """Dimension: where the blocks are."""
    if request.param == "ram":
        return ram()
    return files.make("disk.img", direct=request.param == "direct")


@pytest.mark.parametrize("offset", [0, 7 * BLOCK])
@pytest.mark.parametrize("length", [0, BLOCK, (2 << 20) + BLOCK])
def test_what_was_written_is_read(medium: Medium, offset: int, length: int) -> None:
    data = pattern(length)
    medium.write(offset, data)
    assert medium.read(offset, length) == data
    assert not any(medium.read(offset + length, BLOCK))


def test_a_write_reaches_the_file(files: Files, folder: Path) -> None:
    files.make("disk.img", direct=True).write(BLOCK, pattern(BLOCK))
    with (folder / "disk.img").open("rb") as file:
        assert file.read(2 * BLOCK) == bytes(BLOCK) + pattern(BLOCK)


def test_null_reads_zeros_and_forgets() -> None:
    medium = null()
    medium.write(0, pattern(2 * BLOCK))
    assert medium.read(0, 2 * BLOCK) == bytes(2 * BLOCK)


@pytest.mark.parametrize(
    ("offset", "length"),
    [(SIZE, BLOCK), (SIZE - BLOCK, 2 * BLOCK), (2**64 - BLOCK, BLOCK), (1, BLOCK), (0, 100)],
)
def test_a_range_that_is_not_of_blocks_of_the_medium_is_refused(
    medium: Medium, offset: int, length: int
) -> None:
    other = ram()
    with pytest.raises(ValueError, match=f"{length} bytes at {offset}"):
        medium.read(offset, length)
    with pytest.raises(ValueError, match=f"{length} bytes at {offset}"):
        medium.write(offset, bytes(length))
    with pytest.raises(ValueError, match=f"copy from {length} bytes at {offset}"):
        medium.copy_to(other, offset, 0, length)
    with pytest.raises(ValueError, match=f"{length} bytes at {offset}"):
        other.copy_to(medium, 0, offset, length)


def test_a_read_only_medium_is_not_written(files: Files) -> None:
    for medium in (files.make("disk.img", read_only=True), ram(read_only=True)):
        with pytest.raises(OSError, match="write the medium") as error:
            medium.write(0, bytes(BLOCK))
        assert error.value.errno == errno.EROFS
        with pytest.raises(OSError, match="write the medium") as error:
            ram().copy_to(medium, 0, 0, BLOCK)
        assert error.value.errno == errno.EROFS
        assert medium.read(0, BLOCK) == bytes(BLOCK)


def test_a_file_that_has_become_too_short_is_an_error(files: Files, folder: Path) -> None:
    medium, other = files.make("disk.img"), files.make("other.img")
    os.truncate(folder / "disk.img", 4096)
    for attempt in (
        lambda: medium.read(0, 2 * 4096),
        lambda: medium.copy_to(other, 0, 0, 2 * 4096),
    ):
        with pytest.raises(OSError, match=r"(blocks|the medium): ") as error:
            attempt()
        assert error.value.errno == errno.EIO


@pytest.mark.parametrize("direct", [False, True])
def test_a_medium_grows_with_its_file(files: Files, folder: Path, direct: bool) -> None:
    medium = files.make("disk.img", direct=direct)
    medium.write(SIZE - BLOCK, pattern(BLOCK))
    for size in (SIZE + BLOCK, SIZE + (1 << 20)):
        os.truncate(folder / "disk.img", size)
        with pytest.raises(ValueError, match=f"{BLOCK} bytes at {size - BLOCK}"):
            medium.read(size - BLOCK, BLOCK)
        medium.grow(size)
        assert medium.read(size - BLOCK, BLOCK) == bytes(BLOCK)
        medium.write(size - BLOCK, pattern(BLOCK, seed=size))
        assert medium.read(size - BLOCK, BLOCK) == pattern(BLOCK, seed=size)
        with pytest.raises(ValueError, match=f"{BLOCK} bytes at {size}"):
            medium.read(size, BLOCK)
    assert medium.read(SIZE - BLOCK, BLOCK) == pattern(BLOCK)


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (SIZE, f"cannot grow to {SIZE} bytes: the medium has {SIZE}"),
        (SIZE - BLOCK, f"cannot grow to {SIZE - BLOCK} bytes: the medium has {SIZE}"),
        (0, "size 0 is not a multiple"),
        (SIZE + 1, f"size {SIZE + 1} is not a multiple of the block size {BLOCK}"),
    ],
)
def test_a_medium_only_grows_and_by_whole_blocks(files: Files, size: int, reason: str) -> None:
    medium = files.make("disk.img")
    with pytest.raises(ValueError, match=reason):
        medium.grow(size)
    assert medium.read(SIZE - BLOCK, BLOCK) == bytes(BLOCK)


@pytest.mark.parametrize("make", [ram, null])
def test_a_medium_without_a_file_does_not_grow(make: Callable[[], Medium]) -> None:
    with pytest.raises(ValueError, match="only a medium of a file can grow"):
        make().grow(2 * SIZE)


async def test_commands_on_both_roads_see_the_new_size(folder: Path, io_uring: bool) -> None:
    image = folder / "disk.img"
    image.touch()
    os.truncate(image, SIZE)
    async with House([f"0:0:0:0={image}"], io_uring=io_uring) as house:
        guest = await house.connect()
        end = SIZE // BLOCK

        def read() -> bool:
            return guest.scsi(0, 0, cdb.read_10(end, 1), data_in=BLOCK).good

        assert not await asyncio.to_thread(read)
        assert not await house.on_long_road(0, read)
        os.truncate(image, SIZE + 8 * BLOCK)
        assert not await asyncio.to_thread(read)
        medium = house._places[0][0].medium
        assert medium is not None
        medium.grow(SIZE + 8 * BLOCK)
        assert await asyncio.to_thread(read)
        assert await house.on_long_road(0, read)
        guest.close()


_KINDS = ["buffered", "direct", "ram", "null"]


@pytest.mark.parametrize("source", _KINDS)
@pytest.mark.parametrize("target", _KINDS)
def test_a_copy_has_all_bytes_and_no_others(files: Files, source: str, target: str) -> None:
    def make(kind: str, name: str) -> Medium:
        match kind:
            case "ram":
                return ram()
            case "null":
                return null()
        return files.make(name, direct=kind == "direct")

    sender, receiver = make(source, "source.img"), make(target, "target.img")
    data, old = pattern(SIZE), pattern(SIZE, seed=1)
    sender.write(0, data)
    receiver.write(0, old)
    start, end, length = 3 * BLOCK, 9 * BLOCK, (3 << 20) + BLOCK
    assert sender.copy_to(receiver, start, end, length) == length
    sent = bytes(length) if source == "null" else data[start : start + length]
    expected = old[:end] + sent + old[end + length :]
    assert receiver.read(0, SIZE) == (bytes(SIZE) if target == "null" else expected)
    assert sender.copy_to(receiver, 0, 0, 0) == 0


_SHIFTS = pytest.mark.parametrize("shift", [BLOCK, 4096, 1 << 20, -BLOCK, -4096, -(1 << 20), 0])


def _overlap(source: Medium, target: Medium, shift: int) -> None:
    data = pattern(SIZE)
    source.write(0, data)
    length, start = 3 << 20, 1 << 20
    assert source.copy_to(target, start, start + shift, length) == length
    expected = bytearray(data)
    expected[start + shift : start + shift + length] = data[start : start + length]
    assert source.read(0, SIZE) == expected


@_SHIFTS
def test_overlapping_ranges_of_a_medium_come_out_as_memmove_would(
    medium: Medium, shift: int
) -> None:
    _overlap(medium, medium, shift)


@_SHIFTS
@pytest.mark.parametrize("direct", [False, True])
def test_overlapping_ranges_of_a_file_come_out_as_memmove_would(
    files: Files, direct: bool, shift: int
) -> None:
    _overlap(files.make("disk.img", direct=direct), files.make("disk.img", direct=direct), shift)


@pytest.mark.parametrize(
    ("command", "fixed", "descriptors"),
    [
        # LBA OUT OF RANGE: an INFORMATION field of eight bytes fits descriptors only.
        (
            cdb.read_16(2**40 + 1, 1),
            "70 00 05 00000000 0a 00000000 21 00 00 000000",
            "72 05 21 00 0000000c 000a8000 0000010000000001",
        ),
        (
            cdb.read_16(2**20, 1),
            "f0 00 05 00100000 0a 00000000 21 00 00 000000",
            "72 05 21 00 0000000c 000a8000 0000000000100000",
        ),
        # INVALID FIELD IN CDB: RDPROTECT is not 0, byte 1, bit 5.
        (
            bytes((0x28, 0x20)) + cdb.read_10(8, 8)[2:],
            "70 00 05 00000000 0a 00000000 24 00 00 cd0001",
            "72 05 24 00 00000008 02060000 cd000100",
        ),
    ],
    ids=["information of 8 bytes", "information of 4 bytes", "field pointer"],
)
async def test_sense_data_is_in_the_format_that_was_asked_for(
    command: bytes, fixed: str, descriptors: str, io_uring: bool
) -> None:
    async with House(["0:0:0:0=ram:1M"], io_uring=io_uring) as house:
        guest = await house.connect()

        def ask() -> str:
            return guest.scsi(0, 0, command, data_in=4096).sense.hex()

        for on, expected in ((False, fixed), (True, descriptors), (False, fixed)):
            house._places[0][0].medium.set_descriptor_sense(on)
            wanted = bytes.fromhex(expected).hex()
            assert await asyncio.to_thread(ask) == wanted
            assert await house.on_long_road(0, ask) == wanted
        guest.close()


async def test_a_run_has_the_cdb_it_was_ordered_with(io_uring: bool) -> None:
    async with House(["0:0:0:0=ram:1M"], io_uring=io_uring) as house:
        disk = house._places[0][0]
        disk.medium.write(0, pattern(64 * BLOCK))
        guest = await house.connect()
        orders: list[bytes] = []

        async def run(request: Request) -> Reply:
            return await house.engine.execute(
                disk.medium, dataclasses.replace(request, cdb=orders[-1])
            )

        disk._executor = run
        for order, answer in (
            (cdb.read_10(16, 2), pattern(64 * BLOCK)[16 * BLOCK : 18 * BLOCK]),
            # It is checked like any: more than the guest has room for.
            (cdb.read_10(16, 9), None),
            (cdb.read_10(1 << 20, 1), None),
        ):
            orders.append(order)
            response = await house.on_long_road(
                0, lambda: guest.scsi(0, 0, cdb.read_10(0, 8), data_in=8 * BLOCK)
            )
            assert response.good == (answer is not None)
            if answer is not None:
                assert response.data[: len(answer)] == answer
                assert response.resid == 6 * BLOCK
        guest.close()


async def test_a_cdb_that_no_ring_carries_is_refused() -> None:
    engine = Engine(1)
    try:
        for length in (0, 33):
            request = Request(nexus="", target=0, lun=0, cdb=bytes(length))
            with pytest.raises(ValueError, match=f"1 to 32 bytes, not {length}"):
                await engine.execute(null(), request)
    finally:
        await engine.close()


_WRITES = """
import os, sys
from vhost_pvscsi.medium import Medium
fd, other = (os.open(path, os.O_RDWR) for path in sys.argv[1:])
disk, source = (
    Medium.file(fd, size=1 << 20, block_size=512, read_only=False, direct=False, sync_writes=False)
    for fd in (fd, other)
)
for on in (False, True, False):
    disk.set_sync_writes(on)
    disk.write(0, bytes(512))
    source.copy_to(disk, 0, 0, 512)
"""


def test_writes_are_stable_only_while_the_write_cache_is_off(folder: Path) -> None:
    """Seen from outside: what the kernel is asked for."""
    paths = [folder / "disk.img", folder / "source.img"]
    for path in paths:
        path.write_bytes(bytes(1 << 20))
    trace = folder / "trace"
    subprocess.run(
        [
            *("strace", "-f", "-qq", "-e", "signal=none", "-o", trace),
            *("-e", "trace=pwritev2,copy_file_range,fdatasync"),
            *(sys.executable, "-c", _WRITES, *paths),
        ],
        check=True,
    )
    calls = [
        "stable write" if "RWF_DSYNC" in line else line.split("(")[0].split()[-1]
        for line in trace.read_text().splitlines()
    ]
    plain = ["pwritev2", "copy_file_range"]
    assert calls == [*plain, "stable write", "copy_file_range", "fdatasync", *plain]


async def test_a_gate_is_shut_without_waiting_for_what_is_in_flight(io_uring: bool) -> None:
    async with House(["0:0:0:0=null:1M,latency=2s"], io_uring=io_uring) as house:
        guest = await house.connect()
        short = house.short_road(house.adapter.session_id)
        read = await asyncio.to_thread(guest.submit, 0, 0, cdb.read_10(0, 1), data_in=BLOCK)
        in_flight = asyncio.create_task(asyncio.to_thread(guest.wait, read))
        async with asyncio.timeout(10):
            while not await house.adapter._host.count():
                pass
            await house.gate(0).close(GateReason.TEST, wait=False)
            assert not in_flight.done()
            assert house.short_road(house.adapter.session_id) == short
            await house.gate(0).close(GateReason.TEST)
            # Counted before it is published: it has ended by the time the second close returns.
            assert house.short_road(house.adapter.session_id) == short + 1
            assert (await in_flight).good
        house.gate(0).open(GateReason.TEST)
        guest.close()
