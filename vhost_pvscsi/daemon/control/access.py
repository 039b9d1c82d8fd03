"""Who is at the other end of a control socket, and whether that is for them.

The kernel asks the file's mode when somebody connects. That is asked again of the peer's own
credentials: the file is not yet as it shall be between bind() and chmod(), and somebody may have
changed it since.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .spec import ControlSpec

#: struct ucred (unix(7), SO_PEERCRED): pid, uid, gid.
_UCRED = struct.Struct("iII")
#: asm-generic/socket.h; Python's socket module has no name for it.
_SO_PEERGROUPS = 59
#: As much as Python lets getsockopt() have: 256 groups.
_MOST = 1024

_GROUP_WRITES, _OTHERS_WRITE = 0o020, 0o002


@dataclass(frozen=True, slots=True)
class Peer:
    """A process as it was when it connected."""

    pid: int
    uid: int
    groups: frozenset[int]

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        """Ask the kernel.

        Raises:
            OSError: it does not tell.
        """
        ucred = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, gid = _UCRED.unpack(ucred)
        return cls(pid, uid, frozenset({gid, *_groups(connection, uid, gid)}))

    def may_use(self, spec: ControlSpec) -> bool:
        """Whether a socket is for it: connecting is writing (unix(7))."""
        if self.uid in {0, os.geteuid()} or spec.mode & _OTHERS_WRITE:
            return True
        return bool(spec.mode & _GROUP_WRITES) and spec.group in self.groups


def _groups(connection: socket.socket, uid: int, gid: int) -> list[int]:
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST)
    except OSError:
        # More than fit there: what the user database says of them.
        try:
            return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
        except (KeyError, OSError):
            return []
    return [number for (number,) in struct.iter_unpack("I", raw)]
