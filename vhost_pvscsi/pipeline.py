"""The way of a request through the layers: munge, execute, munge.

Unit attentions are no step of their own: a unit reports them in `execute`, by nexus, because
only it knows which of its commands may pass one by.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .devices.presentation import PLAIN, Presentation
from .munge import inquiry, operation_codes, protection, report_luns
from .munge.registry import REGISTRY, Registry
from .scsi.request import Reply
from .scsi.sense import INTERNAL_TARGET_FAILURE, check_condition

if TYPE_CHECKING:
    from .devices.unit import LogicalUnit
    from .scsi.request import Request
    from .translation import Mapping

#: Registered by being imported.
OURS = (inquiry, operation_codes, protection, report_luns)

log = logging.getLogger(__name__)


async def serve(request: Request, mapping: Mapping, registry: Registry = REGISTRY) -> Reply:
    """Answer one request; adapter.py has turned its mapping id and generation into the mapping.

    A bug of ours costs the guest that one command, and is logged; it never costs the adapter.
    """
    try:
        asked = registry.inbound(request, mapping)
        if isinstance(asked, Reply):
            return asked
        answer = await mapping.unit.execute(asked)
        return registry.outbound(request, answer, mapping)
    except Exception:
        log.exception(
            "%s (%s): command %s failed by a bug of ours",
            mapping.address,
            mapping.unit.name,
            request.cdb.hex(" "),
        )
        return check_condition(INTERNAL_TARGET_FAILURE)


def short_road_opcodes(
    unit: LogicalUnit, presentation: Presentation = PLAIN, registry: Registry = REGISTRY
) -> frozenset[int]:
    """Opcodes that the engine may finish by itself at an address.

    The unit's medium's, but for those that a munger or the address' policy has a say in.
    """
    plain = unit.medium_opcodes - registry.munged_opcodes()
    return frozenset(opcode for opcode in plain if not presentation.policy.touches(opcode))
