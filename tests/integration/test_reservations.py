"""Two guests on one shared unit, and the reservations between them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.harness import commands as cdb
from tests.harness.answers import describe
from tests.harness.frontend import ABORTED, FUNCTION_COMPLETE, OVERRUN, RESET_RESPONSE, FrontEnd
from tests.harness.persistent import (
    ALL_TG_PT,
    APTPL,
    CLEAR,
    PREEMPT,
    PREEMPT_AND_ABORT,
    READ_FULL_STATUS,
    READ_KEYS,
    READ_RESERVATION,
    REGISTER,
    REGISTER_AND_IGNORE,
    RELEASE,
    REPORT_CAPABILITIES,
    RESERVE,
    SPEC_I_PT,
    out,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.daemon import Daemon

    from .conftest import MakeDaemon

WRITE_EXCLUSIVE, EXCLUSIVE, WRITE_REGISTRANTS, EXCLUSIVE_REGISTRANTS = 1, 3, 5, 6
I_T_NEXUS_RESET, LUN_RESET = 4, 5
A, B = 0xAAAA_0000_0000_000A, 0xBBBB_0000_0000_000B

CONFLICT = "RESERVATION CONFLICT"
PREEMPTED, RELEASED, UNREGISTERED = "6h/2Ah/03h", "6h/2Ah/04h", "6h/2Ah/05h"


class Guests(NamedTuple):
    """Two front-ends of two virtual hosts: two nexuses to one unit."""

    a: FrontEnd
    b: FrontEnd


def two(daemon: Daemon, a: FrontEnd, b: FrontEnd) -> Guests:
    del daemon
    a.ready()
    b.ready()
    return Guests(a, b)


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Daemon:
    luns = ["0:0:0:0=ram:1M,share=on", "1:0:0:0=ram:1M,share=on"]
    return make_daemon(luns, sockets=2)


@pytest.fixture
def guests(daemon: Daemon) -> Iterator[Guests]:
    with FrontEnd(daemon.sockets[0]) as a, FrontEnd(daemon.sockets[1]) as b:
        yield two(daemon, a, b)


def read(guest: FrontEnd) -> str:
    return describe(guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512))


def write(guest: FrontEnd) -> str:
    return describe(guest.scsi(0, 0, cdb.write_10(0, 1), data_out=bytes(512)))


def six(guest: FrontEnd, opcode: int) -> str:
    return describe(guest.scsi(0, 0, bytes((opcode, 0, 0, 0, 0, 0))))


def access(guest: FrontEnd) -> tuple[bool, bool]:
    """Whether a guest may read, and write."""
    outcomes = read(guest), write(guest)
    assert set(outcomes) <= {"GOOD", CONFLICT}
    return outcomes[0] == "GOOD", outcomes[1] == "GOOD"


@pytest.mark.parametrize(
    ("type_", "registered", "stranger"),
    [
        (WRITE_EXCLUSIVE, (True, False), (True, False)),
        (EXCLUSIVE, (False, False), (False, False)),
        (WRITE_REGISTRANTS, (True, True), (True, False)),
        (EXCLUSIVE_REGISTRANTS, (True, True), (False, False)),
        (7, (True, True), (True, False)),
        (8, (True, True), (False, False)),
    ],
)
def test_who_may_read_and_write(
    guests: Guests, type_: int, registered: tuple[bool, bool], stranger: tuple[bool, bool]
) -> None:
    a, b = guests
    assert out(a, REGISTER, 0, A) == "GOOD"
    assert out(a, RESERVE, A, type_=type_) == "GOOD"
    assert access(a) == (True, True)
    assert access(b) == stranger
    assert six(b, 0x00) == "GOOD", "TEST UNIT READY"
    assert out(b, REGISTER, 0, B) == "GOOD"
    assert access(b) == registered
    assert out(a, RELEASE, A, type_=type_) == "GOOD"
    if type_ >= WRITE_REGISTRANTS:
        assert read(b) == RELEASED
    assert access(b) == (True, True)


def test_what_is_told_of_reservations(guests: Guests) -> None:
    a, b = guests
    assert out(a, REGISTER, 0, A) == "GOOD"
    assert out(b, REGISTER_AND_IGNORE, 99, B) == "GOOD"
    assert told(a, READ_KEYS) == struct.pack(">IIQQ", 2, 16, A, B)
    assert told(a, READ_KEYS, 12) == struct.pack(">IIQQ", 2, 16, A, B)[:12]
    assert told(a, READ_RESERVATION) == struct.pack(">II", 2, 0)
    assert out(a, RESERVE, A, type_=EXCLUSIVE_REGISTRANTS) == "GOOD"
    assert told(b, READ_RESERVATION) == struct.pack(">IIQ5xB2x", 2, 16, A, 6)
    assert told(b, REPORT_CAPABILITIES) == bytes.fromhex("0008 1c 80 ea01 0000")
    status = told(b, READ_FULL_STATUS)
    assert struct.unpack_from(">II", status) == (2, 96)
    rows = status[8:56], status[56:]
    heads = [struct.unpack_from(">Q4xBB4xHI", row) for row in rows]
    assert heads == [(A, 1, 6, 1, 24), (B, 0, 0, 1, 24)]
    assert [row[24] for row in rows] == [6, 6], "a SAS TransportID"
    assert rows[0][24:] != rows[1][24:]


@pytest.mark.parametrize("action", [PREEMPT, PREEMPT_AND_ABORT])
def test_a_holder_is_preempted(guests: Guests, action: int) -> None:
    a, b = guests
    assert out(a, REGISTER, 0, A) == "GOOD"
    assert out(a, RESERVE, A, type_=EXCLUSIVE) == "GOOD"
    assert out(b, action, B, A, type_=EXCLUSIVE) == CONFLICT, "not registered"
    assert out(b, REGISTER, 0, B) == "GOOD"
    assert out(b, action, B, A, type_=WRITE_EXCLUSIVE) == "GOOD"
    assert access(b) == (True, True)
    assert read(a) == UNREGISTERED
    assert access(a) == (True, False)
    assert out(a, RELEASE, A, type_=WRITE_EXCLUSIVE) == CONFLICT


def test_preempt_and_abort_ends_the_commands_of_the_preempted(make_daemon: MakeDaemon) -> None:
    luns = [f"{host}:0:0:0=null:1M,share=on,latency=3600s" for host in range(2)]
    daemon = make_daemon(luns, sockets=2)
    with FrontEnd(daemon.sockets[0]) as a, FrontEnd(daemon.sockets[1]) as b:
        two(daemon, a, b)
        assert out(a, REGISTER, 0, A) == out(b, REGISTER, 0, B) == "GOOD"
        held = [a.submit(0, 0, cdb.write_10(n, 1), data_out=bytes(512)) for n in range(8)]
        own = b.submit(0, 0, cdb.read_10(0, 1), data_in=512)
        assert out(b, PREEMPT_AND_ABORT, B, A, type_=EXCLUSIVE) == "GOOD"
        assert all(a.is_done(one) for one in held)
        assert {a.wait(one).response for one in held} == {ABORTED}
        assert not b.is_done(own)
        assert b.tmf(I_T_NEXUS_RESET, 0, 0) == FUNCTION_COMPLETE


def test_a_slow_command_of_another_guest_holds_no_reservation_up(
    make_daemon: MakeDaemon,
) -> None:
    luns = [f"{host}:0:0:0=null:1M,share=on,latency=3600s" for host in range(2)]
    daemon = make_daemon(luns, sockets=2)
    with FrontEnd(daemon.sockets[0]) as a, FrontEnd(daemon.sockets[1]) as b:
        two(daemon, a, b)
        slow = a.submit(0, 0, cdb.read_10(0, 1), data_in=512)
        a.synchronize()
        assert six(b, 0x16) == six(b, 0x17) == "GOOD"
        assert out(a, REGISTER, 0, A) == out(b, REGISTER, 0, B) == "GOOD"
        assert out(b, RESERVE, B, type_=EXCLUSIVE) == "GOOD"
        assert out(b, PREEMPT, B, A, type_=EXCLUSIVE) == "GOOD"
        assert not a.is_done(slow)
        assert read(a) == UNREGISTERED
        assert read(a) == CONFLICT
        assert out(b, PREEMPT, B, A, type_=EXCLUSIVE) == CONFLICT, "it has no registration left"
        assert a.tmf(I_T_NEXUS_RESET, 0, 0) == FUNCTION_COMPLETE
        assert a.wait(slow).response == RESET_RESPONSE


def test_clear(guests: Guests) -> None:
    a, b = guests
    assert out(a, REGISTER, 0, A) == out(b, REGISTER, 0, B) == "GOOD"
    assert out(a, RESERVE, A, type_=EXCLUSIVE) == "GOOD"
    assert read(b) == CONFLICT
    assert out(b, CLEAR, B) == "GOOD"
    assert read(a) == PREEMPTED
    assert told(a, READ_KEYS) == struct.pack(">II", 3, 0)
    assert access(a) == access(b) == (True, True)


def test_persistent_reservations_outlive_resets_and_front_ends(
    guests: Guests, daemon: Daemon
) -> None:
    a, b = guests
    assert out(a, REGISTER, 0, A) == "GOOD"
    assert out(a, RESERVE, A, type_=EXCLUSIVE) == "GOOD"
    assert b.tmf(LUN_RESET, 0, 0) == FUNCTION_COMPLETE
    b.ready()
    assert read(b) == CONFLICT
    a.leave()
    with FrontEnd(daemon.sockets[0]) as again:
        again.ready()
        assert read(b) == CONFLICT
        assert access(again) == (True, True)


@pytest.mark.parametrize(("reserve", "release"), [(0x16, 0x17), (0x56, 0x57)])
def test_reserve_and_release(guests: Guests, reserve: int, release: int) -> None:
    a, b = guests

    def send(guest: FrontEnd, opcode: int) -> str:
        return describe(guest.scsi(0, 0, bytes((opcode,)) + bytes(9)))

    assert send(a, reserve) == "GOOD"
    assert send(a, reserve) == "GOOD"
    assert send(b, reserve) == CONFLICT
    assert access(b) == (False, False)
    assert six(b, 0x00) == CONFLICT, "TEST UNIT READY"
    assert b.scsi(0, 0, cdb.inquiry(36), data_in=36).good
    assert access(a) == (True, True)
    assert out(a, REGISTER, 0, A) == CONFLICT, "SPC-2: even of who reserved it"
    assert send(b, release) == "GOOD"
    assert read(b) == CONFLICT
    assert send(a, release) == "GOOD"
    assert access(b) == (True, True)


@pytest.mark.parametrize("how", ["lun reset", "nexus reset", "leave"])
def test_what_ends_a_reserve(guests: Guests, how: str) -> None:
    a, b = guests
    assert six(a, 0x16) == "GOOD"
    assert read(b) == CONFLICT
    if how == "lun reset":
        assert b.tmf(LUN_RESET, 0, 0) == FUNCTION_COMPLETE
        assert read(b) == "6h/29h/03h"
    elif how == "nexus reset":
        assert a.tmf(I_T_NEXUS_RESET, 0, 0) == FUNCTION_COMPLETE
    else:
        a.leave()
        b.ready()
    assert access(b) == (True, True)


def test_what_cannot_be_kept_is_refused(guests: Guests) -> None:
    assert out(guests.a, REGISTER, 0, A, flags=APTPL) == "5h/26h/00h at byte 20 bit 0"
    assert told(guests.a, READ_KEYS) == bytes(8)


def test_all_target_ports_are_the_one_there_is(guests: Guests) -> None:
    assert out(guests.a, REGISTER, 0, A, flags=ALL_TG_PT) == "GOOD"
    assert len(told(guests.a, READ_FULL_STATUS)) == 8 + 48


def test_others_are_registered_by_name(guests: Guests) -> None:
    a, b = guests
    name = transport_id(b)
    assert out(a, REGISTER, 0, A, flags=SPEC_I_PT, ports=[name]) == "GOOD"
    assert told(b, READ_KEYS) == struct.pack(">IIQQ", 3, 16, A, A)
    assert out(a, REGISTER, A, B, flags=SPEC_I_PT, ports=[name]) == "5h/26h/00h at byte 20 bit 3"
    assert out(a, CLEAR, A) == "GOOD"
    b.ready()
    stranger = bytes([0x06, *bytes(23)])
    refused = out(a, REGISTER, 0, A, flags=SPEC_I_PT, ports=[name, stranger])
    assert refused == "5h/26h/00h at byte 52"
    assert out(a, RESERVE, 0, flags=SPEC_I_PT) == "5h/26h/00h at byte 20 bit 3"
    # Without the bit nothing may follow; with it there must be what its length says.
    assert out(a, REGISTER, 0, A, ports=[name]) == "5h/1Ah/00h"
    assert out(a, REGISTER, 0, A, flags=SPEC_I_PT) == "5h/1Ah/00h"


def transport_id(guest: FrontEnd) -> bytes:
    """The name of a guest's initiator port, which READ FULL STATUS tells."""
    assert out(guest, REGISTER_AND_IGNORE, 0, B) == "GOOD"
    name = told(guest, READ_FULL_STATUS)[8 + 24 :][:24]
    assert out(guest, REGISTER, B, 0) == "GOOD"
    # As at the beginning, but for the generation.
    assert told(guest, READ_KEYS)[4:] == bytes(4)
    return name


