"""The events that clients of the control socket are told: one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Event:
    """An event: its name, what it tells, the members of its data."""

    name: str
    summary: str
    members: tuple[str, ...]


EVENTS: Mapping[str, Event] = {
    event.name: event
    for event in (
        Event("HOST_ATTACHED", "A virtual host can be connected to.", ("host", "socket-path")),
        Event("HOST_DETACHED", "A virtual host is gone.", ("host",)),
        Event("FRONTEND_CONNECTED", "A front-end has connected.", ("host",)),
        Event("FRONTEND_LOST", "A front-end has gone, or was let go.", ("host",)),
        Event("LUN_ATTACHED", "A LUN is there.", ("vdev", "pdev")),
        Event(
            "COMMAND_DENIED",
            "A LUN's policy has refused a guest's command; told once a minute for each operation"
            " code, with the number of those that were not told.",
            ("vdev", "command", "rule", "unsaid"),
        ),
        Event("LUN_DETACHED", "A LUN is gone.", ("vdev",)),
        Event(
            "LUN_RESIZED",
            "A LUN has grown with its file, and its guest has been told.",
            ("vdev", "blocks", "block-size"),
        ),
        Event(
            "MEDIUM_CHANGED",
            "A medium was put into a drive or taken out, loaded or ejected, `by` `operator` or"
            " `guest`. `medium` is the file that is in it now, null: none; `loaded` says whether"
            " its guest can use it.",
            ("vdev", "medium", "loaded", "by"),
        ),
        Event(
            "DEVICE_LOST",
            "The SCSI device that a LUN is forwarded to has gone. `device` is where it was on the"
            " host, h:c:t:l. By `on-loss` the LUN is there and not ready (`offline`), or is"
            " removed after this (`remove`).",
            ("vdev", "pdev", "device", "on-loss"),
        ),
        Event(
            "DEVICE_RETURNED",
            "The device of a LUN has come back, and the LUN is there again. `device` is where it"
            " is on the host now, h:c:t:l.",
            ("vdev", "pdev", "device"),
        ),
        Event(
            "CARTRIDGE_MOVED",
            "A changer, or a person at it, has moved a cartridge. `source` and `destination` are"
            " elements, null: it came from outside, or went there. `by` is `guest` or `operator`.",
            ("vdev", "cartridge", "barcode", "source", "destination", "by"),
        ),
        Event(
            "IO_ERROR",
            "The host could not carry out commands of a LUN: `count` of them since the last such"
            " event of that LUN, of which there is one a second at most. `opcode`, `command` and"
            " `errno` are the last one's.",
            ("vdev", "count", "opcode", "command", "errno"),
        ),
    )
}
