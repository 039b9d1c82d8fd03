"""The verbs: one for each command that has a word for it, and `show`, `events`, `top`."""

from __future__ import annotations

import asyncio
import functools
import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from vhost_pvscsi.control.commands import COMMANDS
from vhost_pvscsi.control.parameter import RULES, SWITCH

from . import render
from .client import Client
from .common import HELP_NAMES, common_options, telling_failures
from .completion import COMPLETED, OF_HOST, completion
from .devices import DEVICES
from .top.command import TOP
from .values import AS_JSON, TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

    from vhost_pvscsi.control.commands import Command
    from vhost_pvscsi.control.parameter import Parameter

#: Commands whose positional arguments name what is not there yet.
_NEW = frozenset({"host-attach", "scsi-attach"})


def _make(command: Command) -> click.Command:
    """Make the verb of a command out of its row."""
    assert command.verb is not None  # of those that verbs are made of
    return click.Command(
        command.verb.rpartition(" ")[2],
        callback=functools.partial(_run_command, command),
        params=[
            *(
                _parameter(parameter, there=command.name not in _NEW)
                for parameter in command.parameters
            ),
            *([_pass_option()] if command.name == "scsi-attach" else ()),
            *common_options(),
        ],
        help="\n\n".join(text for text in (command.summary, command.details) if text),
        context_settings=HELP_NAMES,
    )


def _parameter(parameter: Parameter, *, there: bool) -> click.Parameter:
    """Make what click reads it with; `there`: what it names is there, and can be completed."""
    kind = parameter.kind
    if parameter.positional:
        return click.Argument(
            [parameter.member],
            type=TYPES.get(kind, click.STRING),
            metavar=f"{kind.word}..." if kind is RULES else kind.word,
            nargs=-1 if kind is RULES else 1,
            required=True,
            shell_complete=COMPLETED.get(kind) if there else OF_HOST.get(kind),
        )
    option = [f"--{parameter.name}", parameter.member]
    if kind is SWITCH:
        return click.Option(option, is_flag=True, help=parameter.help)
    return click.Option(
        option,
        type=TYPES.get(kind, click.STRING),
        metavar=kind.word,
        required=parameter.required,
        default=parameter.default,
        show_default=parameter.default is not None,
        shell_complete=COMPLETED.get(kind),
        help=parameter.help,
    )


def _pass_option() -> click.Option:
    return click.Option(
        ["--pass", "passes"],
        is_flag=True,
        help="Open the SCSI device here and send it to the daemon, which need not be able to.",
    )


def _run_command(command: Command, control: Path, as_json: bool, **values: Any) -> None:
    with telling_failures():
        # What is wrong in itself needs no daemon to say so.
        arguments = _arguments(command, values)
        if values.get("passes"):
            from . import passing  # noqa: PLC0415 -- what knows of devices takes time to read

            answer = _talk(control, lambda client: passing.attach(client, arguments))
        else:
            answer = _talk(control, lambda client: client.execute(command.name, arguments))
    if as_json:
        click.echo(render.as_json(answer))
    elif command.name in render.SHOWN and (text := render.SHOWN[command.name](answer)):
        click.echo(text)


def _arguments(command: Command, values: Mapping[str, Any]) -> dict[str, object]:
    arguments: dict[str, object] = {}
    for parameter in command.parameters:
        value = values[parameter.member]
        if value is None:
            continue
        if parameter.kind in AS_JSON:
            value = AS_JSON[parameter.kind](value)
        parameter.read(value)
        arguments[parameter.name] = value
    return arguments


def _talk(control: Path, work: Callable[[Client], Coroutine[Any, Any, object]]) -> Any:
    """Have something done with a connection."""

    async def main() -> object:
        async with Client(control) as client:
            return await work(client)

    return asyncio.run(main())


def _show(control: Path, as_json: bool) -> None:
    async def ask(client: Client) -> dict[str, Any]:
        return {
            "hosts": await client.execute("query-hosts"),
            "luns": await client.execute("query-luns"),
        }

    with telling_failures():
        told = _talk(control, ask)
    if as_json:
        click.echo(render.as_json(told))
    else:
        click.echo(f"{render.hosts(told['hosts'])}\n\n{render.luns(told['luns'])}")


def _events(control: Path, as_json: bool) -> None:
    async def listen(client: Client) -> None:
        task = asyncio.current_task()
        assert task is not None
        # asyncio.run's own handler does not wake a loop that is about to wait, and the next event
        # may be hours away.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
        async for event in client.events():
            # One line each in either form, and at once: another program may be reading.
            click.echo(json.dumps(event) if as_json else render.event(event))

    try:
        with telling_failures():
            _talk(control, listen)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(0)


_SHOW = click.Command(
    "show",
    callback=_show,
    params=common_options(),
    help="Show virtual hosts and LUNs.",
    context_settings=HELP_NAMES,
)

_EVENTS = click.Command(
    "events",
    callback=_events,
    params=common_options(),
    help="Print events as they happen, until interrupted.",
    context_settings=HELP_NAMES,
)

#: Those of a group, by its word.
GROUPED: dict[str, list[click.Command]] = {}
for _command in COMMANDS.values():
    if _command.verb and " " in _command.verb:
        GROUPED.setdefault(_command.verb.partition(" ")[0], []).append(_make(_command))

#: All others, to be entered in the program's group.
VERBS = (
    *(_make(command) for command in COMMANDS.values() if command.verb and " " not in command.verb),
    _SHOW,
    _EVENTS,
    DEVICES,
    TOP,
    completion,
)
