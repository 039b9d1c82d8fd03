"""ReachedUnit: a unit that nexuses come to and leave, with their gates and unit attentions."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from .gates import Cause, Ender, Gates, Keeper

if TYPE_CHECKING:
    from collections.abc import Callable

    from vhost_pvscsi.scsi.sense import SenseCode
    from vhost_pvscsi.sg import Device

    from .attention import Attentions, Watcher


class ReachedUnit(abc.ABC):
    """The part of `AttachableUnit` that is the same whatever answers commands."""

    def __init__(self, gates: Gates, attentions: Attentions) -> None:
        self._gates = gates
        self._attentions = attentions

    @abc.abstractmethod
    def _shutting(self, nexus: str) -> tuple[Cause, ...]:
        """Why a gate of a nexus that joins is shut, beside what the nexus has still to hear."""

    def _left(self, nexus: str) -> None:
        """Forget what a nexus whose last mapping went had still to hear."""
        self._attentions.leave(nexus)

    @property
    def device(self) -> Device | None:
        """The host's device that the engine sends commands to; None: there is none."""
        return None

    @property
    def copied_opcodes(self) -> frozenset[int]:
        """Commands for that device whose data-out is to come up."""
        return frozenset()

    @property
    def notifications(self) -> int:
        """None: they are about removable media of MMC's kinds, and a device's own are its own."""
        return 0

    async def connect(self, nexus: str, keeper: Keeper, ender: Ender | None = None) -> None:
        """Take a mapping of a nexus into account, before it is put in service.

        A nexus that is new to the unit has a POWER ON unit attention to hear; what shuts
        gates already, shuts this one too.
        """
        first = self._gates.add(nexus, keeper, ender)
        for cause in self._shutting(nexus):
            await keeper(cause, True)
        if first:
            await self._attentions.join(nexus)
        elif self._attentions.pending(nexus):
            await keeper(Cause.ATTENTION, True)

    def disconnect(self, nexus: str, keeper: Keeper) -> None:
        """Forget a mapping; with a nexus' last one what it had still to hear is gone."""
        if self._gates.remove(nexus, keeper):
            self._left(nexus)

    async def attend(
        self, code: SenseCode, *, nexus: str | None = None, but: str | None = None
    ) -> None:
        """Establish a unit attention for one nexus, or for all, `but` one."""
        await self._attentions.establish(code, nexus=nexus, but=but)

    def watch(self, nexus: str, watcher: Watcher) -> Callable[[], None]:
        """Tell `watcher` of each unit attention that begins or ends for a nexus; what ends that."""
        return self._attentions.watch(nexus, watcher)
