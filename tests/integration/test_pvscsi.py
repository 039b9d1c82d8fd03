"""A Xen guest without Xen: the pvSCSI ring of the real daemon."""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING

import pytest

from tests.harness import pvscsi_frontend as pv
from tests.harness import xen_ring as xen
from tests.harness.frontend import FrontEnd
from tests.harness.pvscsi_frontend import PvscsiFrontEnd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon

    from .conftest import MakeDaemon

KIB = 1 << 10
BLOCK = 512
INQUIRY = bytes.fromhex("120000002400")
RESERVE_6 = bytes((0x16, 0, 0, 0, 0, 0))


def read_10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)


def write_10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", 0x2A, 0, lba, 0, blocks, 0)


def report_luns(length: int) -> bytes:
    return struct.pack(">BBBBBBIBB", 0xA0, 0, 0, 0, 0, 0, length, 0, 0)


@pytest.fixture
def xen_guest(daemon: Daemon) -> Iterator[PvscsiFrontEnd]:
    """A pvSCSI front-end that has heard the unit attentions of `daemon`'s units."""
    with PvscsiFrontEnd(daemon.socket) as front_end:
        for target in range(3):
            front_end.ready(target)
        yield front_end


def test_a_guest_finds_what_is_there(xen_guest: PvscsiFrontEnd) -> None:
    inquiry = xen_guest.scsi(0, 0, INQUIRY, data_in=36)
    assert inquiry.good, inquiry
    assert inquiry.clean
    assert inquiry.data[0] == 0
    luns = xen_guest.scsi(0, 0, report_luns(8192), data_in=8192)
    assert luns.good, luns
    assert luns.data[:16] == struct.pack(">I", 8).ljust(16, b"\0")
    assert luns.resid == 8192 - 16
    beside = xen_guest.scsi(0, 7, INQUIRY, data_in=36)
    assert beside.good, beside
    assert beside.data[0] == 0x7F
    nowhere = xen_guest.scsi(9, 0, INQUIRY, data_in=36)
    assert (nowhere.host, nowhere.status) == (pv.DID_NO_CONNECT, 0)


def test_the_luns_are_told_with_what_they_are(xen_guest: PvscsiFrontEnd, image: Path) -> None:
    told = [(lun.place, lun.name) for lun in xen_guest.luns()]
    assert told == [
        ((0, 0, 0, 0), str(image)),
        ((0, 0, 1, 0), "ram:64M"),
        ((0, 0, 2, 0), "null:1G"),
    ]
    assert len({lun.id for lun in xen_guest.luns()}) == 3


@pytest.mark.parametrize("target", [0, 1], ids=["file", "ram"])
@pytest.mark.parametrize("offset", [0, 512])
@pytest.mark.parametrize("blocks", [1, 8, 200, 1008])
def test_what_is_written_is_read(
    xen_guest: PvscsiFrontEnd, target: int, offset: int, blocks: int
) -> None:
    data = os.urandom(blocks * BLOCK)
    written = xen_guest.scsi(target, 0, write_10(77, blocks), data_out=data, offset=offset)
    assert (written.result, written.resid) == (0, 0)
    read = xen_guest.scsi(target, 0, read_10(77, blocks), data_in=len(data), offset=offset)
    assert (read.result, read.resid, read.clean) == (0, 0, True)
    assert read.data == data
    assert xen_guest.pinned() == []


def test_sixteen_requests_at_once_end_each_for_itself(xen_guest: PvscsiFrontEnd) -> None:
    blocks = [os.urandom(4 * KIB) for _ in range(16)]
    sent = [
        xen_guest.submit(0, 0, write_10(8 * number, 8), data_out=data)
        for number, data in enumerate(blocks)
    ]
    assert all(xen_guest.wait(pending).good for pending in sent)
    sent = [xen_guest.submit(0, 0, read_10(8 * number, 8), data_in=4 * KIB) for number in range(16)]
    assert [xen_guest.wait(pending).data for pending in sent] == blocks


def test_508_kib_are_the_most_that_linux_asks_for(xen_guest: PvscsiFrontEnd) -> None:
    data = os.urandom(508 * KIB)
    # 127 pages and a piece: 128 segments.
    assert xen_guest.scsi(0, 0, write_10(0, 1016), data_out=data, offset=2048).good
    assert xen_guest.scsi(0, 0, read_10(0, 1016), data_in=len(data), offset=1024).data == data
    one_more = xen_guest.scsi(0, 0, read_10(0, 1032), data_in=516 * KIB)
    assert one_more.host == pv.DID_ERROR
    assert xen_guest.pinned() == []


