"""EXTENDED COPY between the LUNs of a virtual host, and what may not be copied."""

from __future__ import annotations

import random
import struct
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness import commands as cdb
from tests.harness import copying as made
from tests.harness.answers import describe
from tests.harness.copying import copy, cscd, lid1, lid4, names, segment, told
from tests.harness.frontend import ABORTED, FUNCTION_COMPLETE, OVERRUN, FrontEnd
from tests.harness.persistent import PREEMPT_AND_ABORT, REGISTER, RESERVE, out

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon
    from tests.harness.frontend import Pending

    from .conftest import MakeDaemon

ABORT_TASK_SET, LUN_RESET = 1, 5
WRITE_EXCLUSIVE, EXCLUSIVE = 1, 3
MIB = 1 << 20
#: Targets of `guest`: two files, memory, memory in large blocks, and one that cannot be written.
FILE, OTHER, RAM, LARGE, FIXED = range(5)


@pytest.fixture
def content() -> bytes:
    return random.Random(4).randbytes(40 * MIB)


@pytest.fixture
def daemon(make_daemon: MakeDaemon, folder: Path, content: bytes) -> Daemon:
    (folder / "a").write_bytes(content)
    (folder / "b").write_bytes(bytes(64 * MIB))
    (folder / "fixed").write_bytes(content[:MIB])
    luns = [
        f"0:0:0:0={folder / 'a'}",
        f"0:0:1:0={folder / 'b'}",
        "0:0:2:0=ram:64M",
        "0:0:3:0=ram:64M,block-size=4096",
        f"0:0:4:0={folder / 'fixed'},ro",
        "1:0:0:0=ram:1M",
    ]
    return make_daemon(luns, sockets=2)


@pytest.fixture
def guest(daemon: Daemon) -> Iterator[FrontEnd]:
    with FrontEnd(daemon.sockets[0]) as front_end:
        for target in range(5):
            front_end.ready(target)
        yield front_end


@pytest.fixture
def units(guest: FrontEnd) -> list[bytes]:
    """The CSCD descriptors of all targets, by their first designator."""
    return [cscd(names(guest, target)[0]) for target in range(5)]


def read(guest: FrontEnd, target: int, lba: int, blocks: int, size: int = 512) -> bytes:
    response = guest.scsi(target, 0, cdb.read_10(lba, blocks), data_in=blocks * size)
    assert response.good, describe(response)
    return response.data


def test_between_files(guest: FrontEnd, units: list[bytes], folder: Path, content: bytes) -> None:
    parts = [
        segment(FILE, OTHER, 0xFFFF, 1, 3),
        segment(FILE, OTHER, 100, 0x10000, 0x14000),
        segment(FILE, OTHER, 0),
    ]
    assert copy(guest, lid1(units, parts)) == "GOOD"
    wanted = bytearray(64 * MIB)
    wanted[3 * 512 : 0x10002 * 512] = content[512 : 0x10000 * 512]
    wanted[0x14000 * 512 : 0x14064 * 512] = content[0x10000 * 512 : 0x10064 * 512]
    assert (folder / "b").read_bytes() == wanted
    assert (folder / "a").read_bytes() == content


def test_any_reachable_unit_carries_it_out(
    guest: FrontEnd, units: list[bytes], content: bytes
) -> None:
    assert copy(guest, lid1(units, [segment(FILE, RAM, 64, 0, 9)]), target=LARGE) == "GOOD"
    assert read(guest, RAM, 9, 64) == content[: 64 * 512]
    # FFFFh is the unit itself.
    assert copy(guest, lid1([], [segment(0xFFFF, 0xFFFF, 8, 9, 100)]), target=RAM) == "GOOD"
    assert read(guest, RAM, 100, 8) == content[: 8 * 512]


