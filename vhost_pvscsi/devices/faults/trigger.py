"""When a rule acts: its counters, its dice, and the commands that hang because of it."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .rule import Rule


class Trigger:
    """A rule in force."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.seen = 0  #: commands that it fits
        self.acted = 0  #: those that it acted on
        self.held = 0  #: those that hang now
        self._dice = random.Random(rule.seed)  # noqa: S311  # has to repeat itself, not to be secret
        self._released = asyncio.Event()
        self._lifted = False

    @property
    def spent(self) -> bool:
        """Whether it will not act again."""
        return self.rule.times is not None and self.acted >= self.rule.times

    def count(self) -> bool:
        """Count a command that it fits; True: it is one to act on.

        Whether it then acts is for the caller to say, by `acted`: an earlier rule comes first.
        """
        rule = self.rule
        self.seen += 1
        due = self.seen >= rule.nth and (self.seen - rule.nth) % rule.every == 0
        # The dice are thrown for each that is due, so that other rules do not change the order.
        lucky = due and (rule.probability >= 1 or self._dice.random() < rule.probability)
        return lucky and not self.spent

    async def hold(self) -> None:
        """Wait for a release."""
        if self._lifted:
            return
        released = self._released
        self.held += 1
        try:
            await released.wait()
        finally:
            self.held -= 1

    def release(self) -> int:
        """Let the commands go on that hang; how many. Later ones hang again."""
        self._released.set()
        self._released = asyncio.Event()
        return self.held

    def lift(self) -> None:
        """Let all commands go on, also those that a delay keeps from hanging yet."""
        self._lifted = True
        self.release()
