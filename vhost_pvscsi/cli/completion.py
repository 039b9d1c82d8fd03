"""Shell completion: the shells' scripts, and hosts and LUNs as the running daemon has them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from vhost_pvscsi.control.parameter import HOST, PDEV, VDEV
from vhost_pvscsi.discovery import listing
from vhost_pvscsi.errors import VhostPvscsiError

from .client import Client
from .common import DEFAULT_CONTROL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vhost_pvscsi.control.parameter import Kind
    from vhost_pvscsi.discovery.device import HostDevice

    Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

#: Who presses a key waits no longer than this for the daemon, in seconds.
_PATIENCE = 1.0

_PROGRAM = "vhost-pvscsi"
_VARIABLE = "_VHOST_PVSCSI_COMPLETE"

#: bash takes a colon for the end of a word, and an address for four words.
_BASH = 'COMP_WORDBREAKS="${COMP_WORDBREAKS//:}"\n'


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete our words.

    Verbs, options, and the hosts and LUNs that the running daemon has.

    \b
    Example:
      eval "$(vhost-pvscsi completion bash)"
    """  # noqa: D301 -- \b is click's
    maker = get_completion_class(shell)
    assert maker is not None  # click has all three
    program = context.find_root().command
    click.echo(maker(program, {}, _PROGRAM, _VARIABLE).source())
    if shell == "bash":
        click.echo(_BASH, nl=False)


def _of_luns(lun: dict[str, Any]) -> CompletionItem:
    return CompletionItem(lun["vdev"], help=lun["pdev"])


def _of_hosts(host: dict[str, Any]) -> CompletionItem:
    return CompletionItem(str(host["host"]), help=host["socket-path"])


def _asking(query: str, item: Callable[[dict[str, Any]], CompletionItem]) -> Complete:
    def complete(
        context: click.Context, _parameter: click.Parameter, begun: str
    ) -> list[CompletionItem]:
        typed = context.params.get("control")
        path = Path(typed or os.environ.get("VHOST_PVSCSI_CONTROL") or DEFAULT_CONTROL)
        items = map(item, _ask(path, query))
        return [one for one in items if str(one.value).startswith(begun)]

    return complete


def _ask(path: Path, query: str) -> list[dict[str, Any]]:
    """Ask the daemon; where it is not there, or slow, nothing is known."""

    async def main() -> Any:
        async with asyncio.timeout(_PATIENCE), Client(path) as client:
            return await client.execute(query)

    try:
        return list(asyncio.run(main()))
    except (VhostPvscsiError, TimeoutError):
        return []


#: Kind of parameter -> what completes one that names something which is there.
COMPLETED: dict[Kind, Complete] = {
    VDEV: _asking("query-luns", _of_luns),
    HOST: _asking("query-hosts", _of_hosts),
}


def _pdev(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete a device of the host by any of its names, or a file."""
    items = [CompletionItem(begun, type="file")]  # shells take it where nothing else fits
    for device in [*listing.scsi_devices(), *listing.block_devices()]:
        told = " ".join(
            word
            for word in (device.type, device.vendor, device.product, device.nodes.usual)
            if word
        )
        offered = names(device) if begun else [device.steady_name]
        items += [CompletionItem(name, help=told) for name in offered if name.startswith(begun)]
    return items


def names(device: HostDevice) -> Iterator[str]:
    """Give every name that a device may be attached by."""
    if device.address is not None:
        yield str(device.address)
        if device.wwn:
            yield f"wwn:{device.wwn}"
        if device.serial:
            yield f"serial:{device.serial}"
    yield from (path for _, path in device.nodes.there())
    yield from device.links


#: Kind of parameter -> what completes one that names something of the host.
OF_HOST: dict[Kind, Complete] = {PDEV: _pdev}
