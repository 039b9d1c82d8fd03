"""A control socket as asked for: `PATH[,OPTION...]`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vhost_pvscsi.control.permissions import MODE_GROUP, parse_group, parse_mode
from vhost_pvscsi.devices.pdev import split_commas
from vhost_pvscsi.errors import ConfigurationError

#: Options by name; those that take a value end with "=".
OPTIONS = ("group=", "mode=", "ro")
_OPTIONS = ", ".join(OPTIONS)

#: Who else may connect, if nothing is said: nobody; with a group, its members.
_MODE_ALONE = 0o600


@dataclass(frozen=True, slots=True)
class ControlSpec:
    """One control socket."""

    path: Path
    mode: int = _MODE_ALONE  #: permissions of the socket's file
    group: int | None = None  #: gid; None: the daemon's own
    read_only: bool = False  #: its clients may query, and hear events

    def __str__(self) -> str:
        return str(self.path)


def parse_control(text: str) -> ControlSpec:
    """Read `PATH[,group=GROUP][,mode=OCTAL][,ro]`; a comma in the path is written twice.

    Raises:
        ConfigurationError: any part of it cannot be used.
    """
    path, *words = split_commas(text)
    if not path or "\0" in path:
        raise ConfigurationError(
            f"control socket {text!r} has no path", hint=f"--control PATH; options are {_OPTIONS}"
        )
    group, mode, read_only = None, None, False
    for word in words:
        name, _, value = word.partition("=")
        if name == "group":
            group = parse_group(name, value)
        elif name == "mode":
            mode = parse_mode(name, value)
        elif word == "ro":
            read_only = True
        else:
            raise ConfigurationError(
                f"control socket {path}: option {word!r} is not known",
                hint=f"options are {_OPTIONS}",
            )
    return ControlSpec(Path(path), default_mode(group) if mode is None else mode, group, read_only)


def default_mode(group: int | None) -> int:
    """The mode of a socket's file for which no other is asked."""
    return _MODE_ALONE if group is None else MODE_GROUP
