"""The commands of the emulated disk that are not the medium's, and what answers each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import handlers as primary
from vhost_pvscsi.devices.primary import readiness
from vhost_pvscsi.devices.primary.handlers import Answered
from vhost_pvscsi.scsi import opcodes
from vhost_pvscsi.scsi.codes import (
    Opcode,
    ServiceActionIn,
    ThirdPartyIn,
    ThirdPartyOut,
)

from . import blocks, copying, defects, inquiry, logs, power, provisioning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhost_pvscsi.scsi.command import Command

    from .state import Handler

#: Everything that is not the medium's, one function each.
HANDLERS: Mapping[Command, Handler] = {
    **primary.HANDLERS,
    opcodes.command(Opcode.INQUIRY): inquiry.inquiry,
    opcodes.command(Opcode.START_STOP_UNIT): power.start_stop_unit,
    opcodes.command(Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL): readiness.prevent_allow,
    opcodes.command(Opcode.READ_CAPACITY_10): blocks.read_capacity_10,
    opcodes.command(Opcode.SEEK_10): blocks.seek_10,
    opcodes.command(
        Opcode.SERVICE_ACTION_IN_16, ServiceActionIn.READ_CAPACITY_16
    ): blocks.read_capacity_16,
    opcodes.command(
        Opcode.SERVICE_ACTION_IN_16, ServiceActionIn.GET_LBA_STATUS
    ): provisioning.get_lba_status,
    opcodes.command(Opcode.LOG_SENSE): logs.log_sense,
    opcodes.command(Opcode.READ_DEFECT_DATA_10): defects.read_defect_data_10,
    opcodes.command(Opcode.READ_DEFECT_DATA_12): defects.read_defect_data_12,
    **{
        opcodes.command(Opcode.THIRD_PARTY_COPY_OUT, action): copying.extended_copy
        for action in (ThirdPartyOut.EXTENDED_COPY_LID1, ThirdPartyOut.EXTENDED_COPY_LID4)
    },
    opcodes.command(
        Opcode.THIRD_PARTY_COPY_OUT, ThirdPartyOut.COPY_OPERATION_ABORT
    ): copying.copy_operation_abort,
    **{
        opcodes.command(Opcode.THIRD_PARTY_COPY_IN, action): copying.receive_copy_results
        for action in ThirdPartyIn
        if action is not ThirdPartyIn.RECEIVE_COPY_OPERATING_PARAMETERS
    },
    opcodes.command(
        Opcode.THIRD_PARTY_COPY_IN, ThirdPartyIn.RECEIVE_COPY_OPERATING_PARAMETERS
    ): copying.receive_copy_operating_parameters,
}

#: All that a disk answers.
commands = Answered(opcodes.TABLE, HANDLERS)
