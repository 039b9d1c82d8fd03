"""One layer of mungers: its table, and its calls, from which only what can be used comes back."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ConfigurationError, MungerError
from vhost_pvscsi.scsi.cdb import service_action
from vhost_pvscsi.scsi.names import name_of
from vhost_pvscsi.scsi.request import Reply, Request, Service, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vhost_pvscsi.translation import Mapping

#: The longest CDB that the engine takes, and the longest sense data there is (SPC-5 4.4.1).
CDB_MAX, SENSE_MAX = 32, 252


class Direction(enum.StrEnum):
    """Which way what is munged goes."""

    INBOUND = enum.auto()  #: a request, to the unit
    OUTBOUND = enum.auto()  #: a reply, to the guest


@dataclass(frozen=True, slots=True)
class Munger:
    """A function as it was registered."""

    opcode: int
    service_action: int | None  #: None: all that the operation code has
    direction: Direction
    function: Callable[..., object]
    origin: str  #: who brought it

    @property
    def name(self) -> str:
        """The function's, for people."""
        name = getattr(self.function, "__qualname__", None) or repr(self.function)
        return f"{getattr(self.function, '__module__', '?')}.{name}"

    @property
    def command(self) -> str:
        """The command's name."""
        return name_of(self.opcode, self.service_action)

    def __str__(self) -> str:
        return f"munger {self.name} of {self.origin}"

    def call(self, *arguments: object) -> object:
        """Call the function.

        Raises:
            MungerError: it has raised, whatever it was: not even sys.exit() ends the program.
        """
        try:
            return self.function(*arguments)
        except BaseException as error:
            raise MungerError(f"{self} has raised {type(error).__name__}: {error}") from error


class Layer:
    """Mungers by command and direction, one each."""

    def __init__(self) -> None:
        self._table: dict[tuple[Direction, int, int | None], Munger] = {}

    def __iter__(self) -> Iterator[Munger]:
        return iter(self._table.values())

    def __len__(self) -> int:
        return len(self._table)

    def add(self, munger: Munger) -> None:
        """Enter a munger.

        Raises:
            ConfigurationError: its command has one already.
        """
        for known in self:
            same = known.opcode == munger.opcode and known.direction is munger.direction
            # One for all service actions of an opcode and one for a single one would leave open
            # which is meant.
            actions = {known.service_action, munger.service_action}
            if same and (None in actions or len(actions) == 1):
                raise ConfigurationError(
                    f"{munger}: command {munger.command} ({munger.opcode:02X}h) has an "
                    f"{munger.direction} munger already: {known.name} of {known.origin}",
                    hint="leave one of them out",
                )
        self._table[munger.direction, munger.opcode, munger.service_action] = munger

    def inbound(self, request: Request, mapping: Mapping) -> Request | Reply:
        """Apply the munger of a request's command, if there is one.

        Raises:
            MungerError: it failed.
        """
        munger = self._find(Direction.INBOUND, request)
        if munger is None:
            return request
        made = munger.call(request, mapping)
        if isinstance(made, Request):
            _check_request(munger, made, request)
            return made
        return _usable(munger, made, None, "Request or Reply")

    def outbound(self, request: Request, reply: Reply, mapping: Mapping) -> Reply:
        """Apply the munger of a reply's command, if there is one.

        Raises:
            MungerError: it failed.
        """
        munger = self._find(Direction.OUTBOUND, request)
        if munger is None:
            return reply
        made = munger.call(request, reply, mapping)
        return _usable(munger, made, reply.transferred, "Reply")

    def _find(self, direction: Direction, request: Request) -> Munger | None:
        opcode = request.opcode
        one = self._table.get((direction, opcode, service_action(request.cdb)))
        return one or self._table.get((direction, opcode, None))


#: What names a request, and who sent it: the engine's and the task set's.
_identity = attrgetter(
    "nexus", "target", "lun", "tag", "attribute", "token", "transfer_limit", "block_limit"
)


def _check_request(munger: Munger, made: Request, was: Request) -> None:
    if not isinstance(made.cdb, bytes) or not 0 < len(made.cdb) <= CDB_MAX:
        raise MungerError(f"{munger} returned a CDB that is not bytes, 1 to {CDB_MAX}")
    if not isinstance(made.data_out, bytes):
        raise MungerError(f"{munger} returned data_out that is not bytes")
    if not all(_is_length(n) for n in (made.data_in_length, made.data_out_length)):
        raise MungerError(f"{munger} returned a data length that is no number from 0 on")
    if _identity(made) != _identity(was):
        raise MungerError(f"{munger} returned another request: change it by dataclasses.replace()")


def _usable(munger: Munger, made: object, moved: int | None, wanted: str) -> Reply:
    # A munger need not be ours, nor checked by mypy; `return` forgotten is the likeliest slip.
    if not isinstance(made, Reply):
        raise MungerError(f"{munger} returned {type(made).__name__}, not a {wanted}")
    if not isinstance(made.status, Status) or not isinstance(made.service, Service):
        raise MungerError(f"{munger} returned a reply whose status or service is no such value")
    if not isinstance(made.sense, bytes) or len(made.sense) > SENSE_MAX:
        raise MungerError(f"{munger} returned sense that is not bytes, at most {SENSE_MAX}")
    if not isinstance(made.data, bytes):
        raise MungerError(f"{munger} returned data of {type(made.data).__name__}, not bytes")
    if made.transferred is not None and made.transferred != moved:
        raise MungerError(f"{munger} returned another `transferred` than the engine's")
    return made


def _is_length(value: object) -> bool:
    return isinstance(value, int) and value >= 0
