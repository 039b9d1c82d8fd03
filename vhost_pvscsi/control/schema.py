"""Commands and events described as JSON: what `query-schema` answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .commands import COMMANDS
from .events import EVENTS

if TYPE_CHECKING:
    from .commands import Command
    from .parameter import Parameter


def describe() -> dict[str, object]:
    """Describe everything that can be asked and told."""
    return {
        "commands": [_command(command) for command in COMMANDS.values()],
        "events": [
            {"name": event.name, "help": event.summary, "data": list(event.members)}
            for event in EVENTS.values()
        ],
    }


def _command(command: Command) -> dict[str, object]:
    return {
        "name": command.name,
        "help": command.summary,
        "read-only": command.query,
        "arguments": [_parameter(parameter) for parameter in command.parameters],
    }


def _parameter(parameter: Parameter) -> dict[str, object]:
    told: dict[str, object] = {
        "name": parameter.name,
        "type": parameter.kind.json,
        "required": parameter.required,
        "help": parameter.help,
        "value": parameter.kind.right,
    }
    if parameter.default is not None:
        told["default"] = parameter.default
    return told
