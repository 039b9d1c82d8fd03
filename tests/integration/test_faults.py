"""Fault rules, from the ring to the medium: what a guest gets, and what becomes of the data."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness.answers import describe
from tests.harness.frontend import (
    ABORTED,
    CHECK_CONDITION,
    FUNCTION_COMPLETE,
    FUNCTION_SUCCEEDED,
    OK,
    RESET_RESPONSE,
    FrontEnd,
)
from tests.harness.house import House
from vhost_pvscsi.devices.faults.parse import parse_rule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.harness.frontend import Pending, Response

    from .conftest import MakeDaemon

BLOCK = 512
DATA = bytes(range(256)) * 2 * 8
ABORT_TASK, LUN_RESET, QUERY_TASK = 0, 5, 6
BUSY_STATUS = 0x08


class Stage:
    """A guest, and the fault rules of its LUNs: a file, a RAM disk, a read-only RAM disk."""

    def __init__(self, house: House, guest: FrontEnd) -> None:
        self.house = house
        self.guest = guest

    def faults(self, target: int):
        return next(m.unit.faults for m in self.house.adapter.table if m.address.target == target)

    async def set_rules(self, *rules: str, target: int = 0) -> None:
        await self.faults(target).set_rules([parse_rule(rule) for rule in rules])

    async def ask(
        self, command: bytes, *, target: int = 0, out: bytes = b"", room: int = 0
    ) -> Response:
        return await asyncio.to_thread(
            self.guest.scsi, target, 0, command, data_out=out, data_in=room
        )

    async def fill(self, *, target: int = 0) -> None:
        assert (await self.ask(cdb.write_10(0, 8), target=target, out=DATA)).good

    async def content(self, *, target: int = 0) -> bytes:
        answer = await self.ask(cdb.read_10(0, 8), target=target, room=4096)
        assert answer.good
        return answer.data

    async def hang(self, target: int = 0, *, rule: str = "opcode=read:hang", tag: int) -> Pending:
        """Have a READ hang."""
        await self.set_rules(rule, target=target)
        pending = self.guest.submit(target, 0, cdb.read_10(0, 8), data_in=4096, tag=tag)
        async with asyncio.timeout(10):
            while True:
                if sum(one.held for one in self.faults(target).rules):
                    return pending
                await asyncio.sleep(0)

    async def wait(self, pending: Pending) -> Response:
        return await asyncio.to_thread(self.guest.wait, pending)

    def roads(self) -> tuple[int, int]:
        session = self.house.adapter.session_id
        assert session is not None
        return self.house.short_road(session), self.house.long_road(session)


@pytest.fixture
async def stage(tmp_path: Path, io_uring: bool) -> AsyncIterator[Stage]:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1 << 20))
    luns = [f"0:0:0:0={image}", "0:0:1:0=ram:1M", "0:0:2:0=ram:1M,ro"]
    async with House(luns, io_uring=io_uring) as house:
        guest = await house.connect()
        yield Stage(house, guest)
        guest.close()


ON_FILE_AND_RAM = pytest.mark.parametrize("target", [0, 1], ids=["file", "ram"])


# -- each thing that a rule does


async def test_a_status_and_nothing_is_done(stage: Stage) -> None:
    await stage.fill()
    await stage.set_rules("opcode=write:status=busy")
    answer = await stage.ask(cdb.write_10(0, 8), out=DATA[::-1])
    assert (answer.response, answer.status, answer.resid) == (OK, BUSY_STATUS, 4096)
    assert await stage.content() == DATA


async def test_a_lost_write(stage: Stage) -> None:
    await stage.fill()
    await stage.set_rules("opcode=write:status=good")
    answer = await stage.ask(cdb.write_10(0, 8), out=DATA[::-1])
    assert (answer.good, answer.resid) == (True, 0)
    assert await stage.content() == DATA


async def test_a_bad_block(stage: Stage) -> None:
    await stage.set_rules("lba=5:opcode=read:sense=unrecovered-read-error")
    answer = await stage.ask(cdb.read_10(0, 8), room=4096)
    assert describe(answer) == "3h/11h/00h"
    assert (answer.sense[0], answer.sense[3:7]) == (0xF0, bytes((0, 0, 0, 5)))
    assert answer.resid == 4096
    assert (await stage.ask(cdb.read_10(0, 5), room=2560)).good
    assert (await stage.ask(cdb.write_10(5, 1), out=bytes(512))).good


async def test_a_bad_block_after_good_ones(stage: Stage) -> None:
    await stage.fill()
    await stage.set_rules("opcode=read:short=2560:sense=3/11/00")
    answer = await stage.ask(cdb.read_10(0, 8), room=4096)
    assert describe(answer) == "3h/11h/00h"
    assert answer.sense[3:7] == bytes((0, 0, 0, 5))
    assert answer.data[:2560] == DATA[:2560]
    assert answer.resid == 4096 - 2560


async def test_a_delay(stage: Stage) -> None:
    await stage.fill()
    await stage.set_rules("opcode=read:delay=200ms")
    start = time.monotonic()
    assert await stage.content() == DATA
    assert time.monotonic() - start >= 0.2


@ON_FILE_AND_RAM
async def test_a_short_read(stage: Stage, target: int) -> None:
    await stage.fill(target=target)
    await stage.set_rules("short=1100", target=target)
    answer = await stage.ask(cdb.read_10(0, 8), target=target, room=4096)
    assert (answer.good, answer.resid) == (True, 4096 - 1024)
    assert answer.data[:1024] == DATA[:1024]
    assert answer.data[1024:] == b"\xa5" * (4096 - 1024)  # the harness' own filling


@ON_FILE_AND_RAM
async def test_a_short_write(stage: Stage, target: int) -> None:
    await stage.fill(target=target)
    await stage.set_rules("opcode=write:short=1024", target=target)
    answer = await stage.ask(cdb.write_10(0, 8), target=target, out=DATA[::-1])
    assert (answer.good, answer.resid) == (True, 4096 - 1024)
    assert await stage.content(target=target) == DATA[::-1][:1024] + DATA[1024:]


async def test_short_data_of_another_command(stage: Stage) -> None:
    whole = await stage.ask(cdb.inquiry(96), room=96)
    await stage.set_rules("opcode=inquiry:short=10")
    answer = await stage.ask(cdb.inquiry(96), room=96)
    assert (answer.good, answer.resid) == (True, 86)
    assert answer.data[:10] == whole.data[:10]


async def test_what_is_refused_is_refused_though_it_should_be_short_or_corrupt(
    stage: Stage,
) -> None:
    for rule in ("short=512", "short=512:sense=3/11/00", "corrupt"):
        await stage.set_rules(rule)
        past_the_end = await stage.ask(cdb.read_10(2047, 8), room=4096)
        assert describe(past_the_end) == "5h/21h/00h"
        assert describe(await stage.ask(cdb.read_10(0, 8), room=1024)) == "OVERRUN"
        await stage.set_rules(rule, target=2)
        protected = await stage.ask(cdb.write_10(0, 8), target=2, out=DATA)
        assert describe(protected) == "7h/27h/00h"


@ON_FILE_AND_RAM
async def test_a_corrupt_read_leaves_the_medium_as_it_is(stage: Stage, target: int) -> None:
    await stage.fill(target=target)
    await stage.set_rules("opcode=read:lba=3:times=1:corrupt=2", target=target)
    answer = await stage.ask(cdb.read_10(2, 4), target=target, room=4096)
    assert (answer.good, answer.resid) == (True, 2048)
    assert answer.data[:2048] == DATA[:512] + b"\xff\xfe" + DATA[2 : 3 * 512]
    assert await stage.content(target=target) == DATA


@ON_FILE_AND_RAM
async def test_a_corrupt_write_is_stored(stage: Stage, target: int) -> None:
    await stage.set_rules("opcode=write:lba=3-:times=1:corrupt=513", target=target)
    answer = await stage.ask(cdb.write_10(0, 8), target=target, out=DATA)
    assert (answer.good, answer.resid) == (True, 0)
    flipped = bytes(byte ^ 0xFF for byte in DATA[3 * BLOCK : 4 * BLOCK + 1])
    stored = DATA[: 3 * BLOCK] + flipped + DATA[4 * BLOCK + 1 :]
    assert await stage.content(target=target) == stored


async def test_a_corrupt_compare_and_write(stage: Stage) -> None:
    await stage.fill()
    await stage.set_rules("opcode=compare-and-write:times=1:corrupt")
    out = DATA[:512] + bytes(512)
    assert (await stage.ask(cdb.compare_and_write(0, 1), out=out)).good
    assert await stage.content() == b"\xff" + bytes(511) + DATA[512:]


async def test_a_compare_and_write_that_differs_stores_nothing(stage: Stage) -> None:
    await stage.fill()
    await stage.set_rules("opcode=compare-and-write:corrupt")
    answer = await stage.ask(cdb.compare_and_write(0, 1), out=bytes(1024))
    assert describe(answer) == "Eh/1Dh/00h"
    await stage.set_rules()
    assert await stage.content() == DATA


async def test_transports(stage: Stage) -> None:
    for name, answered in (
        ("failure", "FAILURE"),
        ("reset", "RESET"),
        ("busy", "BUSY"),
        ("aborted", "ABORTED"),
        ("absent-target", "BAD_TARGET"),
        ("overrun", "OVERRUN"),
    ):
        await stage.set_rules(f"transport={name}")
        assert describe(await stage.ask(cdb.read_10(0, 8), room=4096)) == answered


# -- commands that hang


async def test_abort_task_ends_a_read_that_hangs(stage: Stage) -> None:
    pending = await stage.hang(tag=77)
    assert not stage.guest.is_done(pending)
    found = await asyncio.to_thread(stage.guest.tmf, QUERY_TASK, 0, 0, 77)
    assert found == FUNCTION_SUCCEEDED
    done = await asyncio.to_thread(stage.guest.tmf, ABORT_TASK, 0, 0, 77)
    assert done == FUNCTION_COMPLETE
    assert stage.guest.is_done(pending), "the function was answered before the command"
    assert (await stage.wait(pending)).response == ABORTED
    assert stage.faults(0).rules[0].held == 0


async def test_a_reset_of_the_unit_ends_what_hangs_and_leaves_the_rules(stage: Stage) -> None:
    pending = await stage.hang(tag=1)
    done = await asyncio.to_thread(stage.guest.tmf, LUN_RESET, 0, 0)
    assert done == FUNCTION_COMPLETE
    assert (await stage.wait(pending)).response == RESET_RESPONSE
    [rule] = stage.faults(0).rules
    assert (rule.acted, rule.held) == (1, 0)


async def test_a_release_lets_it_go_on(stage: Stage) -> None:
    await stage.fill()
    pending = await stage.hang(tag=1)
    assert stage.faults(0).release() == 1
    answer = await stage.wait(pending)
    assert (answer.good, answer.data) == (True, DATA)


async def test_other_units_do_not_notice(stage: Stage) -> None:
    pending = await stage.hang(tag=1)
    short, long = stage.roads()
    await stage.fill(target=1)
    assert await stage.content(target=1) == DATA
    assert stage.roads() == (short + 2, long), "the other unit's gate was shut"
    assert (await stage.ask(bytes(6))).good, "the unit is stuck, and not the command alone"
    stage.faults(0).release()
    await stage.wait(pending)


async def test_a_front_end_that_leaves_takes_its_hanging_commands_along(
    tmp_path: Path, io_uring: bool
) -> None:
    async with House(["0:0:0:0=ram:1M"], io_uring=io_uring) as house:
        guest = await house.connect()
        stage = Stage(house, guest)
        await stage.hang(tag=1)
        guest.leave()
        async with asyncio.timeout(10):
            while True:
                if not stage.faults(0).rules[0].held:
                    break
                await asyncio.sleep(0)
        await stage.set_rules()
        again = await house.connect()
        answer = await asyncio.to_thread(again.scsi, 0, 0, cdb.read_10(0, 1), data_in=512)
        assert answer.good
        again.close()
        guest.close()


# -- rules and the rest of the unit


async def test_gates_open_again_when_rules_are_lifted(stage: Stage) -> None:
    await stage.fill()
    short, long = stage.roads()
    await stage.set_rules("opcode=write:lba=1000:hang")
    await stage.content()
    assert stage.roads() == (short, long + 1)
    await stage.set_rules()
    await stage.content()
    assert stage.roads() == (short + 1, long + 1)


async def test_gates_open_again_when_all_rules_are_spent(stage: Stage) -> None:
    await stage.fill()
    short, long = stage.roads()
    await stage.set_rules("opcode=read:nth=2:status=busy")
    statuses = [(await stage.ask(cdb.read_10(0, 8), room=4096)).status for _ in range(3)]
    assert statuses == [0, BUSY_STATUS, 0]
    assert stage.roads() == (short + 1, long + 2)


async def test_unit_attentions_come_first_and_are_not_counted(stage: Stage) -> None:
    await stage.set_rules("nth=1:status=busy")
    assert await asyncio.to_thread(stage.guest.tmf, LUN_RESET, 0, 0) == FUNCTION_COMPLETE
    assert describe(await stage.ask(bytes(6))) == "6h/29h/03h"
    assert (await stage.ask(bytes(6))).status == BUSY_STATUS
    assert (await stage.ask(bytes(6))).good


async def test_a_unit_that_refuses_is_not_made_corrupt(stage: Stage) -> None:
    """What a rule does to the medium, it does where the command is let through."""
    await stage.fill()
    assert (await stage.ask(bytes.fromhex("1b 00 00 00 00 00"))).good  # stopped
    await stage.set_rules("opcode=write:corrupt", "opcode=read:corrupt")
    assert describe(await stage.ask(cdb.write_10(0, 8), out=DATA)) == "2h/04h/02h"
    assert describe(await stage.ask(cdb.read_10(0, 8), room=4096)) == "2h/04h/02h"
    await stage.set_rules()
    assert (await stage.ask(bytes.fromhex("1b 00 00 00 01 00"))).good
    assert await stage.content() == DATA


async def test_sense_has_the_format_that_the_guest_chose(stage: Stage) -> None:
    control = bytes.fromhex("00 00 00 00 0a 0a 06 10 00 00 00 00 ff ff 00 00")
    select = bytes.fromhex("15 10 00 00 10 00")
    assert (await stage.ask(select, out=control)).good
    await stage.set_rules("opcode=read:sense=3/11/00")
    answer = await stage.ask(cdb.read_10(5, 1), room=512)
    assert answer.status == CHECK_CONDITION
    assert answer.sense[:4] == bytes((0x72, 3, 0x11, 0))
    assert int.from_bytes(answer.sense[12:20], "big") == 5


# -- the program's own options


def test_rules_of_the_command_line_and_of_a_file(make_daemon: MakeDaemon, folder: Path) -> None:
    rules = folder / "rules.toml"
    rules.write_text('[[rule]]\nopcode = "write"\ntimes = 1\nsense = "write-error"\n')
    rule = "opcode=read:lba=8-15:sense=3/11/00"
    daemon = make_daemon([f"0:0:0:0=ram:1M,fault={rule},fault-file={rules}", "0:0:1:0=ram:1M"])
    assert "0:0:0:0: ram:1M fails on purpose: 2 fault rules are set" in daemon.log()
    with FrontEnd(daemon.socket) as guest:
        guest.ready(0)
        guest.ready(1)
        for target, answers in (
            (0, ["GOOD", "3h/11h/00h", "3h/0Ch/00h", "GOOD"]),
            (1, ["GOOD"] * 4),
        ):
            assert answers == [
                describe(guest.scsi(target, 0, cdb.read_10(0, 8), data_in=4096)),
                describe(guest.scsi(target, 0, cdb.read_10(15, 1), data_in=512)),
                describe(guest.scsi(target, 0, cdb.write_10(0, 1), data_out=bytes(512))),
                describe(guest.scsi(target, 0, cdb.write_10(0, 1), data_out=bytes(512))),
            ]


def test_a_daemon_that_is_told_to_end_lets_what_hangs_go_on(
    make_daemon: MakeDaemon,
) -> None:
    rules = "fault=opcode=read:delay=300ms:hang,fault=opcode=inquiry:hang"
    daemon = make_daemon([f"0:0:0:0=ram:1M,{rules}"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        held = [
            guest.submit(0, 0, cdb.inquiry(36), data_in=36),
            guest.submit(0, 0, cdb.read_10(0, 1), data_in=512),  # does not hang yet
        ]
        guest.synchronize()
        assert (guest.scsi(0, 0, bytes(6))).good, "they have begun"
        daemon.stop()  # fails if the exit status is not 0: it gave up on them
        assert all(guest.wait(one).good for one in held)


async def test_a_rule_that_is_lifted_during_its_delay_does_not_hang(stage: Stage) -> None:
    await stage.fill()
    await stage.set_rules("opcode=read:delay=100ms:hang")
    pending = stage.guest.submit(0, 0, cdb.read_10(0, 8), data_in=4096)
    async with asyncio.timeout(10):
        while True:
            if stage.faults(0).rules[0].acted:
                break
            await asyncio.sleep(0)
    await stage.set_rules()
    assert (await stage.wait(pending)).good
