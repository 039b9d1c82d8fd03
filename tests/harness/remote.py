"""Calls of functions that run in a guest which plays a host; inside.py is the other end."""

from __future__ import annotations

import pickle
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from .errors import HarnessError
from .inside import LENGTH

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .nested import OuterHost, OuterProcess

_P = ParamSpec("_P")
_R = TypeVar("_R")

_TREE = Path(__file__).parents[2]
_DEADLINE = 180.0


class Remote:
    """A Python in the guest; it ends with the guest."""

    def __init__(self, host: OuterHost, port: str) -> None:
        self._host = host
        self._port_name = port
        self._socket: socket.socket | None = None
        self._process: OuterProcess | None = None

    def start(self) -> None:
        """Start it; calls wait until it is there."""
        self._socket, device = self._host.port(self._port_name)
        command = [sys.executable, "-m", f"{__package__}.inside", device]
        self._process = self._host.start(command, environment={"PYTHONPATH": str(_TREE)})

    def call(self, function: Callable[_P, _R], /, *arguments: _P.args, **keywords: _P.kwargs) -> _R:
        """Call a function of inside.py there; return what it returns.

        Raises:
            HarnessError: it has raised, or does not answer.
        """
        assert self._socket is not None
        data = pickle.dumps((function.__name__, arguments, keywords))
        self._socket.sendall(LENGTH.pack(len(data)) + data)
        end = time.monotonic() + _DEADLINE
        (length,) = LENGTH.unpack(self._read(LENGTH.size, end, function.__name__))
        good, answer = pickle.loads(self._read(length, end, function.__name__))
        if not good:
            raise HarnessError(f"{function.__name__} in the guest: {answer}")
        return answer  # type: ignore[no-any-return]  # what the function there returned

    def _read(self, count: int, end: float, what: str) -> bytes:
        assert self._socket is not None
        got = bytearray()
        while len(got) < count:
            self._socket.settimeout(max(end - time.monotonic(), 0.001))
            try:
                more = self._socket.recv(count - len(got))
            except TimeoutError:
                more = b""
            if not more:
                raise HarnessError(f"waited {_DEADLINE:g} s for {what} in the guest\n{self.log()}")
            got += more
        return bytes(got)

    def log(self) -> str:
        """Return what it has said."""
        return self._host.log(self._process) if self._process else ""
