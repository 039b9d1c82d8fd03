"""Requests of the control ring: what they ask for, and the answers to them. No I/O."""

from __future__ import annotations

from vhost_pvscsi.errors import RingError
from vhost_pvscsi.scsi.request import ManagementOutcome, TaskFunction, TaskManagement
from vhost_pvscsi.wire.virtio_scsi import (
    NOTIFICATION_ANSWER_SIZE,
    TMF_ANSWER_SIZE,
    NotificationRequest,
    Response,
    TaskRequest,
    encode_notification_answer,
    encode_task_answer,
    parse_control,
)

#: virtio 1.2, 5.6.6.2.
_RESPONSES: dict[ManagementOutcome, Response] = {
    ManagementOutcome.COMPLETE: Response.OK,
    ManagementOutcome.SUCCEEDED: Response.FUNCTION_SUCCEEDED,
    ManagementOutcome.REJECTED: Response.FUNCTION_REJECTED,
    ManagementOutcome.INCORRECT_LUN: Response.INCORRECT_LUN,
    ManagementOutcome.BAD_TARGET: Response.BAD_TARGET,
    ManagementOutcome.FAILED: Response.FAILURE,
}


def judge(data: bytes, writable: int) -> TaskManagement | NotificationRequest | bytes:
    """Say what a control request asks for, or answer it where nothing needs to be done.

    Raises:
        RingError: it is cut short, or leaves no room for its answer.
    """
    request = parse_control(data)
    match request:
        case TaskRequest(subtype, address, tag):
            _need_room(writable, TMF_ANSWER_SIZE)
            if address is None:
                return encode_task_answer(Response.BAD_TARGET)
            try:
                function = TaskFunction(subtype)
            except ValueError:
                return encode_task_answer(Response.FUNCTION_REJECTED)
            return TaskManagement(function, address.target, address.lun, tag)
        case NotificationRequest(_, address, _):
            _need_room(writable, NOTIFICATION_ANSWER_SIZE)
            if address is None:
                return encode_notification_answer(0, Response.BAD_TARGET)
            return request
        case _:
            # Nobody knows how its answer is laid out; a task management answer is the least
            # that a driver can expect.
            return encode_task_answer(Response.FUNCTION_REJECTED)


def encode_outcome(outcome: ManagementOutcome) -> bytes:
    """Build the answer to a task management request."""
    return encode_task_answer(_RESPONSES[outcome])


def encode_notifications(possible: int | ManagementOutcome, asked: int) -> tuple[int, bytes]:
    """Build the answer to AN_QUERY or AN_SUBSCRIBE; with the events of `asked` that are possible.

    virtio 1.2, 5.6.6.2: `event_actual` is the subset that the device supports.
    """
    if isinstance(possible, ManagementOutcome):
        return 0, encode_notification_answer(0, _RESPONSES[possible])
    actual = possible & asked
    return actual, encode_notification_answer(actual, Response.OK)


def _need_room(writable: int, size: int) -> None:
    if writable < size:
        raise RingError(f"control request leaves {writable} bytes for an answer of {size}")
