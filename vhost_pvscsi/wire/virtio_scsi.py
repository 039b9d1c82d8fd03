"""The virtio SCSI host device: what its control and event rings carry, and its config space.

Command headers are not here: the engine reads and writes those. Per-request layouts use
`struct`, as construct would cost more than all the rest of a request.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import asdict, dataclass

from construct import ConstructError, Int16ul, Int32ul, Struct, Terminated

from vhost_pvscsi.errors import ProtocolError, RingError


class Response(enum.IntEnum):
    """How the device ended a request (virtio 1.2, 5.6.6.1 and 5.6.6.2)."""

    OK = 0  #: for a task management function: FUNCTION COMPLETE
    OVERRUN = 1
    ABORTED = 2
    BAD_TARGET = 3
    RESET = 4
    BUSY = 5
    TRANSPORT_FAILURE = 6
    TARGET_FAILURE = 7
    NEXUS_FAILURE = 8
    FAILURE = 9
    FUNCTION_SUCCEEDED = 10
    FUNCTION_REJECTED = 11
    INCORRECT_LUN = 12


class ControlType(enum.IntEnum):
    """The first word of a control request (virtio 1.2, 5.6.6.2)."""

    TMF = 0  #: task management
    AN_QUERY = 1  #: which asynchronous notifications are there
    AN_SUBSCRIBE = 2  #: send me those


class EventType(enum.IntEnum):
    """What an event tells (virtio 1.2, 5.6.6.3)."""

    NO_EVENT = 0
    TRANSPORT_RESET = 1
    ASYNC_NOTIFY = 2
    PARAM_CHANGE = 3


#: Or-ed to the type of an event: others before it found no buffer.
EVENTS_MISSED = 1 << 31


class ResetReason(enum.IntEnum):
    """Why a TRANSPORT_RESET event was sent (virtio 1.2, 5.6.6.3.1)."""

    HARD = 0
    RESCAN = 1  #: a LUN came
    REMOVED = 2  #: a LUN went


#: Bytes of a LUN field, of which the last four say nothing.
LUN_SIZE = 8

#: Set in byte 2 of a LUN: flat space addressing (SAM-5 4.7.7.3).
_FLAT_SPACE = 0x40

_TMF = struct.Struct("<II8sQ")
_NOTIFICATION = struct.Struct("<I8sI")
_NOTIFICATION_ANSWER = struct.Struct("<IB")
_EVENT = struct.Struct("<I8sI")
_TYPE = struct.Struct("<I")

#: Bytes that the device writes in answer to each kind of control request.
TMF_ANSWER_SIZE = 1
NOTIFICATION_ANSWER_SIZE = _NOTIFICATION_ANSWER.size


@dataclass(frozen=True, slots=True)
class LunAddress:
    """A target and a LUN on the one channel there is."""

    target: int
    lun: int


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A task management request (virtio 1.2, 5.6.6.2, `virtio_scsi_ctrl_tmf`)."""

    subtype: int  #: as the guest wrote it: may be none that exists
    address: LunAddress | None  #: None: its LUN field names no LUN of this device
    tag: int


@dataclass(frozen=True, slots=True)
class NotificationRequest:
    """A query of, or subscription to, asynchronous notifications (`virtio_scsi_ctrl_an`)."""

    subscribe: bool
    address: LunAddress | None
    events: int


@dataclass(frozen=True, slots=True)
class UnknownRequest:
    """A control request of a type that virtio does not have."""

    type: int


ControlRequest = TaskRequest | NotificationRequest | UnknownRequest


def encode_lun(address: LunAddress) -> bytes:
    """Build the LUN field of a command or control request (virtio 1.2, 5.6.6.1)."""
    high, low = divmod(address.lun, 256)
    return bytes((1, address.target, _FLAT_SPACE | high, low, 0, 0, 0, 0))


def encode_event_lun(address: LunAddress) -> bytes:
    """Build the LUN field of an event.

    Linux compares it with what REPORT LUNS gave, without taking the flat-space bits away, so a
    LUN below 256 must be written without them.
    """
    high, low = divmod(address.lun, 256)
    second = _FLAT_SPACE | high if high else 0
    return bytes((1, address.target, second, low, 0, 0, 0, 0))


