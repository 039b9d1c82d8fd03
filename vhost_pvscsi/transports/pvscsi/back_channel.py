"""The socket on which a front-end is told of LUNs that come and go."""

from __future__ import annotations

import os
import socket

from vhost_pvscsi.wire.pvscsi_socket import BackEndKind, Lun, LunName, encode_notice


class BackChannel:
    """Sends without waiting: a front-end that does not read loses the channel."""

    def __init__(self, fd: int) -> None:
        """Use a socket that stays the caller's.

        Raises:
            OSError: it is no stream socket.
        """
        self._socket = socket.socket(fileno=os.dup(fd))
        if self._socket.type != socket.SOCK_STREAM:
            self.close()
            raise OSError(0, "it is no stream socket")

    def added(self, lun: Lun) -> None:
        """Tell of a LUN that was attached.

        Raises:
            OSError: the front-end does not read, or has closed it.
        """
        self._send(encode_notice(BackEndKind.LUN_ADD, lun))

    def removed(self, lun: int) -> None:
        """Tell of a LUN that was taken away.

        Raises:
            OSError: as `added`.
        """
        self._send(encode_notice(BackEndKind.LUN_REMOVE, LunName(lun)))

    def close(self) -> None:
        """Send nothing more."""
        self._socket.close()

    def _send(self, data: bytes) -> None:
        sent = self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if sent < len(data):
            # What follows would be read in the middle of it.
            raise OSError(0, "its buffer is full")
