"""One client's conversation: negotiation, then commands. A message in, a call out; no I/O.

The rules are those of QEMU's docs/interop/qmp-spec.rst, the classes and words of errors those that
QEMU 10.0 answers with, so that its clients find what they know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.control.commands import COMMANDS
from vhost_pvscsi.errors import ConfigurationError, VhostPvscsiError

if TYPE_CHECKING:
    from vhost_pvscsi.control.commands import Command

#: The command that ends negotiation; it is QMP's own, and in no table.
NEGOTIATE = "qmp_capabilities"

_MEMBERS = frozenset({"execute", "arguments", "id"})
#: How much of a wrong name an error repeats, in characters.
_SHOWN = 60


class RefusedError(VhostPvscsiError):
    """What a client asked is not done; `kind` is QMP's class of the error."""

    def __init__(
        self, message: str, *, kind: str = "GenericError", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Call:
    """A command that shall be carried out, its arguments checked."""

    command: Command
    arguments: dict[str, object]


class Session:
    """What is known of a client: whether it has negotiated, and what it may."""

    def __init__(self, *, read_only: bool) -> None:
        self._read_only = read_only
        self.negotiated = False  #: events are for those that have

    def take(self, message: dict[str, object]) -> Call | None:
        """Make a call of a message; None: it was negotiation, and there is nothing to do.

        Raises:
            RefusedError: it is no command, none that is known, or not for this client now.
            ConfigurationError: the arguments do not fit.
        """
        name, arguments = _read(message)
        if name == NEGOTIATE:
            self._negotiate(arguments)
            return None
        if not self.negotiated:
            raise RefusedError(
                f"Expecting capabilities negotiation with '{NEGOTIATE}'", kind="CommandNotFound"
            )
        command = COMMANDS.get(name)
        if command is None:
            raise RefusedError(
                f"The command {name[:_SHOWN]} has not been found",
                kind="CommandNotFound",
                hint="query-commands lists those that are there",
            )
        if self._read_only and not command.query:
            raise RefusedError(f"{name}: this socket is read-only", hint="queries only")
        return Call(command, command.read(arguments))

    def _negotiate(self, arguments: dict[str, object]) -> None:
        if self.negotiated:
            raise RefusedError(
                "Capabilities negotiation is already complete, command ignored",
                kind="CommandNotFound",
            )
        if arguments not in ({}, {"enable": []}):
            raise ConfigurationError(
                f"{NEGOTIATE}: there is no capability to enable", hint="no arguments"
            )
        self.negotiated = True


def _read(message: dict[str, object]) -> tuple[str, dict[str, object]]:
    for member in message:
        if member not in _MEMBERS:
            raise RefusedError(f"QMP input member '{member[:_SHOWN]}' is unexpected")
    name, arguments = message.get("execute"), message.get("arguments", {})
    if name is None:
        raise RefusedError("QMP input lacks member 'execute'")
    if not isinstance(name, str):
        raise RefusedError("QMP input member 'execute' must be a string")
    if not isinstance(arguments, dict):
        raise RefusedError("QMP input member 'arguments' must be an object")
    return name, arguments
