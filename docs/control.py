"""Writes docs/control.md from the rows of commands and events: `python docs/control.py`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vhost_pvscsi.control.commands import COMMANDS
from vhost_pvscsi.control.events import EVENTS

if TYPE_CHECKING:
    from vhost_pvscsi.control.commands import Command
    from vhost_pvscsi.control.events import Event
    from vhost_pvscsi.control.parameter import Parameter

PAGE = Path(__file__).with_name("control.md")

HEAD = """\
# Control: hosts and LUNs while guests run

This page is written by `python docs/control.py`, its tables from `vhost_pvscsi/control/`; a test
fails where they differ.

`vhost-pvscsi serve --control PATH` listens for operators at PATH. The verbs of the command line ask
there, and so can any program that speaks QMP, the protocol of QEMU's monitor:

```text
$ vhost-pvscsi serve --control /run/vhost-pvscsi/control &
$ vhost-pvscsi host-attach 0 --socket-path /run/vhost-pvscsi/0.sock
$ vhost-pvscsi scsi-attach disk.img 0:0:1:0
$ vhost-pvscsi scsi-list
Idx  BE  state    phy-hctl  phy             vir-hctl  devstate
0    0   waiting  -         /srv/disk.img   0:0:1:0   running
$ vhost-pvscsi scsi-detach 0:0:1:0
```

- A verb finds the daemon by `--control PATH`, else by `$VHOST_PVSCSI_CONTROL`, else at
  `/run/vhost-pvscsi/control`. `--json` prints what the daemon answered.
- Exit status: 0 done, 1 the daemon refused or is not there, 2 it was asked wrongly.
- Relative paths are made absolute by the verbs. A program that speaks QMP itself should do so too:
  to the daemon they are relative to the folder that it was started in.
- `scsi-list` has the columns of Xen's `xm scsi-list`: *Idx* is the virtual host, *BE* the domain
  of the back-end, always 0; *state* says whether the host's guest is `connected` or waited for
  (`waiting`). A pvSCSI guest tells more: the LUN was `offered` to it and it has not said
  anything yet, has it `connected`, has `failed` to find it, or has let go of it (`removed`).
  *phy-hctl* is `-` for what has no SCSI address on the host; *phy* is the PDEV as attached.
- `devstate` is `missing` where a LUN should be there and cannot be had: [config.md](config.md),
  "Who wins".
- `vhost-pvscsi show` lists hosts and LUNs with what they are, `vhost-pvscsi events` prints events
  until it is interrupted, `vhost-pvscsi top` shows what LUNs do ([statistics.md](statistics.md)).

## Who may

The socket's file is there for the daemon's user alone (mode 0600). Options after the path change
that; a comma in the path is written twice, and `--control` may be given several times:

| option | |
|---|---|
| `group=GROUP` | a group by name or number, whose members may connect: mode 0660 |
| `mode=OCTAL` | another mode of the file: who may write may connect |
| `ro` | clients of this socket may use the commands marked "query" below, and hear events |

A second socket is how some may look and others change things:

```text
--control /run/vhost-pvscsi/control --control /run/vhost-pvscsi/watch,group=monitor,ro
```

The daemon asks the kernel who the peer is (SO_PEERCRED), and refuses who is neither root, nor its
own user, nor let in by group and mode. Whoever may use a socket without `ro` can have the daemon
open any file that it can open: give it to those you would give the daemon's account.

## QMP

As in QEMU's `docs/interop/qmp-spec.rst`: a greeting; `qmp_capabilities` (there are none to enable)
before anything else; then `{"execute": NAME, "arguments": {...}, "id": ANY}`, answered by `return`
or `error` with the same `id`; events at any time. `qmp-shell PATH` works as it stands.

- Objects may follow each other with white space or nothing between. What is no JSON object gets one
  error and is skipped to the end of its line; a byte FFh ends what has begun.
- A command is carried out when the one before it, of the same client, has ended. Clients do not
  wait for each other, but changes of hosts and LUNs are made one at a time.
- An error is of class `CommandNotFound` or `GenericError`. Beside `class` and `desc` it may have
  `hint`, what would be right; `desc` ends with the same text in parentheses.
- Limits: 1 MiB for an object, 64 levels of nesting, 64 clients. A client that lets 1 MiB of events,
  or an answer for 30 seconds, go unread is let go. What it asked for is done nevertheless.
- `version.qemu` of the greeting holds our version: clients look there.

"""

COMMANDS_HEAD = """\
## Commands

Arguments in parentheses may be left out.

| command | verb | arguments | returns | |
|---|---|---|---|---|
"""

EVENTS_HEAD = """
## Events

| event | data | |
|---|---|---|
"""


def render() -> str:
    """Make the page."""
    commands = "".join(map(_command, COMMANDS.values()))
    return HEAD + COMMANDS_HEAD + commands + EVENTS_HEAD + "".join(map(_event, EVENTS.values()))


def _command(command: Command) -> str:
    cells = (
        f"`{command.name}`",
        f"`{command.verb}`" if command.verb else "-",
        "<br>".join(map(_parameter, command.parameters)) or "-",
        ("query: " if command.query else "") + command.returns,
        " ".join(text for text in (command.summary, command.details) if text),
    )
    return f"| {' | '.join(cells)} |\n"


def _parameter(parameter: Parameter) -> str:
    text = f"`{parameter.name}`: {parameter.kind.json}, {parameter.kind.right}"
    if parameter.default is not None:
        text += f"; {str(parameter.default).lower()} if not given"
    return text if parameter.required else f"({text})"


def _event(event: Event) -> str:
    members = ", ".join(f"`{member}`" for member in event.members)
    return f"| `{event.name}` | {members} | {event.summary} |\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
