"""MediumChanger: a LogicalUnit that moves cartridges between slots and drives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.faults.injector import Faults
from vhost_pvscsi.devices.primary import modes, reserving
from vhost_pvscsi.devices.primary.unit import PrimaryUnit
from vhost_pvscsi.scsi import sense

from .handlers import HANDLERS, commands
from .state import ChangerState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vhost_pvscsi.devices.faults.rule import Rule
    from vhost_pvscsi.devices.identification import UnitIdentity
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.devices.primary.unit import Executor
    from vhost_pvscsi.scsi.command import Command
    from vhost_pvscsi.scsi.request import Reply, Request

    from .contents import Contents
    from .folder import Folder
    from .state import FindDrive

#: What fault rules are told of a unit without blocks.
_NO_BLOCKS = DiskGeometry(blocks=0, block_size=1)


async def _no_medium(request: Request) -> Reply:
    """Refuse: no command of a changer is a medium's."""
    del request
    return sense.check_condition(sense.INVALID_OPERATION_CODE)


class MediumChanger(PrimaryUnit[ChangerState]):
    """A changer over a folder of tape images."""

    def __init__(
        self,
        name: str,
        identity: UnitIdentity,
        folder: Folder,
        contents: Contents,
        find_drive: FindDrive,
        *,
        memory: UnitMemory | None = None,
        faults: Iterable[Rule] = (),
    ) -> None:
        known = commands(nonvolatile=memory is not None)
        state = ChangerState(identity, known, folder, contents, find_drive, memory)
        rules = Faults(state.gates, lambda: _NO_BLOCKS, None, faults, known)
        super().__init__(name, state, HANDLERS, _no_medium, None, rules)

    @property
    def medium_opcodes(self) -> frozenset[int]:
        return frozenset()

    @property
    def block_size(self) -> int:
        """It has no blocks."""
        return 0

    async def reset(self) -> None:
        """Do a logical unit reset (SAM-5 6.3.3); nothing is moved.

        Its commands have been ended by the caller.
        """
        await reserving.nexus_lost(self._state, None)
        async with self._state.removal.changing:
            self._state.removal.preventing.clear()
        await modes.reset(self._state)
        await self.attend(sense.BUS_DEVICE_RESET)

    async def _on_medium(self, command: Command, request: Request, execute: Executor) -> Reply:
        del command
        return await execute(request)