def test_as_many_segments_as_were_negotiated(daemon: Daemon) -> None:
    with PvscsiFrontEnd(daemon.socket, segments=13312) as guest:
        guest.ready(1)
        data = os.urandom(8 << 20)
        assert guest.scsi(1, 0, write_10(0, 16384), data_out=data, offset=512).good
        assert guest.scsi(1, 0, read_10(0, 16384), data_in=len(data)).data == data
    with PvscsiFrontEnd(daemon.socket, segments=0) as guest:
        guest.ready(1)
        assert guest.scsi(1, 0, read_10(0, 8), data_in=4 * KIB).good
        assert guest.scsi(1, 0, read_10(0, 1016), data_in=508 * KIB).host == pv.DID_ERROR


def transfer_limit(guest: PvscsiFrontEnd | FrontEnd, target: int, length: int = 64) -> int:
    """MAXIMUM TRANSFER LENGTH of VPD page B0h, in blocks; the reply is as long as was asked for."""
    inquiry = struct.pack(">BBBHB", 0x12, 1, 0xB0, length, 0)
    told = guest.scsi(target, 0, inquiry, data_in=length)
    assert told.good, told
    assert len(told.data) == length
    return int.from_bytes(told.data[8:12], "big")


def test_linux_is_told_to_ask_for_no_more_than_128_grants(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(
        ["0:0:0:0=ram:8M", "0:0:1:0=ram:8M,block-size=4096", "0:0:2:0=ram:8M,max-transfer=508K"]
    )
    with PvscsiFrontEnd(daemon.socket) as guest:
        for target in range(3):
            guest.ready(target)
        assert [transfer_limit(guest, target) for target in range(3)] == [128, 16, 1016]
        assert transfer_limit(guest, 0, length=12) == 128
        # Told, not enforced: who knows better, as SG_IO does, gets what the ring carries.
        assert guest.scsi(0, 0, read_10(0, 1016), data_in=508 * KIB).good
    with FrontEnd(daemon.socket) as guest:
        for target in range(3):
            guest.ready(target)
        assert [transfer_limit(guest, target) for target in range(3)] == [0xFFFF, 8191, 1016]


def test_sense_and_residual_of_a_command_that_fails(xen_guest: PvscsiFrontEnd) -> None:
    beyond = xen_guest.scsi(0, 0, read_10(0x7FFFFFFF, 1), data_in=BLOCK)
    assert (beyond.status, beyond.host) == (2, 0)
    assert beyond.sense_code == (5, 0x21, 0)
    assert len(beyond.sense) == 8 + beyond.sense[7]
    assert (beyond.resid, beyond.clean) == (BLOCK, True)


def test_a_reservation_conflict_is_a_status(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon([f"{host}:0:0:0=ram:1M,share=on" for host in (0, 1)], sockets=2)
    with FrontEnd(daemon.sockets[1]) as holder, PvscsiFrontEnd(daemon.socket) as guest:
        holder.ready()
        guest.ready()
        assert holder.scsi(0, 0, RESERVE_6).good
        conflict = guest.scsi(0, 0, read_10(0, 1), data_in=BLOCK)
        assert (conflict.host, conflict.status) == (0, 0x18)


def test_reset_and_abort_are_answered(xen_guest: PvscsiFrontEnd) -> None:
    assert xen_guest.management(xen.ABORT, 0, 0, 999) == pv.SUCCESS
    assert xen_guest.management(xen.RESET, 0, 0) == pv.SUCCESS
    after = xen_guest.scsi(0, 0, bytes(6))
    assert after.sense_code == (6, 0x29, 3)
    assert xen_guest.management(xen.RESET, 9, 0) == pv.FAILURE
    assert xen_guest.management(xen.ABORT, 0, 9, 1) == pv.FAILURE


def test_an_abort_ends_its_command_and_stalls_no_other(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(["0:0:0:0=null:1G,latency=30s", "0:0:1:0=ram:1M"])
    with PvscsiFrontEnd(daemon.socket) as guest:
        guest.ready(0)
        guest.ready(1)
        slow = [guest.submit(0, 0, read_10(0, 8), data_in=4 * KIB) for _ in range(3)]
        abort = guest.submit_management(xen.ABORT, 0, 0, slow[1].rqid)
        assert guest.scsi(1, 0, read_10(0, 8), data_in=4 * KIB).good
        assert guest.wait_answer(abort, "ABORT").result == pv.SUCCESS
        # An aborted command has its end before the function has: its page is free.
        assert slow[1].rqid in guest.answers
        assert guest.wait(slow[1]).host == pv.DID_ABORT
        assert not {slow[0].rqid, slow[2].rqid} & set(guest.answers)
        assert guest.management(xen.RESET, 0, 0) == pv.SUCCESS
        assert [guest.wait(slow[one]).host for one in (0, 2)] == [pv.DID_RESET] * 2
        assert guest.pinned() == []


HOSTILE = {
    "no such grant": lambda guest, good: [xen.Segment(0xFFFFFFFF, 0, 512)],
    "nothing granted": lambda guest, good: [xen.Segment(30000, 0, 512)],
    "another domain": lambda guest, good: [granted(guest, domid=7)],
    "read-only for a read": lambda guest, good: [granted(guest, readonly=True)],
    "a frame out of range": lambda guest, good: [
        xen.Segment(guest.grants.grant(0xFFFFFFF), 0, 512)
    ],
    "past the page": lambda guest, good: [xen.Segment(good, 4000, 512)],
    "27 segments": lambda guest, good: [xen.Segment(good, 0, 8)] * 26 + [xen.Segment(good, 0, 8)],
    "good ones before a bad one": lambda guest, good: [
        *[xen.Segment(good, 0, 8)] * 25,
        xen.Segment(0xFFFFFFFF, 0, 8),
    ],
}


def granted(guest: PvscsiFrontEnd, *, domid: int = 0, readonly: bool = False) -> xen.Segment:
    address = guest.memory.allocate(xen.PAGE)
    reference = guest.grants.grant(guest.frame(address), domid=domid, readonly=readonly)
    return xen.Segment(reference, 0, 512)


@pytest.mark.parametrize("case", HOSTILE)
def test_what_a_hostile_guest_lends_costs_it_the_command(
    xen_guest: PvscsiFrontEnd, case: str
) -> None:
    good = granted(xen_guest).reference
    segments = HOSTILE[case](xen_guest, good)
    slot = bytearray(
        xen.request(50000, cdb=read_10(0, 1), direction=xen.FROM_DEVICE, segments=segments[:26])
    )
    slot[31] = len(segments)
    xen_guest.put(bytes(slot))
    answer = xen_guest.wait_answer(50000, case)
    assert answer.result >> 16 == pv.DID_ERROR
    assert answer.clean
    assert xen_guest.pinned() == []
    assert xen_guest.scsi(0, 0, read_10(0, 1), data_in=BLOCK).good


def test_a_grant_that_is_taken_back_in_flight_harms_nobody(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(["0:0:0:0=null:1G,latency=200ms"])
    with PvscsiFrontEnd(daemon.socket) as guest:
        guest.ready()
        pending = guest.submit(0, 0, read_10(0, 1), data_in=BLOCK)
        reference = pending.pages[0][1]
        guest.grants.set(reference, 0, 0, 0)
        assert guest.wait(pending).result >> 16 in {0, pv.DID_ERROR}
        assert guest.grants.flags(reference) == 0


def test_a_broken_ring_ends_that_connection(daemon: Daemon, xen_guest: PvscsiFrontEnd) -> None:
    pending = xen_guest.submit(2, 0, read_10(0, 1), data_in=BLOCK)
    xen_guest.wait(pending)
    xen_guest.ring.set_word(0, xen_guest.ring.produced + 17)
    os.eventfd_write(xen_guest.kick, 1)
    xen_guest.peer.expect_closed()
    assert xen_guest.grants.in_use() == []
    with PvscsiFrontEnd(daemon.socket) as other:
        other.ready()


def test_a_front_end_that_leaves_gets_every_page_back(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(["0:0:0:0=null:1G,latency=30s"])
    guest = PvscsiFrontEnd(daemon.socket)
    with guest:
        guest.ready()
        for _ in range(4):
            guest.submit(0, 0, read_10(0, 8), data_in=4 * KIB)
        guest.management(xen.ABORT, 0, 0, 999)  # by then all four have been taken
        assert len(guest.pinned()) == 4
        guest.peer.close()
        with FrontEnd(daemon.socket) as other:  # served when the first has gone
            other.ready()
        assert guest.grants.in_use() == []
        assert not any(guest.area.read(pv.AREA_PINS, guest.grants.entries))


def test_the_ring_stops_starts_and_pauses(xen_guest: PvscsiFrontEnd) -> None:
    taken = xen_guest.ring.produced
    pending = xen_guest.submit(0, 0, read_10(0, 1), data_in=BLOCK)
    # A request that no worker had looked at yet waits for the next start.
    more = xen_guest.stop() - taken
    assert more in {0, 1}
    assert (pending.rqid in xen_guest.answers) == bool(more)
    assert xen_guest.grants.in_use() == []
    xen_guest.describe_ring()
    assert xen_guest.enable() == pv.DONE
    assert xen_guest.wait(pending).good
    assert xen_guest.scsi(0, 0, read_10(0, 1), data_in=BLOCK).good
    assert xen_guest.enable(0) == pv.DONE
    pending = xen_guest.submit(0, 0, read_10(0, 1), data_in=BLOCK)
    assert xen_guest.enable(0) == pv.DONE
    assert xen_guest.ring.collect() == []
    assert xen_guest.enable(1) == pv.DONE
    assert xen_guest.wait(pending).good


def test_a_guest_whose_page_will_not_do_may_try_again(daemon: Daemon) -> None:
    guest = PvscsiFrontEnd(daemon.socket)
    reference = guest.ring_reference
    guest.negotiate()
    guest.describe()
    guest.ring_reference = 31000  # grants nothing
    guest.describe_ring()
    assert guest.enable() == pv.GUEST_FAULT
    guest.ring_reference = reference
    guest.describe_ring()
    guest.ring.set_word(0, 17)
    assert guest.enable() == pv.GUEST_FAULT
    guest.ring.clear()
    assert guest.enable() == pv.DONE
    guest.ready()
    guest.close()


def test_reset_device_ends_all_and_lets_the_next_life_begin(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(["0:0:0:0=null:1G,latency=30s"])
    with PvscsiFrontEnd(daemon.socket) as guest:
        guest.ready()
        pending = guest.submit(0, 0, read_10(0, 8), data_in=4 * KIB)
        guest.management(xen.ABORT, 0, 0, 999)
        assert guest.peer.acknowledge(34) == pv.DONE
        assert guest.wait(pending).host == pv.DID_RESET
        assert guest.grants.in_use() == []
        guest.ring.clear()
        guest.describe_ring()
        assert guest.enable() == pv.DONE
        assert guest.scsi(0, 0, bytes(6)).sense_code == (6, 0x29, 2)


def test_both_kinds_of_guests_see_the_same_disk(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(["0:0:0:0=ram:1M"])
    with PvscsiFrontEnd(daemon.socket) as guest:
        guest.ready()
        assert guest.scsi(0, 0, write_10(5, 1), data_out=b"x" * BLOCK).good
        seen = guest.scsi(0, 0, INQUIRY, data_in=36).data
    with FrontEnd(daemon.socket) as virtio:
        virtio.ready()
        assert virtio.scsi(0, 0, read_10(5, 1), data_in=BLOCK).data == b"x" * BLOCK
        assert virtio.scsi(0, 0, INQUIRY, data_in=36).data == seen


def test_a_killed_back_end_leaves_its_work_to_the_next(
    make_daemon: MakeDaemon, image: Path
) -> None:
    first = make_daemon([f"0:0:0:0={image},fault=opcode=write:hang"])
    guest = PvscsiFrontEnd(first.socket)
    with guest:
        guest.ready()
        data = [os.urandom(BLOCK) for _ in range(5)]
        sent = [
            guest.submit(0, 0, write_10(number, 1), data_out=block)
            for number, block in enumerate(data)
        ]
        guest.management(xen.ABORT, 0, 0, 999)
        assert len(guest.pinned()) == 5
        first.kill()
        guest.peer.expect_closed()
        second = make_daemon([f"0:0:0:0={image}"])
        guest.reconnect(second.socket)
        ends = [guest.wait(pending) for pending in sent]
        # The next back-end has a unit attention to tell, and the guest asks once more.
        assert ends[0].sense_code == (6, 0x29, 1)
        assert all(end.good for end in ends[1:])
        assert guest.scsi(0, 0, write_10(0, 1), data_out=data[0]).good
        assert guest.scsi(0, 0, read_10(0, 5), data_in=5 * BLOCK).data == b"".join(data)
        assert guest.pinned() == []


def test_a_front_end_that_says_nothing_does_not_hold_the_end_up(daemon: Daemon) -> None:
    silent = pv.Peer.connect(daemon.socket)
    started = time.monotonic()
    daemon.stop()
    assert time.monotonic() - started < 10
    silent.expect_closed()
    silent.close()
