"""The commands of the emulated tape that are not the medium's, and what answers each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import handlers as primary
from vhost_pvscsi.devices.primary import readiness
from vhost_pvscsi.devices.primary.handlers import Answered
from vhost_pvscsi.scsi.codes import Opcode, SequentialOpcode
from vhost_pvscsi.scsi.opcodes import SEQUENTIAL
from vhost_pvscsi.scsi.opcodes import tape_command as command

from . import attributes, loading, logs, reports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhost_pvscsi.scsi.command import Command

    from .state import Handler

#: Everything that is not the medium's, one function each.
HANDLERS: Mapping[Command, Handler] = {
    **primary.HANDLERS,
    command(Opcode.INQUIRY): reports.inquiry,
    command(SequentialOpcode.READ_BLOCK_LIMITS): reports.read_block_limits,
    command(SequentialOpcode.REPORT_DENSITY_SUPPORT): reports.report_density_support,
    command(SequentialOpcode.LOAD_UNLOAD): loading.load_unload,
    command(Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL): readiness.prevent_allow,
    command(Opcode.LOG_SENSE): logs.log_sense,
    command(SequentialOpcode.READ_ATTRIBUTE): attributes.read_attribute,
    command(SequentialOpcode.WRITE_ATTRIBUTE): attributes.write_attribute,
}

#: All that a tape answers.
commands = Answered(SEQUENTIAL, HANDLERS)
