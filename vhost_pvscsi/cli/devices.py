"""`devices`: the host's SCSI devices, and what they are attached as. Works without a daemon."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from vhost_pvscsi.discovery import listing
from vhost_pvscsi.discovery.proc import number_of
from vhost_pvscsi.errors import ControlError

from . import render
from .client import Client
from .common import HELP_NAMES, common_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from vhost_pvscsi.discovery.device import HostDevice

#: How long a daemon may take to say what is attached, in seconds.
_PATIENCE = 5.0


def _devices(control: Path, as_json: bool, links: bool) -> None:
    found = [*listing.scsi_devices(), *listing.block_devices()]
    found = listing.with_usage(found)
    luns = _ask(control)
    told = [describe(device, None if luns is None else attached(device, luns)) for device in found]
    if as_json:
        click.echo(render.as_json(told))
    elif told:
        click.echo(text(told, links=links))
    else:
        click.echo("no device")


def describe(device: HostDevice, vdevs: Sequence[str] | None) -> dict[str, Any]:
    """Make JSON of a device; `vdevs` are those that it is attached as, None: nobody knows."""
    usage = device.usage
    return {
        "hctl": str(device.address) if device.address is not None else None,
        "type": device.type,
        "vendor": device.vendor,
        "product": device.product,
        "revision": device.revision,
        "serial": device.serial or None,
        "wwn": device.wwn or None,
        "size": device.size,
        "state": device.state or None,
        "nodes": dict(device.nodes.there()),
        "links": list(device.links),
        "pdev": device.steady_name,
        "in-use": {
            "mounted": list(usage.mounted),
            "holders": list(usage.holders),
            "processes": list(usage.processes),
            "exclusive": usage.exclusive,
        },
        "attached": None if vdevs is None else list(vdevs),
    }


def attached(device: HostDevice, luns: Iterable[Mapping[str, Any]]) -> list[str]:
    """Find the addresses at which it is attached, forwarded or behind an emulated disk."""
    found = []
    for lun in luns:
        address = lun.get("device")
        if address is not None:
            ours = address == device.place
        else:
            ours = lun["pdev"].startswith("/") and number_of(lun["pdev"]) in device.numbers
        if ours:
            found.append(lun["vdev"])
    return found


def _ask(control: Path) -> list[dict[str, Any]] | None:
    """Ask the daemon for its LUNs; None: there is none."""

    async def main() -> Any:
        async with asyncio.timeout(_PATIENCE), Client(control) as client:
            return await client.execute("query-luns")

    try:
        return list(asyncio.run(main()))
    except TimeoutError:
        click.echo(f"note: {control}: the daemon does not answer", err=True)
    except ControlError as error:
        # Where no daemon is, nothing is attached, and nobody has to be told.
        if control.exists():
            click.echo(f"note: {error}", err=True)
    return None


def text(told: Sequence[Mapping[str, Any]], *, links: bool) -> str:
    """Make the table of devices; with `links` those of each stand below it."""
    # Who could not be asked what is attached is not shown to have said "nothing".
    asked = any(device["attached"] is not None for device in told)
    names = ("hctl", "type", "vendor", "product", "rev", "size", "sg", "node", "serial", "wwn")
    heads = [*names, *(["vir-hctl"] if asked else []), "in use"]
    lines = render.table(heads, (_row(device, asked=asked) for device in told)).splitlines()
    if links:
        for number in range(len(told), 0, -1):
            lines[number + 1 : number + 1] = [f"    {link}" for link in told[number - 1]["links"]]
    return "\n".join(lines)


def _row(device: Mapping[str, Any], *, asked: bool) -> list[str]:
    nodes = dict(device["nodes"])
    generic = nodes.pop("sg", "")
    others = [nodes[kind] for kind in ("sd", "sr", "nst", "sch", "block") if kind in nodes]
    cells = [
        device["hctl"],
        device["type"],
        device["vendor"],
        device["product"],
        device["revision"],
        render.size(device["size"]) if device["size"] is not None else None,
        generic,
        *(others[:1] or [None]),
        device["serial"],
        device["wwn"],
        *([" ".join(device["attached"])] if asked else []),
        _use(device["in-use"]),
    ]
    return [cell or "-" for cell in cells]


def _use(use: Mapping[str, Any]) -> str:
    words = [*use["mounted"], *use["holders"], *use["processes"]]
    return ", ".join([*words, *(["exclusive"] if use["exclusive"] else [])])


DEVICES = click.Command(
    "devices",
    callback=_devices,
    params=[
        *common_options(),
        click.Option(["--links"], is_flag=True, help="List links below /dev/disk and /dev/tape."),
    ],
    help="""List the host's SCSI devices, and what they are attached as.

    Block devices that are no SCSI devices come last; they can be behind an emulated disk. Needs
    no daemon, and sends no command to any device. Of other users' processes only root sees what
    they have open.""",
    context_settings=HELP_NAMES,
)
