"""A metrics socket as asked for: `unix:PATH[,OPTION...]` or `[HOST:]PORT`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vhost_pvscsi.control.permissions import parse_group, parse_mode
from vhost_pvscsi.daemon.control.spec import default_mode
from vhost_pvscsi.devices.pdev import split_commas
from vhost_pvscsi.errors import ConfigurationError

#: Who is not told otherwise listens to this machine alone.
LOCAL = "127.0.0.1"

_UNIX = "unix:"
_OPTIONS = "group=, mode="
_FORMS = "unix:PATH, or PORT or HOST:PORT of TCP"
_TCP = re.compile(r"(?:(?P<host>[^\[\]:,\s]+|\[[0-9A-Fa-f:.%\w]+\]):)?(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class UnixSpec:
    """A UNIX socket."""

    path: Path
    mode: int
    group: int | None = None  #: gid; None: the daemon's own

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class TcpSpec:
    """A TCP socket; port 0: any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


MetricsSpec = UnixSpec | TcpSpec


def parse_metrics(text: str) -> MetricsSpec:
    """Read `unix:PATH[,group=GROUP][,mode=OCTAL]` or `[HOST:]PORT`; IPv6 stands in brackets.

    Raises:
        ConfigurationError: any part of it cannot be used.
    """
    if text.startswith(_UNIX):
        return _unix(text)
    match = _TCP.fullmatch(text)
    if match is None or int(match["port"]) > 0xFFFF:
        raise ConfigurationError(f"metrics socket {text!r} cannot be used", hint=_FORMS)
    host = (match["host"] or LOCAL).strip("[]")
    return TcpSpec(host, int(match["port"]))


def _unix(text: str) -> UnixSpec:
    path, *words = split_commas(text.removeprefix(_UNIX))
    if not path or "\0" in path:
        raise ConfigurationError(
            f"metrics socket {text!r} has no path",
            hint=f"--metrics unix:PATH; options are {_OPTIONS}",
        )
    group, mode = None, None
    for word in words:
        name, _, value = word.partition("=")
        if name == "group":
            group = parse_group(name, value)
        elif name == "mode":
            mode = parse_mode(name, value)
        else:
            raise ConfigurationError(
                f"metrics socket {path}: option {word!r} is not known",
                hint=f"options are {_OPTIONS}",
            )
    return UnixSpec(Path(path), default_mode(group) if mode is None else mode, group)
