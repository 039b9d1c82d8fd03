"""Guests that share a device: what they may do, and what the device and others see of them.

The device is an emulated disk, to which this host is one nexus, "us", and another host "them".
"""

import asyncio
import contextlib
import struct

import pytest

from tests.harness.emulated import Rig, is_good
from vhost_pvscsi.devices.forwarded.limits import Limits
from vhost_pvscsi.devices.forwarded.unit import ForwardedUnit, Reserving
from vhost_pvscsi.devices.gates import Cause
from vhost_pvscsi.devices.nonvolatile import StateDirectory
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.pages import DeviceType
from vhost_pvscsi.scsi.request import Reply, Request, Status

A, B, C = 0xA, 0xB, 0xC
(REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, IGNORE) = range(7)
WRITE_EXCLUSIVE, EXCLUSIVE, WRITE_REGISTRANTS = 1, 3, 5
READ, WRITE = "28" + "00" * 9, "2a" + "00" * 9
CONFLICT = Status.RESERVATION_CONFLICT
NAA = bytes.fromhex("3000000000000001")


def out_cdb(action, type_=0):
    return struct.pack(">BBB2xIx", 0x5F, action, type_, 24)


def out_list(key, other, flags=0):
    return struct.pack(">QQ4xB3x", key, other, flags)


class Device:
    """The device, and the other host at it."""

    def __init__(self, memory=None):
        self.rig = Rig(memory)
        self.asked = []
        self.loop = asyncio.get_running_loop()

    async def plug(self):
        for nexus in ("us", "them"):
            await self.rig.disk.connect(nexus, self._keep)
            await self.rig.ask("00", nexus=nexus)
        return self

    async def _keep(self, cause, shut):
        pass

    def __call__(self, cdb, data_out=b"", room=0):
        """Answer us, on a thread that is not the loop's."""
        self.asked.append((cdb[0], cdb[1] & 0x1F))
        answer = self.rig.ask(cdb.hex(), data_out, "us")
        return asyncio.run_coroutine_threadsafe(answer, self.loop).result(10)

    async def their(self, action, key, other=0, type_=0):
        await self.rig.ask("00", nexus="them")  # whatever it has to hear
        reply = await self.rig.ask(out_cdb(action, type_).hex(), out_list(key, other), "them")
        assert is_good(reply), reply

    @property
    def state(self):
        return self.rig.disk.state.reservations

    def has(self, action):
        """How often it was asked for a PERSISTENT RESERVE OUT of that kind."""
        return self.asked.count((0x5F, action))


class Guests:
    """Two of our guests, and their gates."""

    def __init__(self, device, memory=None):
        self.device = device
        self.shut = {"host0": set(), "host1": set()}
        self.ended = []
        limits = Limits(DeviceType.DISK, 1 << 20, 512)
        self.unit = ForwardedUnit(
            "/dev/sg9", object(), limits, self._send, reserving=Reserving(device, True, memory)
        )

    async def _send(self, request, *, send=None, fetch=None):
        return Reply(transferred=0)

    async def connected(self):
        for nexus in self.shut:

            async def keep(cause, shut, nexus=nexus):
                (self.shut[nexus].add if shut else self.shut[nexus].discard)(cause)

            async def end(nexus=nexus):
                self.ended.append(nexus)

            await self.unit.connect(nexus, keep, end)
            await self.ask("00", nexus=nexus)
        return self

    async def ask(self, cdb, data=b"", nexus="host0"):
        request = Request(
            nexus,
            0,
            0,
            bytes.fromhex(cdb).ljust(32, b"\0"),
            data_out=data,
            data_out_length=len(data),
            data_in_length=4096,
        )
        return await self.unit.execute(request)

    async def out(self, nexus, action, key=0, other=0, type_=0, flags=0):
        cdb, data = out_cdb(action, type_), out_list(key, other, flags)
        return await self.ask(cdb.hex(), data, nexus)

    async def told(self, action, nexus="host0"):
        reply = await self.ask(f"5e{action:02x}0000000000100000", nexus=nexus)
        assert is_good(reply), reply
        return reply.data

    async def keys(self):
        data = await self.told(0)
        return list(struct.unpack(f">{(len(data) - 8) // 8}Q", data[8:]))

    async def may(self, nexus):
        return tuple(
            [(await self.ask(cdb, nexus=nexus)).status is not CONFLICT for cdb in (READ, WRITE)]
        )

    async def registered(self):
        assert is_good(await self.out("host0", REGISTER, 0, A))
        assert is_good(await self.out("host1", REGISTER, 0, B))
        return self


