"""Third-party copy commands (SPC-4 6.3 to 6.5, 6.20 to 6.25)."""

from __future__ import annotations

from vhost_pvscsi.scsi.codes import Opcode, ThirdPartyIn, ThirdPartyOut
from vhost_pvscsi.scsi.command import Barrier, Command, Direction, layout, row

_LONG_ID = {"list_identifier": (2, 0, 32)}
_SHORT_ID = {"list_identifier": (2, 0, 8)}


def _name(action: ThirdPartyIn | ThirdPartyOut) -> str:
    title = action.name.replace("_", " ")
    for suffix in (" LID1", " LID4"):
        title = title.replace(suffix, f"({suffix.strip()})")
    return title


def _out(action: ThirdPartyOut) -> Command:
    # It reads and writes, perhaps other units than the one it is sent to: any reservation there
    # stops it, and `devices/emulated/copier.py` asks those of the others.
    return row(
        Opcode.THIRD_PARTY_COPY_OUT,
        _name(action),
        "SPC-4",
        16,
        layout(parameter_list_length=(10, 0, 32)),
        Direction.OUT,
        service_action=action,
        timeout=600,
        barrier=Barrier.WRITE,
    )


def _in(action: ThirdPartyIn, identifier: dict[str, tuple[int, int, int]]) -> Command:
    return row(
        Opcode.THIRD_PARTY_COPY_IN,
        _name(action),
        "SPC-4",
        16,
        layout(**identifier, allocation_length=(10, 0, 32)),
        Direction.IN,
        service_action=action,
        barrier=Barrier.WRITE,
    )


# fmt: off
ROWS: tuple[Command, ...] = (
    _out(ThirdPartyOut.EXTENDED_COPY_LID1),
    _out(ThirdPartyOut.EXTENDED_COPY_LID4),
    row(
        Opcode.THIRD_PARTY_COPY_OUT, _name(ThirdPartyOut.COPY_OPERATION_ABORT), "SPC-4", 16,
        layout(**_LONG_ID), service_action=ThirdPartyOut.COPY_OPERATION_ABORT,
        barrier=Barrier.WRITE,
    ),
    _in(ThirdPartyIn.RECEIVE_COPY_STATUS_LID1, _SHORT_ID),
    _in(ThirdPartyIn.RECEIVE_COPY_DATA_LID1, _SHORT_ID),
    # SPC-3 has a list identifier here too, and ignores it.
    _in(ThirdPartyIn.RECEIVE_COPY_OPERATING_PARAMETERS, _SHORT_ID),
    _in(ThirdPartyIn.RECEIVE_COPY_FAILURE_DETAILS_LID1, _SHORT_ID),
    _in(ThirdPartyIn.RECEIVE_COPY_STATUS_LID4, _LONG_ID),
    _in(ThirdPartyIn.RECEIVE_COPY_DATA_LID4, _LONG_ID),
)
# fmt: on
