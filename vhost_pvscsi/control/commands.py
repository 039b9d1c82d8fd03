"""The commands of the control socket: one row each.

The server's check of arguments, `query-commands`, `query-schema`, the verbs of the command line,
their man pages and docs/control.md are made of these rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ConfigurationError

from .parameter import (
    CARTRIDGE,
    ELEMENT,
    FDNAME,
    GROUP,
    HOST,
    MODE,
    PATH,
    PDEV,
    QUEUES,
    RULES,
    SECONDS,
    SOURCE,
    SWITCH,
    VDEV,
    Parameter,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How long commands of a guest may take to end by themselves when a LUN goes, in seconds:
#: the timeout of a Linux guest's disk.
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Command:
    """A command: what it is called, takes and gives."""

    name: str
    summary: str  #: imperative, one sentence with its full stop
    parameters: tuple[Parameter, ...] = ()
    details: str = ""  #: further sentences for the help of its verb
    returns: str = "nothing"
    query: bool = False  #: changes nothing: clients that may only read may ask it
    verb: str | None = None  #: its word on the command line, or two: group, word; None: none

    def read(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """Check what came as JSON; values by `Parameter.member`, all parameters there.

        Raises:
            ConfigurationError: an argument is unknown, missing, or of the wrong kind.
        """
        names = [parameter.name for parameter in self.parameters]
        for name in arguments:
            if name not in names:
                raise ConfigurationError(
                    f"{self.name}: argument {name[:60]!r} is not known",
                    hint=f"arguments are {', '.join(names)}" if names else "it takes none",
                )
        values: dict[str, object] = {}
        for parameter in self.parameters:
            if parameter.name in arguments:
                values[parameter.member] = parameter.read(arguments[parameter.name])
            elif parameter.required:
                raise ConfigurationError(
                    f"{self.name}: argument {parameter.name!r} is missing",
                    hint=parameter.kind.right,
                )
            else:
                values[parameter.member] = parameter.default
        return values


_HOST = Parameter("host", HOST, "The virtual host's number.", positional=True)
_VDEV = Parameter(
    "vdev", VDEV, "The address the guest sees, host:channel:target:lun.", positional=True
)
_FORCE = Parameter(
    "force", SWITCH, "End commands in flight at once.", required=False, default=False
)
_UNPREVENTED = Parameter(
    "force",
    SWITCH,
    "Take a medium out even if a guest prevents that.",
    required=False,
    default=False,
)
_TIMEOUT = Parameter(
    "timeout",
    SECONDS,
    "End commands in flight that take longer.",
    required=False,
    default=PATIENCE,
)
_TRANSIENT = Parameter(
    "transient",
    SWITCH,
    "Let the next daemon know nothing of it.",
    required=False,
    default=False,
)
_FDNAME = Parameter("fdname", FDNAME, "Its name.")
_SOURCE = Parameter(
    "source", SOURCE, "The cartridge: where it lies, or its barcode.", positional=True
)
_REACH = Parameter("force", SWITCH, "Even if a guest prevents it.", required=False, default=False)
#: What can be said of a virtual host, beside its number; in a configuration file too.
HOST_OPTIONS = (
    Parameter("socket-path", PATH, "Where its front-end connects, a UNIX socket."),
    Parameter(
        "socket-group",
        GROUP,
        "A group whose members may connect; the mode is 660 then.",
        required=False,
    ),
    Parameter("socket-mode", MODE, "The mode of the socket's file.", required=False),
    Parameter("queues", QUEUES, "The most request queues that a guest may have.", required=False),
)

COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        Command(
            "host-attach",
            "Make a virtual host that a guest can connect to.",
            (_HOST, *HOST_OPTIONS, _TRANSIENT),
            "A daemon with a state directory remembers it.",
            verb="host-attach",
        ),
        Command(
            "host-detach",
            "End a virtual host and detach its LUNs.",
            (_HOST, _FORCE, _TIMEOUT),
            "A host whose guest is connected ends with --force only.",
            verb="host-detach",
        ),
        Command(
            "query-hosts",
            "List virtual hosts.",
            returns="list of `host`, `socket-path`, `connected`, `luns` (their number), `problem`"
            " (why a host that should be there is missing)",
            query=True,
        ),
        Command(
            "getfd",
            "Give a descriptor that was sent a name.",
            (_FDNAME,),
            "It comes as SCM_RIGHTS with the bytes of this command, or before them. The name is for"
            " this connection alone, which closes it in the end if no scsi-attach has taken it; one"
            " that had the name before is closed.",
        ),
        Command(
            "closefd",
            "Close a descriptor that getfd has named.",
            (_FDNAME,),
        ),
        Command(
            "scsi-attach",
            "Attach a LUN to a virtual host.",
            (
                Parameter(
                    "pdev",
                    PDEV,
                    "What to attach, PDEV[,OPTION...] as in --lun of vhost-pvscsi serve.",
                    positional=True,
                ),
                _VDEV,
                _TRANSIENT,
            ),
            "PDEV is an image file, a block device, a SCSI device of the host (h:c:t:l, wwn:NAA,"
            " serial:TEXT, /dev/sgN ..., fd:NAME that getfd has named), tape:FILE, cd:FILE,"
            " ram:SIZE or null:SIZE, with the options that --lun of vhost-pvscsi serve has. A guest"
            " that runs is told. A daemon with a state directory remembers it, but for fd:NAME.",
            verb="scsi-attach",
        ),
        Command(
            "scsi-detach",
            "Detach a LUN.",
            (_VDEV, _FORCE, _TIMEOUT),
            "A guest that runs is told; a pvSCSI guest first, which may let go of it until the"
            " timeout. Then new commands are refused; those in flight may end by themselves until"
            " the timeout.",
            verb="scsi-detach",
        ),
        Command(
            "scsi-resize",
            "Have a LUN as large as its file is now.",
            (_VDEV,),
            "The daemon looks once a second by itself; this looks at once. A guest that runs has"
            " been told when it returns. No LUN becomes smaller.",
            returns="`blocks` and `block-size`, as the LUN has them now",
            verb="scsi-resize",
        ),
        Command(
            "medium-insert",
            "Put a medium into a drive.",
            (
                _VDEV,
                Parameter(
                    "file", PATH, "A disc image for cd:, a tape image for tape:.", positional=True
                ),
                _UNPREVENTED,
                _TRANSIENT,
            ),
            "What is in the drive is taken out first, as medium-eject does. A guest that runs is"
            " told. A daemon with a state directory remembers it.",
            verb="medium-insert",
        ),
        Command(
            "medium-eject",
            "Take the medium out of a drive.",
            (_VDEV, _UNPREVENTED, _TRANSIENT),
            "A guest that uses it may prevent that. One that has mounted a disc is asked to eject"
            " it; the event MEDIUM_CHANGED tells when it has.",
            verb="medium-eject",
        ),
        Command(
            "query-luns",
            "List LUNs.",
            (Parameter("host", HOST, "Those of this virtual host only.", required=False),),
            returns="list of `vdev`, `pdev`, `type`, `blocks`, `block-size`, `read-only`,"
            " `serial`, `naa`, `state`, `faults` (the number of rules), `denied` (the number of"
            " commands that its policy has refused), `connected` (whether its host's guest is),"
            " `problem` (why a LUN of the state `missing` is), `device` (of a SCSI device that is"
            " forwarded: its h:c:t:l on the host; a multipath device's node),"
            " `guest-state` (what a pvSCSI guest has made of it: `offered`, `connected`, `failed`,"
            " `removed`; of others null), `medium` (the file that is in a drive; of others null),"
            " `loaded` (whether a drive's guest can use it; of others null)",
            query=True,
            verb="scsi-list",
        ),
        Command(
            "fault-set",
            "Make commands of a LUN fail, for tests.",
            (_VDEV, Parameter("rules", RULES, "Rules as in fault= of --lun.", positional=True)),
            "The rules replace those that the LUN has.",
            verb="fault-set",
        ),
        Command(
            "fault-list",
            "List the fault rules of a LUN.",
            (_VDEV,),
            returns="list of rules, each with what it has done so far",
            query=True,
            verb="fault-list",
        ),
        Command(
            "fault-lift",
            "Take all fault rules off a LUN.",
            (_VDEV,),
            verb="fault-lift",
        ),
        Command(
            "query-stats",
            "Show counters by virtual host.",
            returns="list of counters, an object for each host",
            query=True,
            verb="stats",
        ),
        Command(
            "query-lun-stats",
            "Show counters and latencies by LUN.",
            (Parameter("host", HOST, "Those of this virtual host only.", required=False),),
            "They begin with the LUN's attachment. docs/statistics.md says what each is.",
            returns="`time` (the daemon's monotonic clock, in seconds), `latency-bounds` (of the"
            " buckets of latencies, in seconds), `luns`: list of `vdev`, `pdev`, `attachment`"
            " (another one: counters have begun anew), `reads`, `writes`, `others`, `long-road`,"
            " `errors`, `denied`, `bytes-read`, `bytes-written`, `in-flight`, `read-latency` and"
            " `write-latency` (commands by bucket; empty ones at the end are left out)",
            query=True,
            verb="lun-stats",
        ),
        Command(
            "query-changer",
            "Show what lies where in a changer.",
            (_VDEV,),
            returns="`elements`: list of `element` (its name), `address` (its element address),"
            " `cartridge` (the file of what lies there), `barcode`, `source` (the slot that it was"
            " last in), `by-operator` (whether it was imported), `vdev` (of a drive), `problem`"
            " (why a drive cannot be used); `shelf`: the cartridges of its folder that lie in none",
            query=True,
            verb="changer status",
        ),
        Command(
            "changer-import",
            "Put a cartridge of a changer's folder into the changer.",
            (
                _VDEV,
                Parameter(
                    "cartridge",
                    CARTRIDGE,
                    "Its file in the folder, or its barcode; it lies in no element.",
                    positional=True,
                ),
                Parameter(
                    "element",
                    ELEMENT,
                    "Where to: the first empty element for import and export, if not said.",
                    required=False,
                ),
                _REACH,
            ),
            "Guests are told that somebody has reached in.",
            returns="`element`, where it lies",
            verb="changer import",
        ),
        Command(
            "changer-export",
            "Take a cartridge out of a changer.",
            (_VDEV, _SOURCE, _REACH),
            "It lies in a slot or an element for import and export. Its file stays in the folder."
            " Guests are told that somebody has reached in.",
            returns="`cartridge`, its file",
            verb="changer export",
        ),
        Command(
            "changer-move",
            "Move a cartridge in a changer.",
            (
                _VDEV,
                _SOURCE,
                Parameter("destination", ELEMENT, "Where to, an empty one.", positional=True),
            ),
            "A drive is loaded and unloaded as it is when a guest moves the cartridge.",
            verb="changer move",
        ),
        Command(
            "query-mungers",
            "List the mungers: what rewrites guests' commands and replies.",
            details="Those of third parties come before ours. docs/munging.md says what they are.",
            returns="list of `command`, `opcode`, `service-action` (null: all there are),"
            " `direction` (`inbound` or `outbound`), `function`, `origin` (`vhost-pvscsi`, a"
            " package and its version, or a file)",
            query=True,
            verb="mungers",
        ),
        Command(
            "reload",
            "Read the configuration file again, and make what changed in it so.",
            (
                Parameter(
                    "forget",
                    SWITCH,
                    "Forget what was attached and detached at run time, and go by the file alone.",
                    required=False,
                    default=False,
                ),
            ),
            "What is unchanged is not disturbed. A LUN whose options changed is detached and"
            " attached. A file with mistakes changes nothing. LUNs that are missing are tried"
            " again.",
            returns="list of what was done: `what` (a host, a LUN, a setting), `done` (attached,"
            " detached, detached and attached, failed, needs a restart), `problem` (why it failed)",
            verb="reload",
        ),
        Command(
            "query-version",
            "Tell the daemon's version.",
            returns="as in QEMU: `qemu` holds `major`, `minor`, `micro` of our version,"
            " `package` name and version as text",
            query=True,
        ),
        Command(
            "query-commands",
            "List commands by name.",
            returns="list of `name`",
            query=True,
        ),
        Command(
            "query-schema",
            "Describe commands and events.",
            returns="`commands` and `events`, as in the tables of this page",
            query=True,
        ),
        Command(
            "quit",
            "End the daemon; commands in flight are finished first.",
            verb="quit",
        ),
    )
}
