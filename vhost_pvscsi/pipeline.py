"""The way of a request through the layers: munge, execute, munge.

Unit attentions are no step of their own: a unit reports them in `execute`, by nexus, because
only it knows which of its commands may pass one by.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .devices.presentation import PLAIN, Presentation
from .errors import MungerError
from .munge.table import REGISTRY
from .repeats import more
from .scsi.request import Reply
from .scsi.sense import INTERNAL_TARGET_FAILURE, check_condition

if TYPE_CHECKING:
    from .devices.unit import LogicalUnit
    from .munge.layer import Layer
    from .munge.registry import Registry
    from .scsi.request import Request
    from .translation import Mapping

log = logging.getLogger(__name__)


async def serve(request: Request, mapping: Mapping, registry: Registry = REGISTRY) -> Reply:
    """Answer one request; adapter.py has turned its mapping id and generation into the mapping.

    A munger of a layer takes those behind it and the unit for one: it is asked first, and sees
    the reply last. A bug costs the guest that one command, never the adapter. It is
    logged, but the same command of the same LUN once a minute only.
    """
    try:
        return await _through(request, mapping, registry)
    except MungerError as error:
        return _failed(request, mapping, registry, f"failed: {error}", error)
    except Exception as error:
        return _failed(request, mapping, registry, "failed by a bug of ours", error)


def _failed(
    request: Request, mapping: Mapping, registry: Registry, reason: str, error: Exception
) -> Reply:
    unsaid = registry.failures.happened((mapping.address, mapping.id, request.opcode))
    if unsaid is not None:
        where = f"{mapping.address} ({mapping.unit.name})"
        said = f"{reason}{more(unsaid)}"
        log.error("%s: command %s %s", where, request.cdb.hex(" "), said, exc_info=error)
    return check_condition(INTERNAL_TARGET_FAILURE)


async def _through(request: Request, mapping: Mapping, registry: Registry) -> Reply:
    passed: list[tuple[Layer, Request]] = []
    for layer in registry.layers:
        asked = layer.inbound(request, mapping)
        if isinstance(asked, Reply):
            reply = asked
            break
        # A reply is rewritten by what that layer was asked, not by what it asked.
        passed.append((layer, request))
        request = asked
    else:
        reply = await mapping.unit.execute(request)
    for layer, asked_there in reversed(passed):
        reply = layer.outbound(asked_there, reply, mapping)
    return reply


def short_road_opcodes(
    unit: LogicalUnit, presentation: Presentation = PLAIN, registry: Registry = REGISTRY
) -> frozenset[int]:
    """Opcodes that the engine may finish by itself at an address.

    The unit's medium's, but for those that a munger or the address' policy has a say in.
    """
    plain = unit.medium_opcodes - registry.munged_opcodes()
    return frozenset(opcode for opcode in plain if not presentation.policy.touches(opcode))


def munged_opcodes(registry: Registry = REGISTRY) -> frozenset[int]:
    """Opcodes whose requests or replies a munger looks at, so that Python is to have their data."""
    return registry.munged_opcodes()
