"""EmulatedDisk: a LogicalUnit whose blocks the engine moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.devices.gates import Cause, Ender, Keeper
from vhost_pvscsi.scsi import opcodes, sense
from vhost_pvscsi.scsi.opcodes import (
    Access,
    Command,
    CommandSet,
    Opcode,
    PersistentIn,
    PersistentOut,
)
from vhost_pvscsi.scsi.request import Reply, Request

from . import blocks, inquiry, power, report, reserving
from .state import DiskState, Handler

if TYPE_CHECKING:
    from vhost_pvscsi.engine import Medium
    from vhost_pvscsi.scsi.sense import SenseCode

    from .description import DiskGeometry, DiskIdentity

#: Runs a medium command that a ring holds: the engine's executor, bound to this unit's medium.
Executor: TypeAlias = Callable[[Request], Awaitable[Reply]]

#: Everything that is not the medium's, one function each.
HANDLERS: Mapping[Command, Handler] = {
    opcodes.command(Opcode.TEST_UNIT_READY): power.test_unit_ready,
    opcodes.command(Opcode.REQUEST_SENSE): power.request_sense,
    opcodes.command(Opcode.INQUIRY): inquiry.inquiry,
    opcodes.command(Opcode.MODE_SENSE_6): blocks.mode_sense_6,
    opcodes.command(Opcode.START_STOP_UNIT): power.start_stop_unit,
    opcodes.command(Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL): power.prevent_allow,
    opcodes.command(Opcode.READ_CAPACITY_10): blocks.read_capacity_10,
    opcodes.command(Opcode.MODE_SENSE_10): blocks.mode_sense_10,
    opcodes.command(Opcode.SERVICE_ACTION_IN_16, opcodes.READ_CAPACITY_16): blocks.read_capacity_16,
    opcodes.command(Opcode.REPORT_LUNS): report.report_luns,
    opcodes.command(
        Opcode.MAINTENANCE_IN, opcodes.REPORT_SUPPORTED_OPERATION_CODES
    ): report.report_supported_operation_codes,
    opcodes.command(
        Opcode.MAINTENANCE_IN, opcodes.REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS
    ): report.report_task_management,
    opcodes.command(Opcode.READ_DEFECT_DATA_10): report.read_defect_data_10,
    opcodes.command(Opcode.READ_DEFECT_DATA_12): report.read_defect_data_12,
    opcodes.command(Opcode.RESERVE_6): reserving.reserve,
    opcodes.command(Opcode.RELEASE_6): reserving.release,
    opcodes.command(Opcode.RESERVE_10): reserving.reserve,
    opcodes.command(Opcode.RELEASE_10): reserving.release,
    **{
        opcodes.command(Opcode.PERSISTENT_RESERVE_IN, action): reserving.persistent_in
        for action in PersistentIn
    },
    **{
        opcodes.command(Opcode.PERSISTENT_RESERVE_OUT, action): reserving.persistent_out
        for action in PersistentOut
    },
}

#: All that the disk answers, in the table's order.
COMMANDS = CommandSet(
    command
    for command in opcodes.TABLE
    if command in HANDLERS or command.access is not Access.OTHER
)


class EmulatedDisk:
    """A disk over a medium of the engine's.

    Unit attentions are the unit's own matter: `execute` reports and clears them by the nexus
    of the request, before anything else of the command is looked at (SAM-5 5.14).
    """

    def __init__(
        self,
        name: str,
        identity: DiskIdentity,
        geometry: DiskGeometry,
        executor: Executor,
        *,
        medium: Medium | None = None,
        flush: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._name = name
        self._medium = medium
        self._executor = executor
        self._state = DiskState(identity, geometry, COMMANDS, flush)

    @property
    def name(self) -> str:
        return self._name

    @property
    def medium(self) -> Medium | None:
        return self._medium

    @property
    def medium_opcodes(self) -> frozenset[int]:
        return opcodes.MEDIUM_OPCODES

    @property
    def identity(self) -> DiskIdentity:
        """The names it goes by."""
        return self._state.identity

    @property
    def geometry(self) -> DiskGeometry:
        """Its blocks."""
        return self._state.geometry

    async def connect(self, nexus: str, keeper: Keeper, ender: Ender | None = None) -> None:
        """Take a mapping of a nexus into account, before it is put in service.

        A nexus that is new to the unit has a POWER ON unit attention to hear; what shuts
        gates already, shuts this one too.
        """
        state = self._state
        first = state.gates.add(nexus, keeper, ender)
        if state.stopped:
            await keeper(Cause.STOPPED, True)
        if state.exclusion.alone:
            await keeper(Cause.EXCLUSIVE, True)
        if reserving.shut_for(state.reservations, nexus):
            await keeper(Cause.RESERVATION, True)
        if first:
            await state.attentions.join(nexus)
        elif state.attentions.pending(nexus):
            await keeper(Cause.ATTENTION, True)

    def disconnect(self, nexus: str, keeper: Keeper) -> None:
        """Forget a mapping; with a nexus' last one what it had still to hear is gone."""
        if self._state.gates.remove(nexus, keeper):
            self._state.attentions.leave(nexus)

    async def attend(
        self, code: SenseCode, *, nexus: str | None = None, but: str | None = None
    ) -> None:
        """Establish a unit attention for one nexus, or for all, `but` one."""
        await self._state.attentions.establish(code, nexus=nexus, but=but)

    async def nexus_lost(self, nexus: str) -> bool:
        """Give up what RESERVE took (SPC-2 5.5.1); True: something was given up."""
        return await reserving.nexus_lost(self._state, nexus)

    async def reset(self) -> None:
        """Do a logical unit reset (SAM-5 6.3.3); its commands have been ended by the caller."""
        await reserving.nexus_lost(self._state, None)
        await self._state.set_stopped(False)
        await self.attend(sense.BUS_DEVICE_RESET)

    async def execute(self, request: Request) -> Reply:
        """Answer one request; a mistake of the guest is a reply with sense, never an exception."""
        command = COMMANDS.find(request.cdb)
        if isinstance(command, Reply) or not command.ignores_attention:
            attention = await self._state.attentions.take(request.nexus)
            if attention is not None:
                return sense.check_condition(attention)
        if isinstance(command, Reply):
            return command
        if command.access is not Access.OTHER:
            return await self._on_medium(command, request)
        conflict = reserving.conflict(self._state, command, request)
        if conflict is not None:
            return conflict
        cdb = command.parse(request.cdb)
        if isinstance(cdb, Reply):
            return cdb
        return await HANDLERS[command](self._state, request, cdb)

    async def _on_medium(self, command: Command, request: Request) -> Reply:
        exclusion = self._state.exclusion
        alone = command.access is Access.EXCLUSIVE
        async with exclusion.exclusive() if alone else exclusion.shared():
            # Asked here, not before: another nexus may have preempted this one while it waited.
            refused = reserving.conflict(self._state, command, request)
            refused = refused or power.not_ready(self._state)
            # The executor checks the rest, write protection too, so that both roads answer alike.
            return refused or await self._executor(request)