@pytest.mark.parametrize("target", [FILE, RAM])
@pytest.mark.parametrize("distance", [1, -1, 0, 0x9000])
def test_inside_one_unit_overlapping_or_not(
    guest: FrontEnd, units: list[bytes], content: bytes, target: int, distance: int
) -> None:
    """Longer than a piece of 8000h blocks, so that their order matters too."""
    blocks = 0x9000
    assert copy(guest, lid1(units, [segment(FILE, RAM, blocks)])) == "GOOD"
    assert copy(guest, lid1(units, [segment(target, target, blocks, 1, 1 + distance)])) == "GOOD"
    for first in (0, 0x8000 - 32, blocks - 64):
        wanted = content[(1 + first) * 512 :][: 64 * 512]
        assert read(guest, target, 1 + distance + first, 64) == (
            wanted if target == FILE or first + 65 <= blocks else wanted[:-512] + bytes(512)
        )


def test_between_block_sizes(guest: FrontEnd, units: list[bytes], content: bytes) -> None:
    assert copy(guest, lid1(units, [segment(FILE, LARGE, 16, 8, 2)])) == "GOOD"
    assert read(guest, LARGE, 2, 2, 4096) == content[4096:12288]
    assert copy(guest, lid1(units, [segment(LARGE, OTHER, 8, 2, 5, dc=True)])) == "GOOD"
    assert read(guest, OTHER, 5, 8) == content[4096:8192]
    inexact = "Ah/26h/0Ah at byte 10"
    assert copy(guest, lid1(units, [segment(FILE, LARGE, 15)])) == inexact
    padding = [units[FILE], cscd(names(guest, LARGE)[0], pad=True, block_length=4096)]
    assert copy(guest, lid1(padding, [segment(0, 1, 9, 0, 0)])) == "GOOD"
    assert read(guest, LARGE, 0, 2, 4096) == content[: 9 * 512] + bytes(7 * 512)
    # The last destination block of the nine is in the middle of a source block.
    dropping = [cscd(names(guest, LARGE)[0], pad=True), units[RAM]]
    assert copy(guest, lid1(dropping, [segment(0, 1, 9, 0, 0, dc=True)])) == "GOOD"
    assert read(guest, RAM, 0, 10) == content[: 9 * 512] + bytes(512)


def test_every_designator_names_a_unit_as_a_whole(guest: FrontEnd, units: list[bytes]) -> None:
    naa = names(guest, RAM)[0]
    assert copy(guest, lid1([units[FILE], cscd(naa)], [segment(0, 1, 1)])) == "GOOD"
    for stranger in (
        naa[:-1] + bytes((naa[-1] ^ 1,)),
        naa[:3] + b"\x07" + naa[4:-1],
        b"\x02" + naa[1:],
        naa[:1] + b"\x13" + naa[2:],
    ):
        answer = copy(guest, lid1([units[FILE], cscd(stranger)], [segment(0, 1, 1)]))
        assert answer == "Ah/08h/04h at byte 48"


def test_units_of_other_hosts_are_not_reached(
    daemon: Daemon, guest: FrontEnd, units: list[bytes]
) -> None:
    with FrontEnd(daemon.sockets[1]) as other:
        other.ready()
        secret = cscd(names(other, 0)[0])
        assert copy(other, lid1([secret], [segment(0, 0, 1, 0, 1)])) == "GOOD"
    assert copy(guest, lid1([secret, units[RAM]], [segment(0, 1, 1)])) == "Ah/08h/04h at byte 16"


def test_what_makes_a_segment_fail(guest: FrontEnd, units: list[bytes]) -> None:
    name = names(guest, RAM)[0]
    odd = [
        cscd(name, null=True),
        cscd(name, device_type=1),
        cscd(name, block_length=4096),
    ]
    every = [*units, *odd]
    end = 64 * MIB // 512
    cases = {
        "Ah/08h/04h at byte 4": segment(8, RAM, 1),
        "Ah/08h/04h at byte 6": segment(FILE, 0xC000, 1),
        "Ah/08h/04h at byte 176": segment(FILE, 5, 1),
        "Ah/0Dh/03h at byte 208": segment(FILE, 6, 1),
        "Ah/26h/00h at byte 269": segment(7, FILE, 1),
        "Ah/00h/00h at byte 12": segment(RAM, OTHER, 2, end - 1, 0),
        "Ah/00h/00h at byte 20": segment(FILE, RAM, 2, 0, end - 1),
        "Ah/0Dh/01h at byte 144": segment(RAM, FIXED, 1),
    }
    for answer, part in cases.items():
        assert copy(guest, lid1(every, [part])) == answer
    huge = segment(FILE, RAM, 1, 0, (1 << 64) - 1)
    assert copy(guest, lid1(units, [huge])) == "Ah/00h/00h at byte 20"
    assert copy(guest, lid1(units, [segment(FILE, RAM, 0, 0, end)])) == "GOOD"
    assert copy(guest, lid1(units, [])) == "GOOD"