@pytest.fixture
async def guests():
    return await Guests(await Device().plug()).connected()


async def test_two_guests_have_keys_of_their_own_and_the_device_one(guests):
    await guests.registered()
    assert await guests.keys() == [A, B]
    assert guests.device.state.keys == {"us": A}


@pytest.mark.parametrize(
    ("type_", "beside"), [(WRITE_EXCLUSIVE, (True, False)), (EXCLUSIVE, (False, False))]
)
async def test_what_one_guest_reserves_stops_the_other_and_other_hosts(guests, type_, beside):
    await guests.registered()
    assert is_good(await guests.out("host0", RESERVE, A, type_=type_))
    assert await guests.may("host0") == (True, True)
    assert await guests.may("host1") == beside
    # Workers let neither a READ nor a WRITE of the other's through.
    assert Cause.RESERVATION in guests.shut["host1"]
    assert Cause.RESERVATION not in guests.shut["host0"]
    held = guests.device.state
    assert (held.holder, held.holder_key, held.type) == ("us", A, type_)
    assert (await guests.device.rig.ask("42" + "00" * 9, nexus="them")).status is CONFLICT
    assert is_good(await guests.out("host0", RELEASE, A, type_=type_))
    assert await guests.may("host1") == (True, True)
    assert guests.shut["host1"] == set()
    assert guests.device.state.type is None


async def test_a_guest_fences_another_and_the_device_stays_reserved(guests):
    await guests.registered()
    await guests.out("host0", RESERVE, A, type_=WRITE_REGISTRANTS)
    assert is_good(await guests.out("host1", PREEMPT_AND_ABORT, B, A, WRITE_REGISTRANTS))
    assert guests.ended == ["host0"]
    told = await guests.ask("00", nexus="host0")
    assert told == sense.check_condition(sense.REGISTRATIONS_PREEMPTED)
    assert await guests.keys() == [B]
    assert await guests.may("host0") == (True, False)
    assert await guests.may("host1") == (True, True)
    assert (guests.device.state.keys, guests.device.state.holder) == ({"us": B}, "us")
    # The device itself was never told to abort anything: all its commands of ours are one nexus'.
    assert guests.device.has(PREEMPT_AND_ABORT) == 0


async def test_guests_and_other_hosts_fence_each_other(guests):
    await guests.registered()
    await guests.device.their(REGISTER, 0, C)
    await guests.device.their(RESERVE, C, type_=WRITE_REGISTRANTS)
    assert await guests.keys() == [A, B, C]
    assert (await guests.told(1))[8:16] == C.to_bytes(8, "big")
    assert is_good(await guests.out("host1", PREEMPT, B, C, WRITE_REGISTRANTS))
    assert (guests.device.state.keys, guests.device.state.holder) == ({"us": B}, "us")
    assert await guests.keys() == [A, B]

    await guests.device.their(REGISTER, 0, C)
    await guests.device.their(PREEMPT, C, B, WRITE_REGISTRANTS)
    assert await guests.keys() == [C]
    for nexus in ("host0", "host1"):
        told = await guests.ask("00", nexus=nexus)
        assert told == sense.check_condition(sense.REGISTRATIONS_PREEMPTED)
        assert await guests.may(nexus) == (True, False)


async def test_what_the_device_refuses_is_refused_and_not_in_force(guests):
    await guests.registered()
    await guests.device.their(REGISTER, 0, C)
    await guests.device.their(RESERVE, C, type_=EXCLUSIVE)
    assert (await guests.out("host0", RESERVE, A, type_=EXCLUSIVE)).status is CONFLICT
    assert await guests.may("host0") == (False, False)
    assert (await guests.ask("160000000000", nexus="host0")).status is CONFLICT


async def test_clear_clears_everywhere(guests):
    await guests.registered()
    await guests.device.their(REGISTER, 0, C)
    assert is_good(await guests.out("host1", CLEAR, B))
    assert guests.device.state.keys == {}
    told = await guests.ask("00", nexus="host0")
    assert told == sense.check_condition(sense.RESERVATIONS_PREEMPTED)
    assert await guests.keys() == []


async def test_generation_counts_what_happens_here_and_there(guests):
    seen = []
    for step in (
        lambda: guests.out("host0", REGISTER, 0, A),
        lambda: guests.out("host1", REGISTER, 0, B),
        lambda: guests.device.their(REGISTER, 0, C),
        lambda: guests.out("host1", IGNORE, 0, 0),
    ):
        await step()
        seen.append(int.from_bytes((await guests.told(0))[:4], "big"))
    assert seen == sorted(set(seen))


