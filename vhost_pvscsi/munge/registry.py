"""The table of mungers: one function per command and direction, registered by decorator.

    @outbound(Opcode.REPORT_LUNS)
    def only_attached(request: Request, reply: Reply, mapping: Mapping) -> Reply: ...

A munger is pure: what it needs of the world is in the mapping. A command that has one takes
the long road (`pipeline.short_road_opcodes`).

There are two layers. Ours is next to the unit; that of third parties is next to the guest, and
takes the unit and ours for one.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.repeats import Repeats
from vhost_pvscsi.scsi.cdb import service_action_field
from vhost_pvscsi.scsi.request import Reply, Request
from vhost_pvscsi.translation import Mapping

from .layer import Direction, Layer, Munger

if TYPE_CHECKING:
    from vhost_pvscsi.identity import Address

#: Rewrites a request before its unit sees it; a `Reply` answers it instead.
Inbound: TypeAlias = Callable[[Request, Mapping], Request | Reply]
#: Rewrites a unit's reply before the guest sees it.
Outbound: TypeAlias = Callable[[Request, Reply, Mapping], Reply]

_Munger = TypeVar("_Munger", Inbound, Outbound)

#: The origin of those that are part of this program, and where their modules are.
OURS = "vhost-pvscsi"
_PACKAGE = __name__.partition(".")[0] + "."

#: What a function is called with.
_ARGUMENTS = {
    Direction.INBOUND: ("request", "mapping"),
    Direction.OUTBOUND: ("request", "reply", "mapping"),
}


class Registry:
    """Mungers, ours and those of third parties."""

    def __init__(self) -> None:
        self.theirs = Layer()
        self.ours = Layer()
        #: Commands that failed on the way, by address, mapping and operation code.
        self.failures: Repeats[tuple[Address, int, int]] = Repeats()
        self._origin: str | None = None

    @property
    def layers(self) -> tuple[Layer, Layer]:
        """From the guest to the unit."""
        return self.theirs, self.ours

    @contextlib.contextmanager
    def loading(self, origin: str) -> Iterator[None]:
        """Call mungers that are registered meanwhile those of `origin`, but for ours."""
        before, self._origin = self._origin, origin
        try:
            yield
        finally:
            self._origin = before

    def on_request(
        self, opcode: int, service_action: int | None = None
    ) -> Callable[[Inbound], Inbound]:
        """Register the decorated function for requests of a command.

        Raises:
            ConfigurationError: the command has one in that layer, or the function cannot be one.
        """
        return self._decorator(Direction.INBOUND, opcode, service_action)

    def on_reply(
        self, opcode: int, service_action: int | None = None
    ) -> Callable[[Outbound], Outbound]:
        """Register the decorated function for replies of a command.

        Raises:
            ConfigurationError: the command has one in that layer, or the function cannot be one.
        """
        return self._decorator(Direction.OUTBOUND, opcode, service_action)

    def munged_opcodes(self) -> frozenset[int]:
        """Operation codes that have a munger of either direction."""
        return frozenset(munger.opcode for layer in self.layers for munger in layer)

    def _decorator(
        self, direction: Direction, opcode: int, service_action: int | None
    ) -> Callable[[_Munger], _Munger]:
        def register(function: _Munger) -> _Munger:
            module = getattr(function, "__module__", None) or "?"
            is_ours = module.startswith(_PACKAGE)
            origin = OURS if is_ours else self._origin or module
            munger = Munger(opcode, service_action, direction, function, origin)
            _check(munger)
            (self.ours if is_ours else self.theirs).add(munger)
            return function

        return register


def _check(munger: Munger) -> None:
    """Refuse what could never be called well: better now than at each command of a guest."""
    opcode, action = munger.opcode, munger.service_action
    if not isinstance(opcode, int) or not 0 <= opcode <= 0xFF:
        raise ConfigurationError(
            f"munger {munger.name}: {opcode!r} is no operation code", hint="0 to 0xff"
        )
    if action is not None:
        field = service_action_field(opcode)
        if field is None or not isinstance(action, int) or not 0 <= action < 1 << field.width:
            raise ConfigurationError(
                f"munger {munger.name}: {opcode:02X}h has no service action {action!r}",
                hint="@inbound and @outbound take (opcode), or (opcode, service action)",
            )
    takes = _ARGUMENTS[munger.direction]
    right = f"def {getattr(munger.function, '__name__', 'function')}({', '.join(takes)}):"
    if inspect.iscoroutinefunction(munger.function):
        raise ConfigurationError(f"munger {munger.name} is async", hint=right)
    try:
        inspect.signature(munger.function).bind(*takes)
    except TypeError:
        raise ConfigurationError(
            f"munger {munger.name} does not take {len(takes)} arguments", hint=right
        ) from None


#: The mungers of this process; each module of `munge/` adds its own when it is imported.
REGISTRY = Registry()
inbound = REGISTRY.on_request
outbound = REGISTRY.on_reply