def test_a_failed_segment_is_told_with_all_there_is_to_say(
    guest: FrontEnd, units: list[bytes], content: bytes
) -> None:
    parts = [segment(FILE, RAM, 8), segment(RAM, FIXED, 4), segment(FILE, RAM, 8, 0, 8)]
    response = guest.wait(made.submit(guest, lid1(units, parts, identifier=9)))
    # COMMAND-SPECIFIC INFORMATION: the destination's words begin at byte 18; segment 1.
    assert response.sense[8:12].hex() == "00120001"
    assert response.sense[15:18].hex() == "800090", "the CSCD descriptor, in the parameter list"
    assert response.sense[18] == 0x02
    assert response.sense[19:22].hex() == "700007"
    assert response.sense[31:33].hex() == "2700"
    assert read(guest, RAM, 0, 16) == content[: 8 * 512] + bytes(8 * 512)
    assert told(guest, made.STATUS_LID1, 9).hex() == "00000008" + "02" + "0002" + "00" + "00001000"
    details = told(guest, made.FAILURE_DETAILS, 9)
    assert details[56:60] == struct.pack(">BxH", 2, len(response.sense))
    assert details[60:] == response.sense
    assert told(guest, made.FAILURE_DETAILS, 9) == bytes(4), "they are told once"
    status = told(guest, made.STATUS_LID4, 9)
    assert status[5] == 0x02
    assert status[32 : 32 + status[14]] == response.sense


def test_what_is_told_of_copies(guest: FrontEnd, units: list[bytes]) -> None:
    unknown = "5h/24h/00h at byte 2"

    def asked(action: int, identifier: int) -> str:
        return describe(guest.scsi(0, 0, made.receive(action, identifier), data_in=512))

    for action in (made.STATUS_LID1, made.DATA_LID1, made.FAILURE_DETAILS, made.STATUS_LID4):
        assert asked(action, 1) == unknown
    good = lid1(units, [segment(FILE, RAM, 8)], identifier=1)
    for _ in range(2):  # a name may be used again
        assert copy(guest, good) == "GOOD"
    assert told(guest, made.STATUS_LID1, 1)[4:] == bytes.fromhex("01 0001 00 00001000")
    assert asked(made.STATUS_LID1, 1) == unknown, "it is told once"
    assert told(guest, made.DATA_LID1, 1) == bytes(4)
    assert told(guest, made.FAILURE_DETAILS, 1) == bytes(4)
    assert told(guest, made.STATUS_LID4, 1)[4:8].hex() == "00010001"
    assert told(guest, made.DATA_LID4, 1)[-4:] == bytes(4)
    # Without a list identifier there is nothing to ask for.
    nameless = lid1(units, [segment(FILE, RAM, 8)], usage=made.NO_IDENTIFIER)
    assert copy(guest, nameless) == "GOOD"
    assert asked(made.STATUS_LID4, 0) == unknown
    assert guest.tmf(LUN_RESET, 0, 0) == FUNCTION_COMPLETE
    guest.ready()
    assert asked(made.STATUS_LID4, 1) == unknown, "a reset forgets"
    limits = told(guest, made.OPERATING_PARAMETERS)
    assert told(guest, made.OPERATING_PARAMETERS, length=6) == limits[:6]
    page = guest.scsi(0, 0, cdb.inquiry(255, page=0x8F), data_in=255)
    assert page.data[4:6].hex() == "0001"
    assert guest.scsi(0, 0, cdb.inquiry(36), data_in=36).data[5] & 0x08, "3PC"