def parse_lun(field: bytes) -> LunAddress | None:
    """Read a LUN field; None where it names no LUN that this device can have.

    Both forms of a LUN below 256 are taken (virtio 1.2, 5.6.6.1: single level, peripheral
    device addressing or flat space). Bytes 4 to 7 belong to levels that do not exist here.
    """
    method = field[2] & 0xC0
    if field[0] != 1 or (method != _FLAT_SPACE and field[2] != 0):
        return None
    return LunAddress(field[1], (field[2] & 0x3F) << 8 | field[3])


def parse_control(data: bytes) -> ControlRequest:
    """Read a control request (virtio 1.2, 5.6.6.2). Bytes behind it are ignored.

    Raises:
        RingError: it is shorter than its type needs.
    """
    if len(data) < _TYPE.size:
        raise RingError(f"control request of {len(data)} bytes has no type")
    (type_,) = _TYPE.unpack_from(data)
    if type_ == ControlType.TMF:
        _need(data, _TMF.size, "task management request")
        _, subtype, lun, tag = _TMF.unpack_from(data)
        return TaskRequest(subtype, parse_lun(lun), tag)
    if type_ in (ControlType.AN_QUERY, ControlType.AN_SUBSCRIBE):
        _need(data, _NOTIFICATION.size, "asynchronous notification request")
        _, lun, events = _NOTIFICATION.unpack_from(data)
        return NotificationRequest(type_ == ControlType.AN_SUBSCRIBE, parse_lun(lun), events)
    return UnknownRequest(type_)


def _need(data: bytes, size: int, what: str) -> None:
    if len(data) < size:
        raise RingError(f"{what} of {len(data)} bytes, not {size}")


def encode_task_answer(response: Response) -> bytes:
    """Build the answer to a task management request."""
    return bytes((response,))


def encode_notification_answer(events: int, response: Response) -> bytes:
    """Build the answer to an asynchronous notification request."""
    return _NOTIFICATION_ANSWER.pack(events, response)


@dataclass(frozen=True, slots=True)
class Event:
    """What the device tells the guest on the event ring (virtio 1.2, 5.6.6.3)."""

    type: int  #: an EventType, perhaps with EVENTS_MISSED
    address: LunAddress
    reason: int = 0  #: a ResetReason, or ASC in the low byte and ASCQ above it for PARAM_CHANGE

    def encode(self) -> bytes:
        """Build the 16 bytes of `virtio_scsi_event`."""
        return _EVENT.pack(self.type, encode_event_lun(self.address), self.reason)


#: Bytes of an event.
EVENT_SIZE = _EVENT.size

_CONFIG = Struct(
    "num_queues" / Int32ul,  # request queues only
    "seg_max" / Int32ul,
    "max_sectors" / Int32ul,
    "cmd_per_lun" / Int32ul,
    "event_info_size" / Int32ul,
    "sense_size" / Int32ul,
    "cdb_size" / Int32ul,
    "max_channel" / Int16ul,
    "max_target" / Int16ul,
    "max_lun" / Int32ul,
    Terminated,
)


@dataclass(frozen=True, slots=True)
class Config:
    """The device's configuration space (virtio 1.2, 5.6.4).

    QEMU answers reads of it by itself; other front-ends ask us.
    """

    num_queues: int
    seg_max: int = 126
    max_sectors: int = 0xFFFF
    cmd_per_lun: int = 128
    event_info_size: int = EVENT_SIZE
    sense_size: int = 96
    cdb_size: int = 32
    max_channel: int = 0
    max_target: int = 255
    max_lun: int = 16383

    def encode(self) -> bytes:
        """Build its 36 bytes."""
        data: bytes = _CONFIG.build(asdict(self))
        return data

    @classmethod
    def parse(cls, data: bytes) -> Config:
        """Read its 36 bytes.

        Raises:
            ProtocolError: it has another length.
        """
        try:
            fields = _CONFIG.parse(data)
        except ConstructError as error:
            raise ProtocolError(f"virtio-scsi config space: {error}") from error
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__})
