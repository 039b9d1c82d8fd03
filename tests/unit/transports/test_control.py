"""What is answered on the control ring."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhost_pvscsi.errors import RingError
from vhost_pvscsi.scsi.request import ManagementOutcome, TaskFunction, TaskManagement
from vhost_pvscsi.transports.vhost_user.control import encode_notifications, encode_outcome, judge
from vhost_pvscsi.wire.virtio_scsi import LunAddress, NotificationRequest, encode_lun

LUN = encode_lun(LunAddress(1, 2))


@pytest.mark.parametrize("function", TaskFunction)
def test_task_function_goes_to_the_manager(function: TaskFunction) -> None:
    data = struct.pack("<II8sQ", 0, function, LUN, 77)
    assert judge(data, 1) == TaskManagement(function, 1, 2, 77)


def test_unknown_task_function_is_rejected() -> None:
    assert judge(struct.pack("<II8sQ", 0, 8, LUN, 0), 1) == b"\x0b"


def test_task_function_for_no_lun_is_a_bad_target() -> None:
    assert judge(struct.pack("<II8sQ", 0, 0, bytes(8), 0), 1) == b"\x03"


@pytest.mark.parametrize(("type_", "subscribe"), [(1, False), (2, True)])
def test_notifications_are_asked_of_the_unit(type_: int, subscribe: bool) -> None:
    asked = judge(struct.pack("<I8sI", type_, LUN, 0xFF), 5)
    assert asked == NotificationRequest(subscribe, LunAddress(1, 2), 0xFF)
    assert judge(struct.pack("<I8sI", type_, bytes(8), 0xFF), 5) == bytes(4) + b"\x03"


def test_notifications_are_those_asked_for_that_are_possible() -> None:
    assert encode_notifications(0x12, 0x1A) == (0x12, struct.pack("<IB", 0x12, 0))
    assert encode_notifications(0x12, 0x10) == (0x10, struct.pack("<IB", 0x10, 0))
    assert encode_notifications(ManagementOutcome.INCORRECT_LUN, 1) == (0, bytes(4) + b"\x0c")


def test_unknown_type_is_rejected() -> None:
    assert judge(struct.pack("<I", 9), 64) == b"\x0b"


@pytest.mark.parametrize(
    ("data", "writable"),
    [(struct.pack("<II8sQ", 0, 0, LUN, 0), 0), (struct.pack("<I8sI", 1, LUN, 0), 4)],
)
def test_no_room_for_an_answer_breaks_the_ring(data: bytes, writable: int) -> None:
    with pytest.raises(RingError, match=f"leaves {writable} bytes"):
        judge(data, writable)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (ManagementOutcome.COMPLETE, 0),
        (ManagementOutcome.SUCCEEDED, 10),
        (ManagementOutcome.REJECTED, 11),
        (ManagementOutcome.INCORRECT_LUN, 12),
        (ManagementOutcome.BAD_TARGET, 3),
        (ManagementOutcome.FAILED, 9),
    ],
)
def test_outcomes(outcome: ManagementOutcome, code: int) -> None:
    assert encode_outcome(outcome) == bytes((code,))


def test_every_outcome_has_a_code() -> None:
    assert len({encode_outcome(outcome) for outcome in ManagementOutcome}) == len(ManagementOutcome)


@given(st.binary(max_size=40), st.integers(0, 8))
def test_any_request_is_asked_answered_or_a_ring_error(data: bytes, writable: int) -> None:
    try:
        answer = judge(data, writable)
    except RingError:
        return
    assert isinstance(answer, TaskManagement | NotificationRequest) or len(answer) in (1, 5)