def test_a_reservation_is_moved(guests: Guests) -> None:
    a, b = guests
    name = transport_id(b)
    assert out(a, REGISTER, 0, A) == "GOOD"
    assert move(a, A, B, name) == "5h/24h/00h at byte 1 bit 4", "there is none"
    assert out(a, RESERVE, A, type_=EXCLUSIVE) == "GOOD"
    assert move(a, B, B, name) == CONFLICT
    assert move(a, A, 0, name) == "5h/26h/00h at byte 8"
    assert move(a, A, B, name, port=2) == "5h/26h/00h at byte 18"
    assert move(a, A, B, bytes(24)) == "5h/26h/00h at byte 24"
    assert move(a, A, B, name, flags=1) == "5h/26h/00h at byte 17 bit 0"
    assert move(a, A, B, name[:-1], length=24) == "5h/1Ah/00h"
    assert move(a, A, B, name, flags=2) == "GOOD"
    assert access(b) == (True, True)
    assert access(a) == (False, False)
    assert told(b, READ_KEYS)[4:] == struct.pack(">IQ", 8, B)
    own = told(b, READ_FULL_STATUS)[8 + 24 :][:24]
    assert move(b, B, A, own) == "5h/26h/00h at byte 24", "to itself"


def move(
    guest: FrontEnd,
    key: int,
    other: int,
    name: bytes,
    *,
    port: int = 1,
    flags: int = 0,
    length: int | None = None,
) -> str:
    """REGISTER AND MOVE, and what became of it."""
    data = struct.pack(">QQxBHI", key, other, flags, port, length or len(name)) + name
    command = struct.pack(">BBBxxIB", 0x5F, 7, 0, len(data), 0)
    return describe(guest.scsi(0, 0, command, data_out=data))