def test_long_lists(guest: FrontEnd, units: list[bytes], content: bytes) -> None:
    data = lid4(units, [segment(FILE, RAM, 8)], identifier=0x12345678, good_sense=True)
    response = guest.wait(made.submit(guest, data, action=made.LID4))
    assert response.good
    assert response.sense_code == (0xF, 0x00, 0x20)
    assert response.sense[8:12].hex() == "00000001"
    assert read(guest, RAM, 0, 8) == content[: 8 * 512]
    assert told(guest, made.STATUS_LID4, 0x12345678)[4:6].hex() == "0101"
    # The first designator of the list is at another place than in a short one.
    stranger = lid4([cscd(made.naa(bytes(8)))], [segment(0, 0, 1)])
    assert copy(guest, stranger, action=made.LID4) == "Ah/08h/04h at byte 48"


def test_sense_data_in_descriptor_format(guest: FrontEnd, units: list[bytes]) -> None:
    sensed = guest.scsi(FILE, 0, bytes.fromhex("1a 08 0a 00 10 00"), data_in=16).data
    page = bytearray(4) + sensed[4:]
    page[4 + 2] |= 0x04  # D_SENSE
    select = bytes.fromhex("15 10 00 00 10 00")
    assert guest.scsi(FILE, 0, select, data_out=bytes(page)).good
    response = guest.wait(made.submit(guest, lid1(units, [segment(RAM, FIXED, 1)])))
    assert response.sense_code == (0xA, 0x0D, 0x01)
    assert response.sense[8:20].hex() == "010a" + "00" * 10
    assert response.sense[28:32].hex() == "0c140202"
    assert response.sense[32:35].hex() == "700007", "the other unit's own format is the fixed one"


def test_lengths_of_the_list(guest: FrontEnd, units: list[bytes]) -> None:
    data = lid1(units, [segment(FILE, RAM, 8)])
    assert describe(guest.scsi(0, 0, made.extended_copy(0))) == "GOOD"
    for length in (1, 15, 16, 47, 16 + 5 * 32, len(data) - 1):
        assert copy(guest, data[:length]) == "5h/1Ah/00h"
    lying = guest.scsi(0, 0, made.extended_copy(len(data)), data_out=data[:-1])
    assert lying.response == OVERRUN
    much = made.extended_copy(0x10001)
    assert describe(guest.scsi(0, 0, much, data_out=bytes(0x10001))) == "5h/1Ah/00h"
    assert read(guest, RAM, 0, 8) == bytes(4096)


def test_a_stopped_unit_is_neither_read_nor_written(guest: FrontEnd, units: list[bytes]) -> None:
    assert guest.scsi(RAM, 0, bytes.fromhex("1b 00 00 00 00 00")).good
    for part, byte in ((segment(RAM, OTHER, 1), "00"), (segment(OTHER, RAM, 1), "12")):
        response = guest.wait(made.submit(guest, lid1(units, [part])))
        assert response.sense_code == (0xA, 0x0D, 0x01)
        assert response.sense[9:10].hex() == byte
        where = 18
        assert response.sense[where : where + 4].hex() == "02700002"
    assert guest.scsi(RAM, 0, bytes.fromhex("1b 00 00 00 01 00")).good
    assert copy(guest, lid1(units, [segment(RAM, OTHER, 1)])) == "GOOD"


def test_unit_attentions_of_the_others_stay(daemon: Daemon) -> None:
    with FrontEnd(daemon.sockets[0]) as guest:
        guest.ready(FILE)
        units = [cscd(names(guest, target)[0]) for target in (FILE, RAM)]
        assert copy(guest, lid1(units, [segment(0, 1, 1)])) == "GOOD"
        response = guest.scsi(RAM, 0, bytes(6))
        assert response.sense_code == (6, 0x29, 0x01)


# -- reservations


@pytest.fixture
def two(make_daemon: MakeDaemon) -> Iterator[tuple[FrontEnd, FrontEnd]]:
    """Two guests that share what is at target 0; each has a unit of its own at target 1."""
    luns = [
        f"{host}:0:{target}:0=null:1T,block-size=4096{options}"
        for host in range(2)
        for target, options in enumerate((",share=on", ""))
    ]
    daemon = make_daemon(luns, sockets=2)
    with FrontEnd(daemon.sockets[0]) as a, FrontEnd(daemon.sockets[1]) as b:
        for guest in (a, b):
            guest.ready(0)
            guest.ready(1)
        yield a, b


