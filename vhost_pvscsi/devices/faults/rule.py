"""One fault rule: the commands that it is about, which of them it acts on, what it does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.sense import SenseKey

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.names import CommandKeys
    from vhost_pvscsi.scsi.request import Service, Status
    from vhost_pvscsi.scsi.sense import SenseCode


@dataclass(frozen=True, slots=True)
class Extent:
    """Consecutive blocks; `last` belongs to them, None: to the end of the medium."""

    first: int
    last: int | None

    def overlap(self, other: Extent) -> Extent | None:
        """The blocks that both have, None where there are none."""
        first = max(self.first, other.first)
        ends = [end for end in (self.last, other.last) if end is not None]
        last = min(ends) if ends else None
        return Extent(first, last) if last is None or first <= last else None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as somebody wrote it (docs/faults.md). It has no state: that is `trigger.py`'s."""

    text: str = field(compare=False)  #: as written, for listings

    # Which commands it counts.
    commands: CommandKeys | None = None  #: None: all
    lba: Extent | None = None  #: their blocks overlap these; None: blocks or none

    # Which of those it acts on.
    nth: int = 1  #: the first that may be acted on, counted from 1
    every: int = 1  #: from there on, one in so many
    times: int | None = None  #: after so many the rule is spent; None: never
    probability: float = 1.0  #: that one which may be acted on is
    seed: int = 0  #: of the dice

    # What it does, in this order.
    delay: float = 0.0  #: seconds before anything else happens
    hang: bool = False  #: wait until aborted or released
    transport: Service | None = None  #: how its delivery ends; it is not carried out
    status: Status | None = None  #: what it is answered
    sense: SenseCode | None = None  #: sense data that go with `status`
    short: int | None = None  #: bytes that it moves at most
    corrupt: int = 0  #: bytes that are flipped in the data it moves

    @property
    def carried_out(self) -> bool:
        """Whether the command is carried out, wholly or in part, whatever it is answered.

        RECOVERED ERROR says that it was, with a recovery action (SPC-5 4.4.8).
        """
        if self.transport is not None:
            return False
        recovered = self.sense is not None and self.sense.key is SenseKey.RECOVERED_ERROR
        return self.status is None or self.short is not None or recovered

    def __str__(self) -> str:
        return self.text