def test_bad_calls_change_nothing(guests: Guests) -> None:
    a, b = guests
    assert out(a, REGISTER, 5, A) == CONFLICT
    assert out(a, REGISTER, 0, A) == "GOOD"
    assert out(a, RESERVE, A, type_=2) == "5h/24h/00h at byte 2 bit 3"
    assert out(a, RESERVE, A, type_=0x11) == "5h/24h/00h at byte 2 bit 7"
    assert out(a, PREEMPT, A, 0, type_=1) == "5h/26h/00h at byte 8"
    assert out(a, PREEMPT, A, 77, type_=1) == CONFLICT
    assert out(a, 8, A) == "5h/24h/00h at byte 1 bit 4"
    assert out(b, RESERVE, 0, type_=1) == CONFLICT
    short = struct.pack(">BBBxxIB", 0x5F, REGISTER, 0, 23, 0)
    assert describe(a.scsi(0, 0, short, data_out=bytes(23))) == "5h/1Ah/00h"
    lying = struct.pack(">BBBxxIB", 0x5F, REGISTER, 0, 24, 0)
    assert a.scsi(0, 0, lying, data_out=bytes(8)).response == OVERRUN
    assert out(a, RESERVE, A, type_=EXCLUSIVE) == "GOOD"
    assert out(a, RELEASE, A, type_=WRITE_EXCLUSIVE) == "5h/26h/04h"
    assert told(a, READ_RESERVATION) == struct.pack(">IIQ5xB2x", 1, 16, A, EXCLUSIVE)
    assert six(b, 0x16) == CONFLICT
