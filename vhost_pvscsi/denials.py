"""Commands that a policy refuses: their answer, their number, and who is told of them."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .scsi import sense
from .scsi.cdb import service_action, service_action_field
from .scsi.names import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .devices.policy.policy import Refusal
    from .identity import Address
    from .scsi.request import Reply, Request
    from .translation import Mapping

log = logging.getLogger(__name__)

#: A guest may repeat a command as often as it likes: each is told of once in that many seconds.
PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class Denial:
    """A command that was refused, as an operator is told of it."""

    address: Address
    command: str
    rule: str  #: what refused it: "deny=write-10"
    unsaid: int  #: refusals of that operation code since the last that was told


@dataclass(slots=True)
class _Told:
    again: float  #: not before that moment
    unsaid: int = 0


class Denials:
    """What was refused to the guest of one virtual host."""

    def __init__(
        self,
        tell: Callable[[Denial], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._counts: Counter[int] = Counter()
        # By mapping and operation code: what a guest can make us remember is bounded.
        self._told: dict[tuple[int, int], _Told] = {}

    def count(self, mapping_id: int) -> int:
        """How many commands of a mapping were refused."""
        return self._counts[mapping_id]

    def forget(self, mapping_id: int) -> None:
        """Forget a mapping that is gone."""
        self._counts.pop(mapping_id, None)
        for key in [key for key in self._told if key[0] == mapping_id]:
            del self._told[key]

    def check(self, request: Request, mapping: Mapping) -> Reply | None:
        """Answer a command that the LUN's policy refuses; None: it may go on.

        It is asked before the unit and before unit attentions: what may not go there is as if the
        unit did not know it. A pending unit attention waits for the next command.
        """
        action = service_action(request.cdb)
        policy = mapping.presentation.policy
        refusal = policy.refusal(mapping.unit.forwarded_as, request.opcode, action)
        if refusal is None:
            return None
        self._note(request.opcode, action, mapping, refusal)
        where = service_action_field(request.opcode)
        if refusal.whole or where is None:
            return sense.check_condition(sense.INVALID_OPERATION_CODE)
        # As for a service action that a unit does not have (SPC-5, "CDB").
        return sense.invalid_field(where.byte, where.top_bit)

    def _note(self, opcode: int, action: int | None, mapping: Mapping, refusal: Refusal) -> None:
        self._counts[mapping.id] += 1
        now = self._clock()
        told = self._told.get((mapping.id, opcode))
        if told is not None and now < told.again:
            told.unsaid += 1
            return
        unsaid = told.unsaid if told else 0
        self._told[mapping.id, opcode] = _Told(now + PAUSE)
        command = name_of(opcode, action)
        log.warning(
            "%s (%s): command %s (%02Xh) refused: %s%s",
            mapping.address,
            mapping.unit.name,
            command,
            opcode,
            refusal.rule,
            f"; {unsaid} more since the last line" if unsaid else "",
        )
        self._tell(Denial(mapping.address, command, refusal.rule, unsaid))
