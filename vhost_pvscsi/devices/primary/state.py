"""What every emulated unit knows while it runs; its commands are given this."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from vhost_pvscsi.devices.attention import Attentions
from vhost_pvscsi.devices.gates import Cause, Gates
from vhost_pvscsi.devices.reservations import Reservations, restored
from vhost_pvscsi.errors import DeviceError
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.cdb import Cdb
from vhost_pvscsi.scsi.request import Reply, Request

from .parameters import ModeParameters
from .removal import Removal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vhost_pvscsi.devices.identification import UnitIdentity
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.scsi.command import CommandSet
    from vhost_pvscsi.scsi.mode import ModeData, PageDefinition, PageKey, ParameterList
    from vhost_pvscsi.scsi.sense import SenseCode

#: The name of persistent reservations in nonvolatile memory.
RESERVATIONS = "reservations"


@dataclass(frozen=True, slots=True)
class Progress:
    """A command that goes on behind its answer."""

    code: SenseCode  #: what REQUEST SENSE says of it
    part: int  #: 65536ths of it that are done


class UnitState(abc.ABC):
    """Identity, mode parameters, readiness, unit attentions and reservations of one unit."""

    def __init__(
        self,
        identity: UnitIdentity,
        commands: CommandSet,
        definitions: Iterable[PageDefinition],
        memory: UnitMemory | None = None,
    ) -> None:
        self.identity = identity
        self.commands = commands
        self.memory = memory  #: what outlives the daemon; None: nothing does
        self.modes = ModeParameters(definitions, memory)
        #: Orders changes of mode parameters.
        self.mode_lock = asyncio.Lock()
        self.gates = Gates()
        self.attentions = Attentions(self._attention_changed)
        self.stopped = False
        self.removal = Removal()
        self.reservations = kept_reservations(memory)
        #: Orders their changes, so that gates and `reservations` agree.
        self.reserving = asyncio.Lock()
        # Orders one stop or start against another, so that gates and `stopped` agree.
        self._power = asyncio.Lock()

    @property
    @abc.abstractmethod
    def removable(self) -> bool:
        """Whether the medium can be taken out."""

    @property
    def answers_page_zero(self) -> bool:
        """Whether MODE SENSE of page 00h, a vendor's, gets header and block descriptor alone."""
        return False

    @abc.abstractmethod
    def unreadiness(self) -> SenseCode | None:
        """Why commands that need a medium are refused; None: they are not."""

    @abc.abstractmethod
    def mode_data(self, pages: bytes, *, described: bool, long_lba: bool) -> ModeData:
        """What MODE SENSE returns with these pages; with a block descriptor if `described`."""

    @abc.abstractmethod
    def wrong_settings(self, listed: ParameterList) -> Reply | None:
        """What is wrong with header and block descriptor of a MODE SELECT list."""

    @abc.abstractmethod
    async def put_in_force(
        self, pages: Mapping[PageKey, bytes], listed: ParameterList | None = None
    ) -> bool:
        """Make pages current, and what a list's header and descriptor say.

        False: what a write cache held could not be made stable; all is as it was.
        """

    @abc.abstractmethod
    def settings(self) -> object:
        """What header and block descriptor say now, to be compared."""

    def progress(self) -> Progress | None:
        """What goes on behind an answer that was given before it; None: nothing."""
        return None

    async def recall(self, settings: object) -> None:
        """Go back to what header and block descriptor said when `settings` was asked."""
        del settings

    def not_ready(self) -> Reply | None:
        """The refusal of a command that needs a medium, if there is a reason for it."""
        code = self.unreadiness()
        return sense.check_condition(code) if code is not None else None

    async def set_stopped(self, stopped: bool) -> None:
        """Stop or start the unit. It is stopped only behind shut gates."""
        async with self._power:
            if stopped:
                await self.gates.turn_all(Cause.STOPPED, True)
                self.stopped = True
            elif self.stopped:
                self.stopped = False
                await self.gates.turn_all(Cause.STOPPED, False)

    async def _attention_changed(self, nexus: str, pending: bool) -> None:
        await self.gates.turn(nexus, Cause.ATTENTION, pending)


def kept_reservations(memory: UnitMemory | None) -> Reservations:
    """Read what was kept of them.

    Raises:
        DeviceError: it cannot be read.
    """
    kept = memory.section(RESERVATIONS) if memory else None
    if memory is None or kept is None:
        return Reservations()
    try:
        return restored(kept)
    except ValueError as error:
        raise DeviceError(
            f"{memory.path}: kept reservations cannot be read: {error}",
            hint="move it away, and the unit starts with nothing saved",
        ) from error


#: The state of one kind of unit.
State = TypeVar("State", bound=UnitState)
#: One command: the unit, the request, its CDB's values.
Handler: TypeAlias = Callable[[State, Request, Cdb], Awaitable[Reply]]


def truncated(data: bytes, cdb: Cdb) -> Reply:
    """Answer GOOD with data cut to the allocation length (SPC-5, "Allocation length")."""
    return Reply(data=data[: cdb["allocation_length"]])
