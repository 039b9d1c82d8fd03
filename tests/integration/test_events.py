"""The event ring: what a guest is told of LUNs that come, go and change."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness import peer as wire
from tests.harness.frontend import (
    ABORTED,
    BAD_TARGET,
    CONTROL,
    EVENT_IDX,
    INCORRECT_LUN,
    INDIRECT_DESC,
    PROTOCOL_FEATURES,
    VERSION_1,
    FrontEnd,
    lun_field,
)
from tests.harness.house import House
from tests.harness.peer import Peer
from vhost_pvscsi.devices.pdev import parse_lun
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import Address
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.transports.base import Announcement, Happening
from vhost_pvscsi.transports.vhost_user.events import LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BASE = VERSION_1 | INDIRECT_DESC | EVENT_IDX | PROTOCOL_FEATURES
HOTPLUG, CHANGE = 1 << 1, 1 << 2  # virtio 1.2, 5.6.3
TRANSPORT_RESET, PARAM_CHANGE, MISSED = 1, 3, 1 << 31
RESCAN, REMOVED = 1, 2


@asynccontextmanager
async def told(
    *luns: str, features: int = HOTPLUG | CHANGE
) -> AsyncIterator[tuple[House, FrontEnd]]:
    """A virtual host with a guest that hears such events and has heard its unit attentions."""
    async with House(luns or ["0:0:0:0=ram:1M"]) as house:
        sock = house.plug()

        def start() -> FrontEnd:
            guest = FrontEnd(Peer(sock), features=BASE | features).start()
            for mapping in house.adapter.table:
                guest.ready(mapping.address.target, mapping.address.lun)
            return guest

        guest = await asyncio.to_thread(start)
        try:
            yield house, guest
        finally:
            await asyncio.to_thread(guest.close)


async def attach(house: House, text: str) -> None:
    lun = parse_lun(text)
    await house.adapter.attach(lun.address, house.units.make(lun))


async def next_event(guest: FrontEnd) -> tuple[int, bytes, int]:
    def wait() -> tuple[int, bytes, int]:
        return guest.wait_event(guest.offer_events(1)[0])

    return await asyncio.to_thread(wait)


@pytest.mark.parametrize(("lun", "field"), [(1, b"\0\1"), (255, b"\0\xff"), (256, b"\x41\0")])
async def test_a_lun_that_comes_and_goes_is_told(lun: int, field: bytes) -> None:
    async with told() as (house, guest):
        [first, second] = guest.offer_events(2)
        await attach(house, f"0:0:0:{lun}=ram:1M")
        where = b"\1\0" + field + bytes(4)
        assert await asyncio.to_thread(guest.wait_event, first) == (TRANSPORT_RESET, where, RESCAN)
        await asyncio.to_thread(guest.ready, 0, lun)
        assert await house.adapter.detach(Address(0, 0, 0, lun))
        event = await asyncio.to_thread(guest.wait_event, second)
        assert event == (TRANSPORT_RESET, where, REMOVED)
        gone = await asyncio.to_thread(guest.scsi, 0, lun, bytes(6))
        assert gone.sense_code == (5, 0x25, 0)


async def test_other_luns_of_the_target_report_that_luns_changed() -> None:
    async with told("0:0:0:0=ram:1M", "0:0:1:0=ram:1M") as (house, guest):
        await attach(house, "0:0:0:1=ram:1M")
        told_so = await asyncio.to_thread(guest.scsi, 0, 0, bytes(6))
        assert told_so.sense_code == (6, 0x3F, 0x0E)
        assert (await asyncio.to_thread(guest.scsi, 1, 0, bytes(6))).good


async def test_a_removed_lun_ends_its_commands_first() -> None:
    async with told("0:0:0:0=ram:1M", "0:0:0:1=null:1G,latency=3600s") as (house, guest):
        held = guest.submit(0, 1, cdb.read_10(0, 1), data_in=512)
        await asyncio.to_thread(guest.synchronize)
        assert await house.adapter.detach(Address(0, 0, 0, 1))
        assert guest.is_done(held)
        assert guest.wait(held).response == ABORTED
        with pytest.raises(ConfigurationError, match="has nothing at"):
            await house.adapter.detach(Address(0, 0, 0, 1))


async def test_events_wait_for_buffers_that_come_later() -> None:
    async with told() as (house, guest):
        await attach(house, "0:0:0:1=ram:1M")
        await attach(house, "0:0:0:2=ram:1M")
        for lun in (1, 2):
            event, where, reason = await next_event(guest)
            assert (event, where[3], reason) == (TRANSPORT_RESET, lun, RESCAN)


async def test_more_events_than_are_kept_are_missed_and_the_guest_is_told() -> None:
    async with told() as (house, guest):
        for number in range(LIMIT + 9):
            house.adapter.announce(Announcement(Happening.LUN_RESET, 0, number % 200))
        events = [(await next_event(guest))[0] for _ in range(LIMIT)]
        assert any(event & MISSED for event in events)


async def test_changed_parameters_are_told() -> None:
    async with told() as (house, guest):
        [buffer] = guest.offer_events(1)
        unit = next(iter(house.adapter.table)).unit
        await unit.attend(sense.CAPACITY_DATA_HAS_CHANGED)  # type: ignore[attr-defined]
        event = await asyncio.to_thread(guest.wait_event, buffer)
        assert event == (PARAM_CHANGE, b"\1" + bytes(7), 0x092A)


async def test_nothing_is_told_to_a_guest_that_did_not_ask() -> None:
    async with told(features=0) as (house, guest):
        [buffer] = guest.offer_events(1)
        await attach(house, "0:0:0:1=ram:1M")
        unit = next(iter(house.adapter.table)).unit
        await unit.attend(sense.CAPACITY_DATA_HAS_CHANGED)  # type: ignore[attr-defined]
        # A hard reset is no hot-plug: it comes first, as nothing was before it.
        house.adapter.announce(Announcement(Happening.LUN_RESET, 0, 0))
        event = await asyncio.to_thread(guest.wait_event, buffer)
        assert event == (TRANSPORT_RESET, b"\1" + bytes(7), 0)


async def test_a_device_reset_is_a_unit_attention() -> None:
    async with told() as (_, guest):

        def restart() -> tuple[int, int, int]:
            guest.peer.send(wire.RESET_DEVICE)
            guest.synchronize()
            for queue in guest.queues:
                guest.start_ring(queue.index)
            return guest.scsi(0, 0, bytes(6)).sense_code

        assert await asyncio.to_thread(restart) == (6, 0x29, 2)


@pytest.mark.parametrize("type_", [1, 2])
@pytest.mark.parametrize(
    ("target", "lun", "response"), [(0, 0, 0), (0, 7, INCORRECT_LUN), (9, 0, BAD_TARGET)]
)
async def test_a_disk_has_no_notifications(
    type_: int, target: int, lun: int, response: int
) -> None:
    async with told() as (_, guest):

        def ask() -> tuple[int, bytes]:
            data = struct.pack("<I8sI", type_, lun_field(target, lun), 0xFF)
            return guest.wait_bytes(guest.submit_bytes(CONTROL, data, 5, name="AN"))

        assert await asyncio.to_thread(ask) == (5, bytes((0, 0, 0, 0, response)))