def both(guest: FrontEnd) -> list[bytes]:
    return [cscd(names(guest, target)[0]) for target in range(2)]


def test_reservations_of_others_stop_a_copy(two: tuple[FrontEnd, FrontEnd]) -> None:
    a, b = two
    reading, writing = (lid1(both(a), [segment(*way, 1)]) for way in ((0, 1), (1, 0)))
    assert out(b, REGISTER, 0, 0xB) == "GOOD"
    assert out(b, RESERVE, 0xB, type_=WRITE_EXCLUSIVE) == "GOOD"
    assert copy(a, reading, target=1) == "GOOD"
    response = a.wait(made.submit(a, writing, target=1))
    assert describe(response) == "Ah/0Dh/01h at byte 16"
    assert response.sense[8:12].hex() == "00120000"
    assert response.sense[18:] == b"\x18", "RESERVATION CONFLICT, without sense data"
    # The unit that is asked conflicts as with any write.
    for data in (reading, writing):
        assert copy(a, data, target=0) == "RESERVATION CONFLICT"
    question = made.receive(made.OPERATING_PARAMETERS)
    assert describe(a.scsi(0, 0, question, data_in=512)) == "RESERVATION CONFLICT"
    assert copy(b, lid1(both(b), [segment(1, 0, 1)]), target=1) == "GOOD"


def endless(guest: FrontEnd, *, identifier: int = 7) -> Pending:
    """Send a copy of 64 GiB from target 1 to target 0, by target 1; it is under way then."""
    parts = [segment(1, 0, 0xFFFF)] * 256
    pending = made.submit(guest, lid1(both(guest), parts, identifier=identifier), target=1)
    question = made.receive(made.STATUS_LID4, identifier)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        status = guest.scsi(1, 0, question, data_in=64)
        if status.good and int.from_bytes(status.data[16:24], "big"):
            assert status.data[5] == 0x11, "in progress, in the foreground"
            assert not guest.is_done(pending)
            return pending
    raise AssertionError("the copy does not come on")


def ended_as(guest: FrontEnd, identifier: int = 7) -> tuple[int, int]:
    """COPY OPERATION STATUS and the status of the command."""
    data = guest.scsi(1, 0, made.receive(made.STATUS_LID4, identifier), data_in=64).data
    assert 0 < int.from_bytes(data[16:24], "big") < 64 << 30
    return data[5], data[12]


def test_a_copy_is_aborted_half_way(two: tuple[FrontEnd, FrontEnd]) -> None:
    guest, _ = two
    pending = endless(guest)
    # The tag of the copy is not ours to choose: all of the unit's tasks are meant.
    assert guest.tmf(ABORT_TASK_SET, 1, 0) == FUNCTION_COMPLETE
    assert guest.is_done(pending)
    assert guest.wait(pending).response == ABORTED
    assert ended_as(guest) == (0x60, 0x40)
    assert copy(guest, lid1(both(guest), [segment(1, 0, 1)], identifier=7), target=1) == "GOOD"


def test_a_copy_operation_is_aborted(two: tuple[FrontEnd, FrontEnd]) -> None:
    guest, _ = two
    pending = endless(guest)
    again = lid1(both(guest), [segment(1, 0, 1)], identifier=7)
    assert copy(guest, again, target=1) == "5h/00h/16h"
    longer = lid4(both(guest), [segment(1, 0, 1)], identifier=7)
    assert copy(guest, longer, target=1, action=made.LID4) == "5h/26h/00h at byte 20"
    assert describe(guest.scsi(1, 0, made.copy_operation_abort(8))) == "5h/24h/00h at byte 2"
    assert describe(guest.scsi(1, 0, made.copy_operation_abort(7))) == "GOOD"
    response = guest.wait(pending)
    assert describe(response) == "Ah/2Fh/02h"
    assert ended_as(guest) == (0x02, 0x02)
    assert describe(guest.scsi(1, 0, made.copy_operation_abort(7))) == "5h/24h/00h at byte 2"


