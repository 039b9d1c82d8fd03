"""Whether a command may go to a LUN: what an operator said of it, else what holds for its type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.scsi.codes import Opcode
from vhost_pvscsi.scsi.names import name_of, parse_commands

from .defaults import allowed

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.names import CommandKey, CommandKeys
    from vhost_pvscsi.scsi.pages import DeviceType

#: Without these no guest finds out what is there (SAM-5 4.7; SPC-5 5.2).
_NEEDED = frozenset({Opcode.INQUIRY, Opcode.REPORT_LUNS, Opcode.REQUEST_SENSE})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command may not go on."""

    rule: str  #: as a person would say it: "deny=write-10"
    whole: bool  #: all of the operation code is refused, whatever its service action


@dataclass(frozen=True, slots=True)
class Policy:
    """What an operator said of one LUN. What names a service action counts before what does not."""

    raw: bool = False  #: everything that is not denied by name is allowed
    allowed: CommandKeys = frozenset()
    denied: CommandKeys = frozenset()

    def refusal(
        self, forwarded_as: DeviceType | None, opcode: int, service_action: int | None
    ) -> Refusal | None:
        """Say why a command is refused; None: it is not.

        `forwarded_as` is the type of a host's device. None: the unit is emulated, and knows itself
        what it can do.
        """
        if opcode in _NEEDED:
            return None
        keys: tuple[CommandKey, ...] = ((opcode, service_action), (opcode, None))
        for key in dict.fromkeys(keys):
            if key in self.denied:
                return Refusal(f"deny={name_of(*key)}", whole=key[1] is None)
            if key in self.allowed:
                return None
        if self.raw or forwarded_as is None:
            return None
        default = allowed(forwarded_as)
        if not default.isdisjoint(keys):
            return None
        known = any(code == opcode for code, _ in default)
        return Refusal(f"default of type {forwarded_as.name.lower()}", whole=not known)

    def touches(self, opcode: int) -> bool:
        """Whether any command of an operation code is denied by name."""
        return any(code == opcode for code, _ in self.denied)


#: Nothing is said: what the unit can do, or what holds for its type.
DEFAULT = Policy()


def parse_denied(name: str, text: str) -> CommandKeys:
    """Read `deny=`: commands by name or number, with + in between.

    Raises:
        ConfigurationError: one is no command, or guests cannot do without it.
    """
    keys = parse_commands(text)
    for opcode, action in sorted(keys, key=str):
        if opcode in _NEEDED:
            raise ConfigurationError(
                f"{name}={text}: {name_of(opcode, action)} cannot be denied",
                hint="without it guests do not find out what is there",
            )
    return keys


def parse_allowed(name: str, text: str) -> CommandKeys:
    """Read `allow=`: commands by name or number, with + in between.

    Raises:
        ConfigurationError: one is no command.
    """
    del name
    return parse_commands(text)
