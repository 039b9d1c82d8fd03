"""The sockets a daemon is given or makes: `[HOST=]PATH` and `[HOST=]N`."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vhost_pvscsi.control.permissions import MODE_GROUP
from vhost_pvscsi.errors import ConfigurationError, DeviceBusyError, DeviceError
from vhost_pvscsi.identity import MAX_HOST, MAX_REQUEST_QUEUES

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Front-ends that may wait; each virtual host serves one at a time.
BACKLOG = 4

#: unix(7): sun_path has 108 bytes, the last a NUL.
MAX_PATH = 107


@dataclass(frozen=True, slots=True)
class SocketSpec:
    """A socket as asked for; `path` or `fd`."""

    host: int
    path: Path | None = None
    fd: int | None = None
    group: int | None = None  #: gid of a path's file; None: the daemon's own
    mode: int | None = None  #: permissions of a path's file; None: what umask leaves
    queues: int = MAX_REQUEST_QUEUES  #: how many request queues a guest may have

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else f"fd {self.fd}"


def parse_specs(
    paths: Iterable[str],
    fds: Iterable[str],
    *,
    group: int | None = None,
    mode: int | None = None,
) -> list[SocketSpec]:
    """Read `--socket-path` and `--fd` values; one without HOST= is host 0.

    Files of sockets are made with `group` and `mode`.

    Raises:
        ConfigurationError: a value cannot be used, or two are for one virtual host.
    """
    specs = [
        SocketSpec(host, path=_path(rest), group=group, mode=mode)
        for host, rest in map(_split, paths)
    ]
    specs += [SocketSpec(host, fd=_fd(rest)) for host, rest in map(_split, fds)]
    known: dict[int, SocketSpec] = {}
    for spec in specs:
        if spec.host in known:
            raise ConfigurationError(
                f"virtual host {spec.host} has two sockets: {known[spec.host]} and {spec}",
                hint="name the virtual host of each: --socket-path 1=PATH",
            )
        known[spec.host] = spec
    return specs


def _split(text: str) -> tuple[int, str]:
    number, separator, rest = text.partition("=")
    # A path may hold a "=": only digits before it make it ours.
    if not (separator and number.isascii() and number.isdigit()):
        return 0, text
    if int(number) > MAX_HOST:
        raise ConfigurationError(
            f"{text!r}: virtual host {number} is out of range", hint=f"0 to {MAX_HOST}"
        )
    return int(number), rest


def _path(text: str) -> Path:
    if not text:
        raise ConfigurationError("a socket path is empty", hint="--socket-path [HOST=]PATH")
    return Path(text)


def _fd(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError(f"{text!r} is no descriptor", hint="--fd [HOST=]N, a number")
    return int(text)


class Listener:
    """Where front-ends of one virtual host come from: a listening socket, or one connection."""

    def __init__(self, spec: SocketSpec) -> None:
        """Bind or take over.

        Raises:
            DeviceError: the path cannot be bound, or the descriptor is no UNIX stream socket.
        """
        self.spec = spec
        self.socket = _bind(spec, spec.path) if spec.path is not None else _adopt(spec)
        self.listening = bool(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        self.socket.setblocking(False)

    def close(self) -> None:
        """Close it, and remove the path that was made for it."""
        self.socket.close()
        if self.spec.path is not None:
            with contextlib.suppress(OSError):
                self.spec.path.unlink()


def _bind(spec: SocketSpec, path: Path) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        try:
            # Before anybody can connect.
            _set_permissions(spec, path)
        except BaseException:
            path.unlink(missing_ok=True)
            listener.close()
            raise
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        too_long = len(os.fsencode(path)) > MAX_PATH
        hint = f"a UNIX socket's path has at most {MAX_PATH} bytes" if too_long else None
        raise DeviceError(
            f"{path}: cannot listen there: {error.strerror or error}", hint=hint
        ) from error
    return listener


def _set_permissions(spec: SocketSpec, path: Path) -> None:
    mode = spec.mode if spec.group is None or spec.mode is not None else MODE_GROUP
    try:
        if spec.group is not None:
            os.chown(path, -1, spec.group)
        if mode is not None:
            path.chmod(mode)
    except OSError as error:
        raise DeviceError(
            f"{path}: its group or mode cannot be set: {error.strerror}",
            hint="a group that the daemon's user is a member of",
        ) from error


def _remove_stale(path: Path) -> None:
    """Remove a socket that a daemon left behind; one that is in use, or a file, stays."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # nothing is there; bind() says what is wrong with the folder
    if not stat.S_ISSOCK(mode):
        raise DeviceError(
            f"{path}: is there and is no socket", hint="remove it, or take another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError:
            pass  # its backlog is full, or it is not ours to connect to: somebody listens
    raise DeviceBusyError(f"{path}: another program listens there", hint="take another path")


def _adopt(spec: SocketSpec) -> socket.socket:
    assert spec.fd is not None
    try:
        adopted = socket.socket(fileno=spec.fd)
    except OSError as error:
        raise DeviceError(
            f"descriptor {spec.fd} is no socket: {error.strerror}",
            hint="pass a UNIX stream socket, listening or connected",
        ) from error
    if adopted.family != socket.AF_UNIX or adopted.type != socket.SOCK_STREAM:
        adopted.detach()
        raise DeviceError(
            f"descriptor {spec.fd} is no UNIX stream socket",
            hint="pass a UNIX stream socket, listening or connected",
        )
    return adopted