def test_too_many_copies_have_to_wait(two: tuple[FrontEnd, FrontEnd]) -> None:
    guest, _ = two
    pending = [endless(guest, identifier=number) for number in range(16)]
    data = lid1(both(guest), [segment(1, 0, 1)], identifier=16)
    assert copy(guest, data, target=1) == "TASK SET FULL"
    assert guest.tmf(ABORT_TASK_SET, 1, 0) == FUNCTION_COMPLETE
    assert {guest.wait(one).response for one in pending} == {ABORTED}
    assert copy(guest, data, target=1) == "GOOD"


def test_preempt_and_abort_ends_a_copy_to_the_unit(two: tuple[FrontEnd, FrontEnd]) -> None:
    a, b = two
    assert out(a, REGISTER, 0, 0xA) == out(b, REGISTER, 0, 0xB) == "GOOD"
    pending = endless(a)
    assert out(b, PREEMPT_AND_ABORT, 0xB, 0xA, type_=EXCLUSIVE) == "GOOD"
    response = a.wait(pending)
    assert describe(response) == "Ah/0Dh/01h at byte 16"
    assert response.sense[0] & 0x80, "some of the segment, or none of it, was written"
    assert response.sense[18:] == b"\x40", "TASK ABORTED"


def test_a_stop_ends_a_copy(two: tuple[FrontEnd, FrontEnd]) -> None:
    guest, other = two
    pending = endless(guest)
    assert other.scsi(0, 0, bytes.fromhex("1b 00 00 00 00 00")).good
    assert describe(guest.wait(pending)) == "Ah/0Dh/01h at byte 16"


def test_compare_and_write_finds_its_turn_beside_a_copy(
    two: tuple[FrontEnd, FrontEnd],
) -> None:
    guest, _ = two
    pending = endless(guest)
    for target in range(2):
        answer = guest.scsi(target, 0, cdb.compare_and_write(0, 1), data_out=bytes(8192))
        assert describe(answer) == "GOOD"
    assert not guest.is_done(pending)
    assert guest.tmf(ABORT_TASK_SET, 1, 0) == FUNCTION_COMPLETE
    assert guest.wait(pending).response == ABORTED


def test_a_front_end_that_leaves_ends_its_copies(
    make_daemon: MakeDaemon,
) -> None:
    daemon = make_daemon([f"0:0:{target}:0=null:1T,block-size=4096" for target in range(2)])
    with FrontEnd(daemon.socket) as guest:
        guest.ready(0)
        guest.ready(1)
        endless(guest)
        guest.leave()
        with FrontEnd(daemon.socket) as again:
            again.ready(1)
            question = made.receive(made.STATUS_LID4, 7)
            answer = describe(again.scsi(1, 0, question, data_in=64))
    assert answer == "5h/24h/00h at byte 2", "nothing of it is left"


# -- any bytes


@pytest.fixture(scope="module")
def victim(two_hosts: Daemon) -> Iterator[FrontEnd]:
    """A guest whom nobody minds."""
    with FrontEnd(two_hosts.sockets[0]) as guest:
        guest.ready()
        yield guest


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_list_gets_an_answer(victim: FrontEnd, data: st.DataObject) -> None:
    """Lists that begin well, with bytes of them changed, and bytes of any kind."""
    unit = cscd(names(victim, 0)[0])
    part = segment(0, 0, 8, 1, 64)
    action = data.draw(st.sampled_from([made.LID1, made.LID4]))
    good = (lid1 if action == made.LID1 else lid4)([unit, unit], [part, part])
    base = bytearray(data.draw(st.sampled_from([good, bytes(200)]) | st.binary(max_size=200)))
    changes = st.lists(st.tuples(st.integers(0, 199), st.integers(0, 255)), max_size=4)
    for at, value in data.draw(changes):
        base[at : at + 1] = bytes((value,))
    response = victim.wait(made.submit(victim, bytes(base), action=action))
    assert response.response == 0
    assert response.good or response.sense_code[0] in {0x5, 0xA}
    assert victim.scsi(0, 0, bytes(6)).good
