"""Task management while commands are held by a medium's latency."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness.frontend import (
    ABORTED,
    BAD_TARGET,
    FUNCTION_COMPLETE,
    FUNCTION_REJECTED,
    FUNCTION_SUCCEEDED,
    INCORRECT_LUN,
    RESET_RESPONSE,
    FrontEnd,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import MakeDaemon

(ABORT_TASK, ABORT_TASK_SET, CLEAR_ACA, CLEAR_TASK_SET, I_T_NEXUS_RESET, LUN_RESET) = range(6)
QUERY_TASK, QUERY_TASK_SET = 6, 7

#: Nothing in a test takes as long: what ends sooner was ended.
HOUR = "latency=3600s"


@pytest.fixture
def guest(make_daemon: MakeDaemon) -> Iterator[FrontEnd]:
    """Target 0 holds every medium command for an hour; target 1 holds none."""
    daemon = make_daemon([f"0:0:0:0=null:1G,{HOUR}", "0:0:1:0=ram:1M"])
    with FrontEnd(daemon.socket, request_queues=2) as front_end:
        front_end.ready(0)
        front_end.ready(1)
        yield front_end


def test_abort_task_ends_that_command_alone(guest: FrontEnd) -> None:
    first = guest.submit(0, 0, cdb.read_10(0, 1), data_in=512, tag=1001)
    second = guest.submit(0, 0, cdb.read_10(0, 1), data_in=512, tag=1002, queue=3)
    assert guest.tmf(ABORT_TASK, 0, 0, tag=1001) == FUNCTION_COMPLETE
    assert guest.is_done(first), "the function was answered before the command it affects"
    assert guest.wait(first).response == ABORTED
    assert not guest.is_done(second)
    assert guest.tmf(ABORT_TASK, 0, 0, tag=1002) == FUNCTION_COMPLETE
    assert guest.wait(second).response == ABORTED


def test_abort_of_an_unknown_tag_is_complete(guest: FrontEnd) -> None:
    held = guest.submit(0, 0, cdb.read_10(0, 1), data_in=512, tag=5)
    assert guest.tmf(ABORT_TASK, 0, 0, tag=6) == FUNCTION_COMPLETE
    assert not guest.is_done(held)
    assert guest.tmf(ABORT_TASK_SET, 0, 0) == FUNCTION_COMPLETE


@pytest.mark.parametrize(
    ("function", "response"),
    [(ABORT_TASK_SET, ABORTED), (CLEAR_TASK_SET, ABORTED), (LUN_RESET, RESET_RESPONSE)],
)
def test_functions_on_a_unit_end_all_of_it_and_nothing_else(
    guest: FrontEnd, function: int, response: int
) -> None:
    held = [
        guest.submit(0, 0, cdb.write_10(n, 1), data_out=bytes(512), queue=2 + n % 2)
        for n in range(20)
    ]
    assert guest.tmf(function, 0, 0) == FUNCTION_COMPLETE
    assert all(guest.is_done(one) for one in held)
    assert {guest.wait(one).response for one in held} == {response}
    assert guest.scsi(1, 0, cdb.read_10(0, 1), data_in=512).good


def test_a_lun_reset_is_told_by_a_unit_attention(guest: FrontEnd) -> None:
    assert guest.tmf(LUN_RESET, 1, 0) == FUNCTION_COMPLETE
    told = guest.scsi(1, 0, cdb.read_10(0, 1), data_in=512)
    assert told.status == 2
    assert told.sense_code == (6, 0x29, 3)
    assert guest.scsi(1, 0, cdb.read_10(0, 1), data_in=512).good


def test_an_i_t_nexus_reset_ends_everything_of_its_target(guest: FrontEnd) -> None:
    held = guest.submit(0, 0, cdb.read_10(0, 1), data_in=512)
    assert guest.tmf(I_T_NEXUS_RESET, 1, 0) == FUNCTION_COMPLETE
    assert not guest.is_done(held)
    assert guest.scsi(1, 0, bytes(6)).sense_code == (6, 0x29, 7)
    assert guest.tmf(I_T_NEXUS_RESET, 0, 5) == FUNCTION_COMPLETE  # whatever LUN is named
    assert guest.wait(held).response == RESET_RESPONSE
    assert guest.scsi(0, 0, bytes(6)).sense_code == (6, 0x29, 7)
    assert guest.scsi(1, 0, bytes(6)).good


def test_query_task(guest: FrontEnd) -> None:
    assert guest.tmf(QUERY_TASK_SET, 0, 0) == FUNCTION_COMPLETE
    held = guest.submit(0, 0, cdb.read_10(0, 1), data_in=512, tag=77)
    assert guest.tmf(QUERY_TASK, 0, 0, tag=77) == FUNCTION_SUCCEEDED
    assert guest.tmf(QUERY_TASK, 0, 0, tag=78) == FUNCTION_COMPLETE
    assert guest.tmf(QUERY_TASK_SET, 0, 0) == FUNCTION_SUCCEEDED
    assert not guest.is_done(held)
    guest.tmf(LUN_RESET, 0, 0)


def test_what_is_not_there_and_what_is_not_known(guest: FrontEnd) -> None:
    assert guest.tmf(LUN_RESET, 9, 0) == BAD_TARGET
    assert guest.tmf(I_T_NEXUS_RESET, 9, 0) == BAD_TARGET
    assert guest.tmf(LUN_RESET, 0, 9) == INCORRECT_LUN
    assert guest.tmf(CLEAR_ACA, 0, 0) == FUNCTION_REJECTED
    assert guest.tmf(99, 0, 0) == FUNCTION_REJECTED


def test_commands_that_come_with_the_function_are_taken_first(guest: FrontEnd) -> None:
    """What was made available before the function was, it affects: the ring is drained first."""
    held = [guest.submit(0, 0, cdb.read_10(0, 1), data_in=512) for _ in range(30)]
    asked = guest.submit_tmf(ABORT_TASK_SET, 0, 0)
    assert guest.wait_tmf(asked) == FUNCTION_COMPLETE
    assert all(guest.is_done(one) for one in held)


def test_a_command_of_the_long_road_is_ended_whenever_the_function_comes(guest: FrontEnd) -> None:
    """Also where Python has been told of both at once, and has not begun with the command."""
    for _ in range(100):
        asked = [guest.submit(1, 0, cdb.inquiry(36), data_in=36) for _ in range(8)]
        assert guest.tmf(ABORT_TASK_SET, 1, 0) == FUNCTION_COMPLETE
        for one in asked:
            assert guest.is_done(one)
            answer = guest.wait(one)
            assert answer.response == ABORTED or answer.good


def test_a_held_command_ends_when_its_time_has_come(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(["0:0:0:0=ram:1M,latency=200ms"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        began = time.monotonic()
        assert guest.scsi(0, 0, cdb.read_10(0, 1), data_in=512).good
        assert time.monotonic() - began >= 0.2
