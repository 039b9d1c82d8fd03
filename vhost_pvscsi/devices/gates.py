"""The gates of a unit, one for each mapping it is attached by: who shuts them and why.

State of a unit that decides what a guest is answered (a unit attention, a stopped unit) must
not change while a worker finishes commands by itself. The unit knows what it is about to
change, its adapters know the engine's gates; a `Keeper` joins the two.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Collection
from typing import TypeAlias


class Cause(enum.Enum):
    """Why a unit wants a gate shut; each has a `GateReason` of the same name."""

    ATTENTION = enum.auto()
    STOPPED = enum.auto()
    EXCLUSIVE = enum.auto()
    RESERVATION = enum.auto()
    FAULTS = enum.auto()
    LOST = enum.auto()


#: Shuts (True) or opens (False) one mapping's gate for a cause. Shutting returns when no
#: short-road command is in flight any more.
Keeper: TypeAlias = Callable[[Cause, bool], Awaitable[None]]


#: Ends all commands of one mapping, as ABORT TASK SET would.
Ender: TypeAlias = Callable[[], Awaitable[object]]


class Gates:
    """The keepers of a unit, by nexus. A nexus has several where the unit has several LUNs."""

    def __init__(self) -> None:
        self._keepers: dict[str, list[Keeper]] = {}
        self._enders: dict[Keeper, Ender] = {}
        self._visits: set[Keeper] = set()

    @property
    def nexuses(self) -> tuple[str, ...]:
        """All nexuses that are connected."""
        return tuple(self._keepers)

    def add(
        self, nexus: str, keeper: Keeper, ender: Ender | None = None, *, visit: bool = False
    ) -> bool:
        """Remember a keeper; True when it is the nexus' first.

        A `visit` is no mapping, but a command to another unit that works on this one too.
        """
        if visit:
            self._visits.add(keeper)
        if ender is not None:
            self._enders[keeper] = ender
        keepers = self._keepers.setdefault(nexus, [])
        keepers.append(keeper)
        return len(keepers) == 1

    def remove(self, nexus: str, keeper: Keeper) -> bool:
        """Forget a keeper; True when it was the nexus' last."""
        keepers = self._keepers.get(nexus, [])
        if keeper in keepers:
            keepers.remove(keeper)
            self._enders.pop(keeper, None)
            self._visits.discard(keeper)
        if keepers:
            return False
        return self._keepers.pop(nexus, None) is not None

    async def turn(self, nexus: str, cause: Cause, shut: bool) -> None:
        """Shut or open the gates of one nexus."""
        for keeper in tuple(self._keepers.get(nexus, ())):
            await keeper(cause, shut)

    async def end_commands(self, nexus: str) -> None:
        """End all commands of one nexus, as ABORT TASK SET would."""
        await self._end(nexus, self._keepers.get(nexus, ()))

    async def end_visits(self, nexus: str) -> None:
        """End what commands of one nexus to other units do here."""
        await self._end(nexus, self._visits)

    async def _end(self, nexus: str, those: Collection[Keeper]) -> None:
        for keeper in tuple(self._keepers.get(nexus, ())):
            if keeper in self._enders and keeper in those:
                await self._enders[keeper]()

    async def turn_all(self, cause: Cause, shut: bool) -> None:
        """Shut or open the gates of all nexuses."""
        for nexus in self.nexuses:
            await self.turn(nexus, cause, shut)
