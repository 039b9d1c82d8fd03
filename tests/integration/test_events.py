"""The event ring: what a guest is told of LUNs that come, go and change."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.harness import peer as wire
from tests.harness.frontend import (
    BAD_TARGET,
    CONTROL,
    EVENT,
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
from tests.harness.sharing import HOST_1, second_host
from vhost_pvscsi.devices.emulated.disk import EmulatedDisk
from vhost_pvscsi.devices.pdev import parse_lun
from vhost_pvscsi.identity import Address
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.transports.base import Announcement, Happening
from vhost_pvscsi.transports.vhost_user.events import LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BASE = VERSION_1 | INDIRECT_DESC | EVENT_IDX | PROTOCOL_FEATURES
HOTPLUG, CHANGE = 1 << 1, 1 << 2  # virtio 1.2, 5.6.3
TRANSPORT_RESET, PARAM_CHANGE, MISSED = 1, 3, 1 << 31
ASYNC_NOTIFY = 2
HARD, RESCAN, REMOVED = 0, 1, 2
AN_QUERY, AN_SUBSCRIBE = 1, 2
OPERATIONAL_CHANGE, MEDIA_CHANGE = 2, 16  # virtio 1.2, 5.6.6.2
LUN_RESET = 5


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


async def next_event(guest: FrontEnd) -> tuple[int, int, int]:
    """The event that a new buffer gets: type, LUN below 256, reason."""

    def wait() -> tuple[int, int, int]:
        event, where, reason = guest.wait_event(guest.offer_events(1)[0])
        return event, where[3], reason

    return await asyncio.to_thread(wait)


def reset_of(house: House, *luns: int) -> None:
    """Tell of units that were reset: events that need no feature bit."""
    for lun in luns:
        house.adapter.announce(Announcement(Happening.LUN_RESET, 0, lun))


def disk(house: House) -> EmulatedDisk:
    unit = next(iter(house.adapter.table)).unit
    assert isinstance(unit, EmulatedDisk)
    return unit


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


async def test_events_wait_for_buffers_that_come_later() -> None:
    async with told() as (house, guest):
        await attach(house, "0:0:0:1=ram:1M")
        await attach(house, "0:0:0:2=ram:1M")
        assert await next_event(guest) == (TRANSPORT_RESET, 1, RESCAN)
        assert await next_event(guest) == (TRANSPORT_RESET, 2, RESCAN)


async def test_more_events_than_are_kept_are_missed_and_the_guest_is_told() -> None:
    async with told() as (house, guest):
        reset_of(house, *range(LIMIT + 9))
        events = [await next_event(guest) for _ in range(LIMIT)]
        # The next one that is told says it, before those that were kept with it.
        assert events[0] == (TRANSPORT_RESET | MISSED, 0, HARD)
        assert events[1:] == [(TRANSPORT_RESET, lun, HARD) for lun in range(1, LIMIT)]
        reset_of(house, 99)
        assert await next_event(guest) == (TRANSPORT_RESET, 99, HARD)


async def test_an_event_that_a_buffer_cannot_hold_is_missed() -> None:
    async with told() as (house, guest):
        short = guest.submit_bytes(EVENT, b"", 15, name="an event buffer that is too short")
        reset_of(house, 1, 2, 3)
        assert await asyncio.to_thread(guest.wait_bytes, short) == (0, b"\xa5" * 15)
        assert await next_event(guest) == (TRANSPORT_RESET | MISSED, 2, HARD)
        assert await next_event(guest) == (TRANSPORT_RESET, 3, HARD)


async def test_an_event_waits_while_its_ring_is_stopped() -> None:
    async with told() as (house, guest):
        reset_of(house, 1, 2)

        def restart() -> int:
            base = guest.stop_ring(EVENT)
            guest.start_ring(EVENT, base)
            return base

        assert await asyncio.to_thread(restart) == 0
        assert await next_event(guest) == (TRANSPORT_RESET, 1, HARD)
        assert await next_event(guest) == (TRANSPORT_RESET, 2, HARD)


async def test_changed_parameters_are_told() -> None:
    async with told() as (house, guest):
        [buffer] = guest.offer_events(1)
        unit = next(iter(house.adapter.table)).unit
        await unit.attend(sense.CAPACITY_DATA_HAS_CHANGED)  # type: ignore[attr-defined]
        event = await asyncio.to_thread(guest.wait_event, buffer)
        assert event == (PARAM_CHANGE, b"\1" + bytes(7), 0x092A)


async def test_a_change_is_told_once_until_the_guest_has_looked() -> None:
    async with told() as (house, guest):
        for _ in range(2):
            await disk(house).attend(sense.CAPACITY_DATA_HAS_CHANGED)
        reset_of(house, 1)
        assert await next_event(guest) == (PARAM_CHANGE, 0, 0x092A)
        assert await next_event(guest) == (TRANSPORT_RESET, 1, HARD)


async def test_a_change_that_a_pending_reset_hides_is_not_told() -> None:
    async with told() as (house, guest):
        await disk(house).attend(sense.SCSI_BUS_RESET)
        await disk(house).attend(sense.CAPACITY_DATA_HAS_CHANGED)
        reset_of(house, 1)
        assert await next_event(guest) == (TRANSPORT_RESET, 1, HARD)


async def test_a_reset_of_a_shared_unit_is_told_to_the_others() -> None:
    async with told() as (house, guest), second_host(house) as other:
        for _ in range(2):  # the unit attention of the first is still pending at the second
            answer = await asyncio.to_thread(other.guest.tmf, LUN_RESET, 0, HOST_1.lun)
            assert answer == 0
        reset_of(house, 9)
        assert await next_event(guest) == (TRANSPORT_RESET, 0, HARD)
        assert await next_event(guest) == (TRANSPORT_RESET, 9, HARD)
        # Who asked for it hears of it by the answer alone.
        other.adapter.announce(Announcement(Happening.LUN_RESET, 0, 7))
        assert await next_event(other.guest) == (TRANSPORT_RESET, 7, HARD)


async def test_nothing_is_told_to_a_guest_that_did_not_ask() -> None:
    async with told(features=0) as (house, guest):
        await attach(house, "0:0:0:1=ram:1M")
        await disk(house).attend(sense.CAPACITY_DATA_HAS_CHANGED)
        # A hard reset is no hot-plug: it comes first, as nothing was before it.
        reset_of(house, 5)
        assert await next_event(guest) == (TRANSPORT_RESET, 5, HARD)


def reset_device(guest: FrontEnd) -> None:
    guest.peer.send(wire.RESET_DEVICE)
    guest.synchronize()
    for queue in guest.queues:
        guest.start_ring(queue.index)


async def test_a_device_reset_is_a_unit_attention() -> None:
    async with told() as (_, guest):
        await asyncio.to_thread(reset_device, guest)
        assert (await asyncio.to_thread(guest.scsi, 0, 0, bytes(6))).sense_code == (6, 0x29, 2)


# -- asynchronous notifications


class Changer:
    """A disk that tells of other media, as units of MMC's kinds do."""

    notifications = OPERATIONAL_CHANGE | MEDIA_CHANGE

    def __init__(self, disk: EmulatedDisk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> object:
        return getattr(self._disk, name)


@asynccontextmanager
async def subscribed() -> AsyncIterator[tuple[House, FrontEnd]]:
    """A guest that has subscribed to MEDIA CHANGE of LUN 3."""
    async with told(features=0) as (house, guest):
        unit = Changer(house.units.make(parse_lun("0:0:0:3=ram:1M")))
        await house.adapter.attach(Address(0, 0, 0, 3), unit)  # type: ignore[arg-type]
        assert await ask(guest, AN_SUBSCRIBE, 3, MEDIA_CHANGE) == (MEDIA_CHANGE, 0)
        yield house, guest


async def ask(guest: FrontEnd, type_: int, lun: int, events: int) -> tuple[int, int]:
    """AN_QUERY or AN_SUBSCRIBE: `event_actual` and the response."""

    def send() -> tuple[int, int]:
        data = struct.pack("<I8sI", type_, lun_field(0, lun), events)
        written, answer = guest.wait_bytes(guest.submit_bytes(CONTROL, data, 5, name="AN"))
        assert written == 5
        return struct.unpack("<IB", answer)

    return await asyncio.to_thread(send)


def notify(house: House, events: int) -> None:
    house.adapter.announce(Announcement(Happening.NOTIFICATION, 0, 3, events))


async def test_notifications_are_told_to_who_subscribed() -> None:
    async with subscribed() as (house, guest):
        both = OPERATIONAL_CHANGE | MEDIA_CHANGE
        assert await ask(guest, AN_QUERY, 3, 0xFF) == (both, 0)
        notify(house, both)
        notify(house, OPERATIONAL_CHANGE)
        reset_of(house, 1)
        assert await next_event(guest) == (ASYNC_NOTIFY, 3, MEDIA_CHANGE)
        assert await next_event(guest) == (TRANSPORT_RESET, 1, HARD)


async def test_a_subscription_takes_the_place_of_the_last() -> None:
    async with subscribed() as (house, guest):
        assert await ask(guest, AN_SUBSCRIBE, 3, 0) == (0, 0)
        notify(house, MEDIA_CHANGE)
        reset_of(house, 1)
        assert await next_event(guest) == (TRANSPORT_RESET, 1, HARD)


async def test_a_subscription_goes_with_its_lun() -> None:
    async with subscribed() as (house, guest):
        assert await house.adapter.detach(Address(0, 0, 0, 3))
        await attach(house, "0:0:0:3=ram:2M")
        notify(house, MEDIA_CHANGE)
        reset_of(house, 1)
        assert await next_event(guest) == (TRANSPORT_RESET, 1, HARD)


async def test_a_device_reset_forgets_what_waits_was_missed_or_subscribed_to() -> None:
    async with subscribed() as (house, guest):
        for _ in range(2):  # the flag goes with the first event, and is set again behind it
            reset_of(house, *range(100, 100 + LIMIT + 9))
            await asyncio.to_thread(guest.synchronize)
        await asyncio.to_thread(reset_device, guest)
        notify(house, MEDIA_CHANGE)
        reset_of(house, 1)
        assert await next_event(guest) == (TRANSPORT_RESET, 1, HARD)


async def test_a_front_end_that_comes_again_begins_anew() -> None:
    async with subscribed() as (house, guest):
        reset_of(house, *range(100, 100 + LIMIT + 9))
        guest.leave()
        again = await house.connect()
        try:
            notify(house, MEDIA_CHANGE)
            reset_of(house, 1)
            assert await next_event(again) == (TRANSPORT_RESET, 1, HARD)
        finally:
            await asyncio.to_thread(again.close)


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
