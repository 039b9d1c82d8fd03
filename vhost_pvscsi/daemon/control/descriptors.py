"""Descriptors that a client of the control socket has sent, as QEMU's monitor keeps them.

They come with the bytes of a command or before them; `getfd` gives what came last a name, by which
later commands of the same client can take it. What nobody has taken ends with the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ConfigurationError, DeviceError
from vhost_pvscsi.transports.descriptors import FdSet

if TYPE_CHECKING:
    from vhost_pvscsi.transports.rights import Received

#: So many at a time are taken: one more than `getfd` wants. Each client may leave them lying.
MAX_AT_A_TIME = 2
#: So many may have names.
MAX_NAMED = 64


class ClientDescriptors:
    """Those of one client; `close` them in the end."""

    def __init__(self) -> None:
        self._came = FdSet()
        self._lost = False
        self._named: dict[str, FdSet] = {}

    def take_in(self, received: Received) -> None:
        """Own what has come; what came before and has no name is closed then."""
        if received.descriptors or received.lost:
            self._came.close()
            self._came, self._lost = FdSet(received.descriptors), received.lost

    def name(self, name: str) -> None:
        """Give what came last a name; what had it is closed.

        Raises:
            ConfigurationError: not one has come, but none or several; or too many have names.
            DeviceError: it was lost on its way.
        """
        with self._came as came:
            if self._lost:
                self._lost = False
                raise DeviceError(
                    "getfd: descriptors were lost",
                    hint="send one; or the daemon has as many open as it may (LimitNOFILE=)",
                )
            if not came:
                raise ConfigurationError(
                    "No file descriptor supplied via SCM_RIGHTS",
                    hint="it comes with the bytes of getfd, or before them",
                )
            if len(came) > 1:
                raise ConfigurationError(
                    f"getfd: {len(came)} descriptors came, and one can have the name",
                    hint="send each with a getfd of its own",
                )
            if len(self._named) >= MAX_NAMED and name not in self._named:
                raise ConfigurationError(
                    f"getfd: {MAX_NAMED} descriptors of this client have names already",
                    hint="closefd closes one",
                )
            kept = FdSet(came.steal())
        if (before := self._named.pop(name, None)) is not None:
            before.close()
        self._named[name] = kept

    def take(self, name: str) -> FdSet:
        """Take over the one of that name.

        Raises:
            ConfigurationError: there is none.
        """
        found = self._named.pop(name, None)
        if found is None:
            raise ConfigurationError(
                f"File descriptor named '{name}' not found",
                hint="getfd names one, for the connection that it came by",
            )
        return found

    def close(self) -> None:
        """Close all that nobody has taken."""
        self._came.close()
        for kept in self._named.values():
            kept.close()
        self._named.clear()
