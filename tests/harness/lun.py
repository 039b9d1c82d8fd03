"""A LUN as a front-end of ours asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .frontend import FrontEnd, Response


class Lun:
    """What is at an address of a front-end."""

    def __init__(self, guest: FrontEnd, target: int = 0, lun: int = 0) -> None:
        self.guest = guest
        self.target = target
        self.lun = lun

    def do(self, cdb: bytes, *, data_out: bytes = b"", data_in: int = 0) -> Response:
        return self.guest.scsi(self.target, self.lun, cdb, data_out=data_out, data_in=data_in)
