"""The table of mungers: one function per command and direction, registered by decorator.

    @outbound(Opcode.REPORT_LUNS)
    def only_attached(request: Request, reply: Reply, mapping: Mapping) -> Reply: ...

A munger is pure: what it needs of the world is in the mapping. A command that has one takes
the long road (`pipeline.short_road_opcodes`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from vhost_pvscsi.scsi.cdb import service_action
from vhost_pvscsi.scsi.request import Reply, Request
from vhost_pvscsi.translation import Mapping

#: Rewrites a request before its unit sees it; a `Reply` answers it instead.
Inbound: TypeAlias = Callable[[Request, Mapping], Request | Reply]
#: Rewrites a unit's reply before the guest sees it.
Outbound: TypeAlias = Callable[[Request, Reply, Mapping], Reply]

_Key: TypeAlias = tuple[int, int | None]
_Munger = TypeVar("_Munger", Inbound, Outbound)


class Registry:
    """Mungers by operation code and service action."""

    def __init__(self) -> None:
        self._inbound: dict[_Key, Inbound] = {}
        self._outbound: dict[_Key, Outbound] = {}

    def on_request(
        self, opcode: int, service_action: int | None = None
    ) -> Callable[[Inbound], Inbound]:
        """Register the decorated function for requests of a command.

        Raises:
            ValueError: the command has one already.
        """

        def register(munger: Inbound) -> Inbound:
            _add(self._inbound, (opcode, service_action), munger)
            return munger

        return register

    def on_reply(
        self, opcode: int, service_action: int | None = None
    ) -> Callable[[Outbound], Outbound]:
        """Register the decorated function for replies of a command.

        Raises:
            ValueError: the command has one already.
        """

        def register(munger: Outbound) -> Outbound:
            _add(self._outbound, (opcode, service_action), munger)
            return munger

        return register

    def munged_opcodes(self) -> frozenset[int]:
        """Operation codes that have a munger of either direction."""
        return frozenset(opcode for opcode, _ in (*self._inbound, *self._outbound))

    def inbound(self, request: Request, mapping: Mapping) -> Request | Reply:
        """Apply the munger of a request's command, if there is one."""
        munger = self._inbound.get(_key(request)) or self._inbound.get((request.opcode, None))
        if munger is None:
            return request
        made = munger(request, mapping)
        if not isinstance(made, Request | Reply):
            raise _no_answer(munger, made, "Request or Reply")
        return made

    def outbound(self, request: Request, reply: Reply, mapping: Mapping) -> Reply:
        """Apply the munger of a reply's command, if there is one."""
        munger = self._outbound.get(_key(request)) or self._outbound.get((request.opcode, None))
        if munger is None:
            return reply
        made = munger(request, reply, mapping)
        if not isinstance(made, Reply):
            raise _no_answer(munger, made, "Reply")
        return made


def _key(request: Request) -> _Key:
    return request.opcode, service_action(request.cdb)


def _no_answer(munger: object, made: object, wanted: str) -> TypeError:
    # A munger need not be ours, nor checked by mypy; `return` forgotten is the likeliest slip.
    name = f"{getattr(munger, '__module__', '?')}.{getattr(munger, '__qualname__', munger)}"
    return TypeError(f"munger {name} returned {type(made).__name__}, not a {wanted}")


def _add(table: dict[_Key, _Munger], key: _Key, munger: _Munger) -> None:
    opcode, action = key
    # A munger for all service actions of an opcode and one for a single one would leave open
    # which is meant.
    taken = [known for known in table if known[0] == opcode and None in {known[1], action}]
    if key in table or taken:
        name = getattr(table.get(key) or table[taken[0]], "__name__", "another")
        command = f"{opcode:02X}h" + ("" if action is None else f"/{action:02X}h")
        msg = f"command {command} has a munger already: {name}"
        raise ValueError(msg)
    table[key] = munger


#: The mungers of this program; each module of `munge/` adds its own when it is imported.
REGISTRY = Registry()
inbound = REGISTRY.on_request
outbound = REGISTRY.on_reply
