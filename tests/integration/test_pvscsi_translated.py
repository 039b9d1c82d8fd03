"""A front-end that translates grants: frame numbers stand in place of references."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness import commands as cdb
from tests.harness import pvscsi_frontend as pv
from tests.harness import xen_ring as xen
from tests.harness.generated import examples
from tests.harness.pvscsi_frontend import PvscsiFrontEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon
    from tests.harness.frontend import FrontEnd

    from .conftest import MakeDaemon

ABILITIES = pv.TRANSLATED | pv.INFLIGHT
BLOCK = 512
INQUIRY = bytes.fromhex("120000002400")
READ, WRITE = cdb.read_10(0, 1), cdb.write_10(0, 1)


@pytest.fixture(scope="module")
def guest(two_hosts: Daemon) -> Iterator[PvscsiFrontEnd]:
    """One guest for all tests: none of them may cost it its connection."""
    with PvscsiFrontEnd(two_hosts.sockets[0], abilities=ABILITIES) as front_end:
        front_end.ready()
        yield front_end


@pytest.mark.parametrize("offset", [0, 512])
@pytest.mark.parametrize("blocks", [1, 8, 200, 1008])
def test_what_is_written_is_read(guest: PvscsiFrontEnd, offset: int, blocks: int) -> None:
    data = os.urandom(blocks * BLOCK)
    assert guest.scsi(0, 0, cdb.write_10(77, blocks), data_out=data, offset=offset).good
    read = guest.scsi(0, 0, cdb.read_10(77, blocks), data_in=len(data), offset=offset)
    assert (read.result, read.resid, read.clean) == (0, 0, True)
    assert read.data == data


def first(guest: PvscsiFrontEnd) -> int:
    return guest.frame(guest.memory.guest_base)


def last(guest: PvscsiFrontEnd) -> int:
    return guest.frame(guest.memory.guest_base + guest.memory.size) - 1


#: Frame, offset, length of a piece.
HOSTILE: dict[str, Callable[[PvscsiFrontEnd], tuple[int, int, int]]] = {
    "below memory": lambda guest: (first(guest) - 1, 0, BLOCK),
    "above memory": lambda guest: (last(guest) + 1, 0, BLOCK),
    "frame 0": lambda guest: (0, 0, BLOCK),
    "the highest frame": lambda guest: (0xFFFFFFFF, 0, BLOCK),
    "past its page": lambda guest: (first(guest), 4000, BLOCK),
    "past memory": lambda guest: (last(guest), 4095, 2),
    "both as large as can be": lambda guest: (last(guest), 0xFFFF, 0xFFFF),
}


@pytest.mark.parametrize("where", ["alone", "second", "page of segments", "in a page of segments"])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_frame_that_is_none_costs_its_command(
    guest: PvscsiFrontEnd, bystander: FrontEnd, case: str, where: str
) -> None:
    page = guest.memory.allocate(xen.PAGE)
    bad, good = xen.Segment(*HOSTILE[case](guest)), xen.Segment(guest.frame(page), 0, BLOCK)
    segments, indirect = [bad], where == "page of segments"
    if where == "second":
        segments = [good, bad]
    elif where == "in a page of segments":
        guest.memory.write(page, bad.pack())
        segments, indirect = [xen.Segment(guest.frame(page), 0, 8)], True
    slot = xen.request(9, cdb=READ, direction=xen.FROM_DEVICE, segments=segments, indirect=indirect)
    guest.put(slot)
    answer = guest.wait_answer(9, case)
    assert (answer.result >> 16, answer.clean) == (pv.DID_ERROR, True)
    guest.memory.free(page, xen.PAGE)
    assert guest.scsi(0, 0, READ, data_in=BLOCK).good
    assert bystander.scsi(0, 0, INQUIRY, data_in=36).good


segments = st.builds(
    xen.Segment,
    st.integers(0, 2**32 - 1) | st.integers(0x100000, 0x102000),
    st.integers(0, 4096) | st.integers(0, 0xFFFF),
    st.integers(0, 4096) | st.integers(0, 0xFFFF),
)


# Data-out: nothing is written into the pages that examples name, of which the ring's is one.
@given(pieces=st.lists(segments, max_size=26), indirect=st.booleans())
@examples(200)
def test_whatever_frames_a_slot_names_it_is_answered_once(
    two_hosts: Daemon, guest: PvscsiFrontEnd, pieces: list[xen.Segment], indirect: bool
) -> None:
    slot = xen.request(8, cdb=WRITE, direction=xen.TO_DEVICE, segments=pieces, indirect=indirect)
    guest.put(slot)
    answer = guest.wait_answer(8, f"slot {slot.hex()}")
    assert answer.result >> 16 in {0, pv.DID_ERROR}
    assert answer.clean
    assert guest.answers == {}
    assert two_hosts.log().count("Traceback") == 0


def test_a_killed_back_end_leaves_its_work_to_the_next(
    make_daemon: MakeDaemon, image: Path
) -> None:
    first = make_daemon([f"0:0:0:0={image},fault=opcode=write:hang"])
    with PvscsiFrontEnd(first.socket, abilities=ABILITIES) as guest:
        guest.ready()
        data = [os.urandom(BLOCK) for _ in range(5)]
        sent = [
            guest.submit(0, 0, cdb.write_10(number, 1), data_out=block)
            for number, block in enumerate(data)
        ]
        guest.management(xen.ABORT, 0, 0, 999)  # by then all five have been taken
        first.kill()
        guest.peer.expect_closed()
        guest.reconnect(make_daemon([f"0:0:0:0={image}"]).socket)
        ends = [guest.wait(pending) for pending in sent]
        assert ends[0].sense_code == (6, 0x29, 1)
        assert all(end.good for end in ends[1:])
        assert guest.scsi(0, 0, cdb.read_10(1, 4), data_in=4 * BLOCK).data == b"".join(data[1:])
