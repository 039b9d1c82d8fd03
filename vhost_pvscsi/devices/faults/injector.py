"""The fault rules of a unit: set, listed and lifted while it runs.

Every unit has one, mostly empty. While a rule is in force the short road is shut for the whole
unit, by `Cause.FAULTS`: its commands come up to Python, where `strike` picks a rule for each.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.gates import Cause, Gates

from .strike import Strike
from .subject import DISK_COMMANDS, Subject, can_be_corrupt, can_be_short, subject_of
from .trigger import Trigger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vhost_pvscsi.medium import Medium
    from vhost_pvscsi.scsi.command import CommandSet
    from vhost_pvscsi.scsi.request import Request

    from .blocks import Geometry
    from .rule import Rule


@dataclass(frozen=True, slots=True)
class Standing:
    """How a rule stands."""

    rule: Rule
    seen: int  #: commands that it fits
    acted: int  #: those that it acted on
    held: int  #: those that hang because of it now
    spent: bool  #: it will not act again


class Faults:
    """Picks the rule that acts on a command, and keeps the unit's gates."""

    def __init__(
        self,
        gates: Gates,
        geometry: Callable[[], Geometry],
        medium: Medium | None = None,
        rules: Iterable[Rule] = (),
        known: CommandSet = DISK_COMMANDS,
    ) -> None:
        """Begin with rules, before the unit is connected anywhere; it has the `known` commands."""
        self._gates = gates
        self._known = known
        self._geometry = geometry
        self._medium = medium
        self._triggers = [Trigger(rule) for rule in rules]
        self._live = list(self._triggers)  # those that are not spent
        self._shut = bool(self._live)
        # Orders changes of the rules, so that gates and rules agree.
        self._changing = asyncio.Lock()

    @property
    def shut(self) -> bool:
        """Whether a gate that joins has to be shut by `Cause.FAULTS`."""
        return self._shut

    @property
    def rules(self) -> tuple[Standing, ...]:
        """All rules in their order, spent ones too."""
        return tuple(
            Standing(one.rule, one.seen, one.acted, one.held, one.spent) for one in self._triggers
        )

    async def set_rules(self, rules: Iterable[Rule]) -> None:
        """Put rules in the place of those there are, all counters at 0; none: lift them.

        When it returns they hold for every command that has not been answered or begun.
        Commands that hang because of the old ones go on.
        """
        async with self._changing:
            triggers = [Trigger(rule) for rule in rules]
            if triggers and not self._shut:
                self._shut = True
                await self._gates.turn_all(Cause.FAULTS, True)
            for trigger in self._triggers:
                trigger.lift()
            self._triggers = triggers
            self._live = list(triggers)
            await self._open_if_idle()

    def release(self) -> int:
        """Let all commands go on that hang; how many there were."""
        return sum(trigger.release() for trigger in self._triggers)

    async def strike(self, request: Request) -> Strike | None:
        """Pick the rule that acts on a command whose unit attention has been reported.

        Every rule counts the commands that it fits; of those that are to act the first does.
        """
        if not self._live:
            return None
        subject = subject_of(request.cdb, self._known)
        geometry = self._geometry()
        # All of them count, also behind the one that acts.
        due = [
            trigger
            for trigger in self._live
            if self._fits(trigger.rule, subject, request, geometry) and trigger.count()
        ]
        if not due:
            return None
        due[0].acted += 1
        if due[0].spent:
            self._live.remove(due[0])
            async with self._changing:
                await self._open_if_idle()
        return Strike(due[0], subject, self._medium, geometry)

    async def _open_if_idle(self) -> None:
        if self._shut and not self._live:
            self._shut = False
            await self._gates.turn_all(Cause.FAULTS, False)

    def _fits(self, rule: Rule, subject: Subject, request: Request, geometry: Geometry) -> bool:
        if rule.commands is not None and not subject.among(rule.commands):
            return False
        if rule.lba is not None and (
            subject.extent is None or subject.extent.overlap(rule.lba) is None
        ):
            return False
        # What a rule can do nothing to is not counted: times=1 is not wasted on it.
        if rule.short is not None and not _longer(subject, request, rule.short, geometry):
            return False
        return not rule.corrupt or self._corruptible(subject, request)

    def _corruptible(self, subject: Subject, request: Request) -> bool:
        if subject.on_medium:
            known = subject.command is not None and can_be_corrupt(subject.command)
            return known and subject.extent is not None and self._medium is not None
        return bool(request.data_out or request.data_in_length)


def _longer(subject: Subject, request: Request, limit: int, geometry: Geometry) -> bool:
    """Whether a command moves more bytes than that, and can be made to move less."""
    if subject.command is not None and not can_be_short(subject.command):
        return False
    if subject.on_medium:
        return subject.blocks * geometry.block_size > limit
    return request.data_in_length > limit
