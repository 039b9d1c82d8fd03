"""Commands that a policy refuses: their answer, their number, and who is told of them."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .repeats import Repeats, more
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


@dataclass(frozen=True, slots=True)
class Denial:
    """A command that was refused, as an operator is told of it."""

    address: Address
    command: str
    rule: str  #: what refused it: "deny=write-10"
    unsaid: int  #: refusals of that operation code since the last that was told


class Denials:
    """What was refused to the guest of one virtual host."""

    def __init__(
        self,
        tell: Callable[[Denial], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._counts: Counter[int] = Counter()
        #: By mapping and operation code.
        self._repeats: Repeats[tuple[int, int]] = Repeats(clock)

    def count(self, mapping_id: int) -> int:
        """How many commands of a mapping were refused."""
        return self._counts[mapping_id]

    def forget(self, mapping_id: int) -> None:
        """Forget a mapping that is gone."""
        self._counts.pop(mapping_id, None)
        self._repeats.forget(lambda key: key[0] == mapping_id)

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
        unsaid = self._repeats.happened((mapping.id, opcode))
        if unsaid is None:
            return
        command = name_of(opcode, action)
        log.warning(
            "%s (%s): command %s (%02Xh) refused: %s%s",
            mapping.address,
            mapping.unit.name,
            command,
            opcode,
            refusal.rule,
            more(unsaid),
        )
        self._tell(Denial(mapping.address, command, refusal.rule, unsaid))
