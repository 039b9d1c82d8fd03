"""The commands of the drive that are not the medium's, and what answers each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import handlers as primary
from vhost_pvscsi.devices.primary.handlers import Answered
from vhost_pvscsi.scsi.codes import MultimediaOpcode, Opcode
from vhost_pvscsi.scsi.opcodes import MULTIMEDIA
from vhost_pvscsi.scsi.opcodes import disc_command as command

from . import contents, reports, tray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhost_pvscsi.scsi.command import Command

    from .state import Handler

#: Everything that is not the medium's, one function each.
HANDLERS: Mapping[Command, Handler] = {
    **{row: handler for row, handler in primary.HANDLERS.items() if row in MULTIMEDIA},
    command(Opcode.INQUIRY): reports.inquiry,
    command(Opcode.START_STOP_UNIT): tray.start_stop_unit,
    command(Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL): tray.prevent_allow,
    command(Opcode.READ_CAPACITY_10): contents.read_capacity_10,
    command(Opcode.SEEK_10): contents.seek_10,
    command(Opcode.LOG_SENSE): reports.log_sense,
    command(MultimediaOpcode.READ_TOC_PMA_ATIP): contents.read_toc,
    command(MultimediaOpcode.GET_CONFIGURATION): reports.get_configuration,
    command(MultimediaOpcode.GET_EVENT_STATUS_NOTIFICATION): reports.get_event_status_notification,
    command(MultimediaOpcode.READ_DISC_INFORMATION): contents.read_disc_information,
    command(MultimediaOpcode.READ_TRACK_INFORMATION): contents.read_track_information,
    command(MultimediaOpcode.READ_DISC_STRUCTURE): contents.read_disc_structure,
    command(MultimediaOpcode.SET_CD_SPEED): reports.set_cd_speed,
    command(MultimediaOpcode.MECHANISM_STATUS): tray.mechanism_status,
}

#: All that a drive answers.
commands = Answered(MULTIMEDIA, HANDLERS)
