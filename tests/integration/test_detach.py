"""What becomes of a unit's state, and of its commands, when one of its LUNs is taken away."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, cast

import pytest

from tests.harness import commands as cdb
from tests.harness.answers import describe
from tests.harness.frontend import ABORTED
from tests.harness.house import House
from tests.harness.persistent import REGISTER, RESERVE, out
from tests.harness.sharing import HOST_0, HOST_1, second_host
from vhost_pvscsi import tasks
from vhost_pvscsi.devices.pdev import parse_lun
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import Address
from vhost_pvscsi.scsi.request import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.frontend import FrontEnd
    from vhost_pvscsi.devices.emulated.disk import EmulatedDisk
    from vhost_pvscsi.devices.unit import AttachableUnit
    from vhost_pvscsi.scsi.request import Request

KEY, EXCLUSIVE = 0xAAAA, 3
RESERVE_6 = bytes((0x16, 0, 0, 0, 0, 0))
CONFLICT = "RESERVATION CONFLICT"
SHARED = "0:0:0:0=ram:1M,share=on"


@asynccontextmanager
async def guest_of(house: House) -> AsyncIterator[FrontEnd]:
    """A guest that leaves, and takes its commands along, also where the test has failed."""
    guest = await house.connect()
    try:
        yield guest
    finally:
        await asyncio.to_thread(guest.close)


async def ask(guest: FrontEnd, lun: int = 0, command: bytes = bytes(6), room: int = 0) -> str:
    return describe(await asyncio.to_thread(guest.scsi, 0, lun, command, data_in=room))


async def read(guest: FrontEnd, lun: int = 0) -> str:
    return await ask(guest, lun, cdb.read_10(0, 1), 512)


async def test_a_reserve_ends_with_its_lun() -> None:
    async with House([SHARED]) as house, second_host(house) as other, guest_of(house) as guest:
        assert await ask(guest, command=RESERVE_6) == "GOOD"
        assert await read(other.guest) == CONFLICT
        assert await house.adapter.detach(HOST_0)
        session = other.adapter.session_id
        assert session is not None
        before = house.short_road(session)
        assert await read(other.guest) == "GOOD"
        assert house.short_road(session) == before + 1, "its gate stayed shut"


async def test_a_persistent_reservation_outlives_its_lun() -> None:
    async with House([SHARED]) as house, second_host(house) as other:
        unit = house.adapter.unit_at(HOST_0)
        async with guest_of(house) as guest:
            assert await asyncio.to_thread(out, guest, REGISTER, 0, KEY) == "GOOD"
            assert await asyncio.to_thread(out, guest, RESERVE, KEY, type_=EXCLUSIVE) == "GOOD"
            assert await house.adapter.detach(HOST_0)
            assert await read(other.guest) == CONFLICT
            await house.adapter.attach(HOST_0, unit)
            assert await ask(guest) == "6h/29h/01h"
            assert await read(guest) == "GOOD"
            assert await read(other.guest) == CONFLICT


async def test_a_reserve_stays_while_the_nexus_has_another_lun_of_the_unit() -> None:
    both = [SHARED, SHARED.replace("0:0:0:0", "0:0:0:1")]
    async with House(both) as house, second_host(house) as other, guest_of(house) as guest:
        assert await ask(guest, 0, RESERVE_6) == "GOOD"
        assert await house.adapter.detach(HOST_0)
        assert await ask(guest, 1) == "6h/3Fh/0Eh"
        assert await read(guest, 1) == "GOOD"
        assert await read(other.guest) == CONFLICT
        assert await house.adapter.detach(Address(0, 0, 0, 1))
        assert await read(other.guest) == "GOOD"


async def test_commands_that_hurry_end_by_themselves() -> None:
    async with House(["0:0:0:0=ram:1M,latency=300ms"]) as house, guest_of(house) as guest:
        held = guest.submit(0, 0, cdb.read_10(0, 1), data_in=512)
        await asyncio.to_thread(guest.synchronize)
        assert await house.adapter.detach(HOST_0, patience=10)
        assert guest.is_done(held)
        assert guest.wait(held).good


async def test_commands_that_do_not_are_ended() -> None:
    async with House(["0:0:0:0=null:1G,latency=3600s"]) as house, guest_of(house) as guest:
        held = guest.submit(0, 0, cdb.read_10(0, 1), data_in=512)
        await asyncio.to_thread(guest.synchronize)
        assert await house.adapter.detach(HOST_0, patience=0)
        assert guest.is_done(held)
        assert guest.wait(held).response == ABORTED
        assert (await ask(guest)) == "BAD_TARGET"
        with pytest.raises(ConfigurationError, match="has nothing at"):
            await house.adapter.detach(HOST_0)


class Stubborn:
    """A disk whose READs do not end, whoever wants it: a device that the kernel waits for."""

    medium = None
    medium_opcodes: frozenset[int] = frozenset()

    def __init__(self, disk: EmulatedDisk) -> None:
        self._disk = disk
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._disk, name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.may_end.set()

    async def execute(self, request: Request) -> Reply:
        if request.opcode != cdb.read_10(0, 1)[0]:
            return await self._disk.execute(request)
        self.begun.set()
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                continue
        return Reply()


async def test_a_lun_whose_command_does_not_end_stays_offline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "TMF_DEADLINE", 0.1)
    async with House(["0:0:0:0=ram:1M"]) as house:
        unit = Stubborn(house.units.make(parse_lun("0:0:0:1=ram:1M")))
        place = Address(0, 0, 0, 1)
        await house.adapter.attach(place, cast("AttachableUnit", unit))
        async with guest_of(house) as guest, unit:
            held = guest.submit(0, 1, cdb.read_10(0, 1), data_in=512)
            await asyncio.wait_for(unit.begun.wait(), 10)
            assert not await house.adapter.detach(place, patience=0)
            assert not guest.is_done(held)
            assert cast("object", house.adapter.unit_at(place)) is unit
            assert await ask(guest, 1) == "4h/3Eh/01h"
            assert await ask(guest, 0) == "GOOD", "guests are told that a LUN went which is there"
            unit.may_end.set()
            assert (await asyncio.to_thread(guest.wait, held)).response == ABORTED
            assert await house.adapter.detach(place, patience=0)
            assert await ask(guest, 1) == "5h/25h/00h"
            assert await ask(guest, 0) == "6h/3Fh/0Eh"


async def test_a_place_that_was_left_can_be_taken_again() -> None:
    async with House([SHARED]) as house, second_host(house) as other, guest_of(house) as guest:
        assert await other.adapter.detach(HOST_1)
        assert list(other.adapter.units) == []
        unit = house.units.make(parse_lun("1:0:0:0=ram:2M"))
        await other.adapter.attach(HOST_1, unit)
        assert await ask(other.guest) == "6h/29h/01h"
        assert await read(other.guest) == await read(guest) == "GOOD"
