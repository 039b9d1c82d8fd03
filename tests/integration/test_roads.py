"""The short road and the long road: one executor, so one answer; and the gate between them."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness import driver
from tests.harness.house import House
from vhost_pvscsi.engine import GateReason
from vhost_pvscsi.medium import MEDIUM_OPCODES

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.frontend import FrontEnd, Response

BLOCK = 512
DATA = bytes(range(256)) * 2 * 8

#: Each opcode of the medium: good calls and bad ones. (CDB, data-out, room for data-in)
CALLS: list[tuple[bytes, bytes, int]] = [
    (struct.pack(">BBHBB", 0x08, 0, 8, 8, 0), b"", 4096),
    (struct.pack(">BBHBB", 0x0A, 0, 8, 8, 0), DATA, 0),
    (cdb.read_10(8, 8), b"", 4096),
    (cdb.read_10(8, 8), b"", 8192),
    (cdb.read_10(8, 8), b"", 512),
    (cdb.read_10(0, 0), b"", 0),
    (bytes((0x28, 0x20)) + cdb.read_10(8, 8)[2:], b"", 4096),
    (cdb.read_16(8, 8), b"", 4096),
    (cdb.read_16(2**60, 8), b"", 4096),
    (struct.pack(">BBIIBB", 0xA8, 0, 8, 8, 0, 0), b"", 4096),
    (cdb.write_10(8, 8), DATA, 0),
    (cdb.write_10(8, 8, fua=True), DATA, 0),
    (cdb.write_10(8, 8), DATA[:512], 0),
    (cdb.write_16(8, 8), DATA, 0),
    (cdb.write_16(2**60, 8), DATA, 0),
    (struct.pack(">BBIIBB", 0xAA, 0, 8, 8, 0, 0), DATA, 0),
    (cdb.synchronize_cache_10(), b"", 0),
    (struct.pack(">BBQIBB", 0x91, 0, 0, 0, 0, 0), b"", 0),
    (cdb.verify_10(8, 8), b"", 0),
    (cdb.verify_10(8, 8, bytchk=1), DATA, 0),
    (cdb.verify_10(8, 8, bytchk=1), DATA[::-1], 0),
    (cdb.verify_10(8, 8, bytchk=2), DATA, 0),
    (cdb.verify_10(8, 8, bytchk=3), DATA[:512], 0),
    (struct.pack(">BBQIBB", 0x8F, 2, 8, 8, 0, 0), DATA, 0),
    (struct.pack(">BBIIBB", 0xAF, 2, 8, 8, 0, 0), DATA, 0),
    (cdb.write_and_verify_10(8, 8), DATA[::-1], 0),
    (cdb.write_and_verify_10(8, 8, bytchk=1), DATA[::-1], 0),
    (cdb.write_and_verify_10(8, 8, bytchk=3), DATA[::-1], 0),
    (cdb.write_and_verify_10(8, 0), b"", 0),
    (struct.pack(">BBQIBB", 0x8E, 2, 8, 8, 0, 0), DATA[::-1] + DATA, 0),
    (struct.pack(">BBQIBB", 0x8E, 0x20, 8, 8, 0, 0), DATA, 0),
    (struct.pack(">BBIIBB", 0xAE, 2, 8, 8, 0, 0), DATA[::-1], 0),
    (struct.pack(">BBIIBB", 0xAE, 2, 2**31, 8, 0, 0), DATA, 0),
    (cdb.compare_and_write(8, 8), DATA + DATA[::-1], 0),
    (cdb.compare_and_write(8, 8, fua=True), DATA + DATA[::-1], 0),
    (cdb.compare_and_write(8, 8), DATA[::-1] + DATA, 0),
    (cdb.compare_and_write(8, 8), DATA, 0),
    (cdb.compare_and_write(8, 0), b"", 0),
    (cdb.pre_fetch_10(8, 8), b"", 0),
    (cdb.pre_fetch_10(8, 0, immediate=True), b"", 0),
    (cdb.pre_fetch_10(2**31, 8), b"", 0),
    (struct.pack(">BBQIBB", 0x90, 0, 8, 8, 0, 0), b"", 0),
    (struct.pack(">BBQIBB", 0x90, 1, 8, 8, 0, 0), b"", 0),
    (cdb.write_same_16(8, 8), DATA[:512], 0),
    (cdb.write_same_16(8, 8, ndob=True, unmap=True), b"", 0),
    (cdb.write_same_16(8, 0), DATA[:512], 0),
    (struct.pack(">BBIBHB", 0x41, 0, 8, 0, 8, 0), DATA[:512], 0),
    (struct.pack(">BBIBHB", 0x41, 0x10, 8, 0, 8, 0), DATA[:512], 0),
    (cdb.unmap(40), cdb.unmap_list((8, 4), (14, 2)), 0),
    (cdb.unmap(24), cdb.unmap_list((2**60, 4)), 0),
    (cdb.unmap(40), cdb.unmap_list((8, 4)), 0),
    (bytes((0x42, 1)) + cdb.unmap(24)[2:], cdb.unmap_list((8, 4)), 0),
]


def test_the_calls_cover_every_opcode() -> None:
    assert {call[0][0] for call in CALLS} == MEDIUM_OPCODES


@pytest.fixture
async def luns(tmp_path: Path) -> list[str]:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1 << 20))
    return [f"0:0:0:0={image}", "0:0:1:0=ram:1M", "0:0:2:0=null:1M", "0:0:3:0=ram:1M,ro"]


async def test_both_roads_answer_alike(luns: list[str], io_uring: bool) -> None:
    async with House(luns, io_uring=io_uring) as house:
        guest = await house.connect()
        session = house.adapter.session_id
        for position in range(len(luns)):
            for call in CALLS:
                short, medium_short = await asyncio.to_thread(_ask, guest, position, call)
                before = house.short_road(session)
                long, medium_long = await house.on_long_road(
                    position, lambda c=call, p=position: _ask(guest, p, c, restore=False)
                )
                assert house.short_road(session) == before, "a gate let a command pass"
                assert (short, medium_short) == (long, medium_long), call[0].hex()
        guest.close()


def _ask(
    guest: FrontEnd, target: int, call: tuple[bytes, bytes, int], *, restore: bool = True
) -> tuple[Response, bytes]:
    """Send a call to a medium in a known state; its response, and the medium after it."""
    command, data_out, room = call
    del restore
    if target != 3:
        assert guest.scsi(target, 0, cdb.write_10(0, 32), data_out=DATA * 4).good
    response = guest.scsi(target, 0, command, data_out=data_out, data_in=room)
    after = guest.scsi(target, 0, cdb.read_10(0, 32), data_in=32 * BLOCK)
    assert after.good
    return response, after.data


async def test_an_open_gate_is_the_short_road(luns: list[str], io_uring: bool) -> None:
    async with House(luns, io_uring=io_uring) as house:
        guest = await house.connect()
        session = house.adapter.session_id
        short, long = house.short_road(session), house.long_road(session)
        await asyncio.to_thread(
            lambda: [guest.scsi(1, 0, cdb.read_10(0, 1), data_in=512) for _ in range(50)]
        )
        assert house.short_road(session) - short == 50
        assert house.long_road(session) == long
        guest.close()


async def _close_gate_under_writes(times: int, folder: Path, io_uring: bool) -> None:
    image = folder / "disk.img"
    image.write_bytes(bytes(64 << 20))
    async with House([f"0:0:0:0={image}"], io_uring=io_uring) as house:
        house.listen(folder / "socket")
        writer = driver.start(folder / "socket", "--rw", "randwrite", "--iodepth", "32")
        try:
            await _until(lambda: _short(house) > 1000, "1000 writes on the short road", writer)
            gate = house.gate(0)
            for _ in range(times):
                await gate.close(GateReason.TEST)
                at_return = _short(house)
                long = house.long_road(house.adapter.session_id)
                # The writer goes on, by the long road: what it gets done there is time in which
                # a late short-road completion would show.
                await _until(
                    lambda before=long: house.long_road(house.adapter.session_id) > before,
                    "a write on the long road",
                    writer,
                )
                assert _short(house) == at_return, "a short-road completion followed the close"
                gate.open(GateReason.TEST)
                passed = _short(house)
                await _until(
                    lambda before=passed: _short(house) > before,
                    "a write on the short road",
                    writer,
                )
        finally:
            driver.end(writer)


def _short(house: House) -> int:
    session = house.adapter.session_id
    return house.short_road(session) if session is not None else 0


async def _until(done: Callable[[], bool], what: str, writer: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(20):
        while not done():
            if writer.poll() is not None:
                pytest.fail(f"the writer ended before {what}: {writer.stderr.read().decode()}")
            await asyncio.sleep(0)


async def test_no_short_road_completion_follows_a_close(folder: Path, io_uring: bool) -> None:
    await _close_gate_under_writes(500, folder, io_uring)


@pytest.mark.long
async def test_no_short_road_completion_follows_a_close_10000(folder: Path, io_uring: bool) -> None:
    await _close_gate_under_writes(10_000, folder, io_uring)


async def test_no_write_comes_between_compare_and_write(io_uring: bool) -> None:
    """Whichever comes first, the write remains: nothing compares with its data."""
    async with House(["0:0:0:0=ram:1M"], io_uring=io_uring) as house:
        guest = await house.connect(request_queues=2)
        await asyncio.to_thread(_race, guest, 150)
        guest.close()


def _race(guest: FrontEnd, rounds: int) -> None:
    blocks = 255
    length = blocks * BLOCK
    before = bytes(length)
    assert guest.scsi(0, 0, cdb.write_16(0, blocks), data_out=before).good
    for number in range(rounds):
        after = struct.pack(">Q", number + 1) * (length // 8)
        compare = guest.submit(
            0, 0, cdb.compare_and_write(0, blocks), data_out=before + b"\xff" * length, queue=3
        )
        write = guest.submit(0, 0, cdb.write_16(0, blocks), data_out=after, queue=2)
        assert guest.wait(write).good
        outcome = guest.wait(compare)
        assert outcome.good or outcome.sense_code == (0xE, 0x1D, 0), outcome
        back = guest.scsi(0, 0, cdb.read_16(0, blocks), data_in=length).data
        if back != after:
            pytest.fail(f"round {number}: a write came in between: {back[:8].hex()}")
        before = after
