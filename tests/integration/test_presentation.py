"""One unit, shown differently at different addresses: names, write protection, policy."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness import copying
from tests.harness.frontend import FrontEnd
from tests.harness.house import House

from .test_roads import CALLS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.frontend import Response

    from .conftest import MakeDaemon

WRITE_PROTECTED = (7, 0x27, 0)
INVALID_OPCODE = (5, 0x20, 0)
NAA = "3123456789abcdef"


@pytest.fixture
def guests(make_daemon: MakeDaemon, folder: Path) -> Iterator[tuple[FrontEnd, FrontEnd]]:
    """Two guests that share an image; the second may not write, and is told other names."""
    image = folder / "disk.img"
    image.write_bytes(bytes(1 << 20))
    shown = f"ro,serial=SECOND,wwn={NAA},vendor=OTHER,product=DISK"
    daemon = make_daemon(
        [f"0:0:0:0={image},share=on", f"1:0:0:0={image},share=on,{shown}"], sockets=2
    )
    with FrontEnd(daemon.sockets[0]) as first, FrontEnd(daemon.sockets[1]) as second:
        for guest in (first, second):
            guest.ready()
        yield first, second


def page(guest: FrontEnd, target: int, code: int) -> bytes:
    """The body of a VPD page."""
    data = guest.scsi(target, 0, cdb.inquiry(255, page=code), data_in=255).data
    return data[4 : 4 + int.from_bytes(data[2:4], "big")]


def test_one_guest_writes_and_the_other_may_only_read(guests: tuple[FrontEnd, FrontEnd]) -> None:
    first, second = guests
    assert first.scsi(0, 0, cdb.write_10(3, 1), data_out=b"w" * 512).good
    refused = second.scsi(0, 0, cdb.write_10(3, 1), data_out=b"x" * 512)
    assert refused.sense_code == WRITE_PROTECTED
    assert second.scsi(0, 0, cdb.read_10(3, 1), data_in=512).data == b"w" * 512
    # MODE SENSE(6), all pages: WP
    sense = bytes.fromhex("1a003f00ff00")
    assert not first.scsi(0, 0, sense, data_in=255).data[2] & 0x80
    assert second.scsi(0, 0, sense, data_in=255).data[2] & 0x80


def test_each_guest_sees_the_names_of_its_own_lun(guests: tuple[FrontEnd, FrontEnd]) -> None:
    first, second = guests
    serials = [page(guest, 0, 0x80) for guest in guests]
    assert serials[1] == b"SECOND"
    assert serials[0] != serials[1]
    assert second.scsi(0, 0, cdb.inquiry(96), data_in=96).data[8:32] == b"OTHER   DISK            "
    assert first.scsi(0, 0, cdb.inquiry(96), data_in=96).data[8:16] == b"VHPVSCSI"
    assert page(second, 0, 0x83)[4:12].hex() == NAA


async def test_a_protected_lun_answers_as_a_read_only_unit_on_both_roads(io_uring: bool) -> None:
    luns = ["0:0:0:0=ram:64K,ro", "0:0:1:0=ram:64K,share=on", "0:0:2:0=ram:64K,share=on,ro"]
    async with House(luns, io_uring=io_uring) as house:
        guest = await house.connect()
        for command, out, room in CALLS:

            def ask(
                target: int, command: bytes = command, out: bytes = out, room: int = room
            ) -> tuple[object, ...]:
                answer = guest.scsi(target, 0, command, data_out=out, data_in=room)
                return answer.response, answer.status, answer.sense, answer.resid

            answers = {await asyncio.to_thread(ask, target) for target in (0, 2)}
            for target in (0, 2):
                answers.add(await house.on_long_road(target, partial(ask, target)))
            assert len(answers) == 1, (command.hex(" "), answers)
        await asyncio.to_thread(guest.close)


@pytest.mark.parametrize(
    "option", ["deny=write-10", "deny=0x2a+unmap", "deny=write", "raw,deny=write"]
)
def test_a_denied_medium_command_is_refused_and_counted(
    make_daemon: MakeDaemon, option: str
) -> None:
    daemon = make_daemon([f"0:0:0:0=ram:1M,{option}"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        for _ in range(3):
            refused = guest.scsi(0, 0, cdb.write_10(0, 1), data_out=bytes(512))
            assert refused.sense_code == INVALID_OPCODE
        assert guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512).good
        # REPORT SUPPORTED OPERATION CODES, one command: not supported
        asked = bytes.fromhex("a30c012a0000000000400000")
        assert guest.scsi(0, 0, asked, data_in=64).data[1] & 7 == 1
    daemon.wait_for_line("refused")
    lines = [line for line in daemon.log().splitlines() if "refused" in line]
    assert len(lines) == 1
    assert "0:0:0:0 (ram:1M): command write-10 (2Ah) refused: deny=" in lines[0]


def test_a_copy_heeds_the_names_and_the_protection_that_a_guest_sees(
    make_daemon: MakeDaemon,
) -> None:
    daemon = make_daemon(
        ["0:0:0:0=ram:1M", "0:0:1:0=ram:1M,share=on", f"0:0:2:0=ram:1M,share=on,ro,wwn={NAA}"]
    )
    with FrontEnd(daemon.socket) as guest:
        for target in range(3):
            guest.ready(target)

        def name(target: int) -> bytes:
            body = page(guest, target, 0x83)
            return body[: 4 + body[3]]

        def copy(destination: bytes) -> Response:
            cscds = [copying.cscd(name(0)), copying.cscd(destination)]
            data = copying.lid1(cscds, [copying.segment(0, 1, 4)])
            return guest.scsi(0, 0, copying.extended_copy(len(data)), data_out=data)

        assert name(2)[4:].hex() == NAA
        assert copy(name(1)).good
        refused = copy(name(2))
        assert refused.sense_code == (0xA, 0x0D, 0x01)  # THIRD PARTY DEVICE FAILURE
        assert copy(copying.naa(bytes.fromhex("3fedcba987654321"))).sense_code[:2] == (0xA, 8)
