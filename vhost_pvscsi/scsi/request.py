"""What a guest asks of a logical unit, and what it is told."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Service(enum.IntEnum):
    """How the delivery of a command ended; each ring maps it to codes of its own.

    SAM-5 5.3.1 (service response), with the cases both rings tell apart.
    The numbers are the engine's (`engine/core/src/outcome.rs`).
    """

    COMPLETE = 0  #: a SCSI status (and sense) was delivered
    ABSENT_TARGET = 1  #: nothing is attached at that target
    ABORTED = 2  #: ended by ABORT TASK, ABORT TASK SET, CLEAR TASK SET
    RESET = 3  #: ended by a reset of its unit or nexus
    BUSY = 4  #: not taken now, try again
    OVERRUN = 5  #: the CDB asks for more data than the guest's buffers hold
    FAILURE = 6  #: the transport failed


class Status(enum.IntEnum):
    """SCSI status codes (SAM-5 5.3.1)."""

    GOOD = 0x00
    CHECK_CONDITION = 0x02
    CONDITION_MET = 0x04
    BUSY = 0x08
    RESERVATION_CONFLICT = 0x18
    TASK_SET_FULL = 0x28
    ACA_ACTIVE = 0x30
    TASK_ABORTED = 0x40


class TaskAttribute(enum.IntEnum):
    """Task attributes (SAM-5 8.9; virtio 1.2, 5.6.6.1)."""

    SIMPLE = 0
    ORDERED = 1
    HEAD = 2
    ACA = 3


@dataclass(frozen=True, slots=True)
class Request:
    """One SCSI command, as it came off a ring."""

    nexus: str  #: I_T nexus: the configured name of the virtual host
    target: int
    lun: int
    cdb: bytes  #: as many bytes as the ring carries (16 or 32); never empty
    tag: int = 0
    attribute: TaskAttribute = TaskAttribute.SIMPLE
    data_out: bytes = b""  #: a copy of the data-out buffer; empty for a medium command
    data_out_length: int = 0  #: bytes the guest offers to send
    data_in_length: int = 0  #: bytes the guest has room for
    token: int = 0  #: the engine's handle of the request, 0 for one that no ring holds
    #: Bytes in one command that a driver of such rings surely gets through, 0: no limit.
    transfer_limit: int = 0
    #: Bytes in one command that such a ring can carry at all, 0: no limit.
    block_limit: int = 0

    @property
    def opcode(self) -> int:
        """The operation code, byte 0 of the CDB."""
        return self.cdb[0]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a `Request`.

    `data` is data-in to be copied to the guest (cut to its buffer by the engine).
    `transferred` is set when the engine has moved the data itself.
    """

    status: Status = Status.GOOD
    service: Service = Service.COMPLETE
    sense: bytes = b""
    data: bytes = field(default=b"", repr=False)
    transferred: int | None = None


class TaskFunction(enum.IntEnum):
    """Task management functions (SAM-5 7); the numbers are virtio's (virtio 1.2, 5.6.6.2)."""

    ABORT_TASK = 0
    ABORT_TASK_SET = 1
    CLEAR_ACA = 2
    CLEAR_TASK_SET = 3
    I_T_NEXUS_RESET = 4
    LOGICAL_UNIT_RESET = 5
    QUERY_TASK = 6
    QUERY_TASK_SET = 7


class ManagementOutcome(enum.Enum):
    """How a task management function ended (SAM-5 7.1)."""

    COMPLETE = enum.auto()
    SUCCEEDED = enum.auto()
    REJECTED = enum.auto()
    INCORRECT_LUN = enum.auto()
    BAD_TARGET = enum.auto()
    FAILED = enum.auto()


@dataclass(frozen=True, slots=True)
class TaskManagement:
    """One task management request."""

    function: TaskFunction
    target: int
    lun: int
    tag: int  #: of the command to abort or query; meaningless for the others