async def test_full_status_names_each_guest_and_each_other_host(guests):
    await guests.registered()
    await guests.device.their(REGISTER, 0, C)
    data = await guests.told(3)
    assert len(data) == 8 + 3 * 48
    keys = [int.from_bytes(data[at : at + 8], "big") for at in range(8, len(data), 48)]
    assert keys == [A, B, C]
    assert len({data[at + 24 : at + 48] for at in range(8, len(data), 48)}) == 3


async def test_capabilities_are_the_devices_and_what_we_can_keep(guests):
    told = await guests.told(2)
    assert told[2] & 0x01 == 0  # without a state directory nothing outlives the daemon
    straight = (await guests.device.rig.ask("5e020000000000100000", nexus="them")).data
    assert told[4:8] == straight[4:8]


async def test_reserve_6_is_one_guests_and_ends_with_its_nexus(guests):
    assert is_good(await guests.ask("160000000000", nexus="host0"))
    assert guests.device.state.reserved_by == "us"
    assert await guests.may("host1") == (False, False)
    assert (await guests.ask("160000000000", nexus="host1")).status is CONFLICT
    assert is_good(await guests.ask("170000000000", nexus="host1"))
    assert guests.device.state.reserved_by == "us"
    assert await guests.unit.nexus_lost("host0")
    assert guests.device.state.reserved_by is None
    assert await guests.may("host1") == (True, True)


async def test_a_device_without_persistent_reservations_says_so(guests):
    def ask(cdb, data_out=b"", room=0):
        return sense.check_condition(sense.INVALID_OPERATION_CODE)

    guests.unit.go_on_with(object(), guests.unit.limits, guests._send, ask)
    told = await guests.out("host0", REGISTER, 0, A)
    assert told == sense.check_condition(sense.INVALID_OPERATION_CODE)


async def test_what_the_device_has_to_say_all_guests_hear(guests):
    await guests.device.rig.disk.attend(sense.BUS_DEVICE_RESET, nexus="us")
    await guests.out("host0", REGISTER, 0, A)
    for nexus in ("host0", "host1"):
        told = await guests.ask("00", nexus=nexus)
        assert told == sense.check_condition(sense.BUS_DEVICE_RESET)


async def test_the_device_forgets_guests_that_have_gone(guests):
    await guests.registered()
    cdb, data = guests.unit.reservations.farewell()
    await guests.device.rig.ask(cdb.hex(), data, "us")
    assert guests.device.state.keys == {}


async def test_what_an_earlier_daemon_left_there_is_given_up(guests):
    await guests.registered()
    await guests.out("host0", RESERVE, A, type_=EXCLUSIVE)
    again = await Guests(guests.device).connected()
    assert is_good(await again.out("host1", REGISTER, 0, B))
    assert (guests.device.state.keys, guests.device.state.type) == ({"us": B}, None)
    assert await again.keys() == [B]
    # It hears that what the device held is released; then all is as if nothing had been.
    await again.ask("00", nexus="host1")
    assert await again.may("host0") == (True, True)


async def test_what_shall_outlive_the_daemon_does(tmp_path):
    with contextlib.closing(StateDirectory(tmp_path / "device")) as state:
        device = await Device(state.unit(NAA)).plug()
    with contextlib.closing(StateDirectory(tmp_path)) as state:
        first = await Guests(device, state.unit(NAA)).connected()
        await first.out("host0", REGISTER, 0, A, flags=1)
        await first.out("host0", RESERVE, A, type_=WRITE_EXCLUSIVE)
        assert first.unit.reservations.farewell() is None
    with contextlib.closing(StateDirectory(tmp_path)) as state:
        again = await Guests(device, state.unit(NAA)).connected()
        assert await again.may("host1") == (True, False)
        assert Cause.RESERVATION in again.shut["host1"]
        assert await again.keys() == [A]
        assert is_good(await again.out("host0", RELEASE, A, type_=WRITE_EXCLUSIVE))


async def test_a_command_that_is_aborted_comes_to_its_end_first(guests):
    task = asyncio.create_task(guests.out("host0", REGISTER, 0, A))
    while not guests.device.asked:  # noqa: ASYNC110 - a thread makes it so
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert guests.device.state.keys == {"us": A}
    assert await guests.keys() == [A]
