"""The medium of a removable unit: whether it is there, and who prevents its removal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import sense

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.request import Reply

    from .state import UnitState


class Removal:
    """Whether the medium is ejected; the nexuses that have prevented it (SPC-5 and SBC-4 4.14).

    An ejected unit is a stopped one too, so that its gates are shut as long.
    """

    def __init__(self) -> None:
        self.ejected = False
        self.preventing: set[str] = set()
        #: Orders its coming and going, PREVENT ALLOW MEDIUM REMOVAL and resets among themselves.
        self.changing = asyncio.Lock()

    def allow(self, nexus: str) -> None:
        """End a nexus' prevention, if there is one."""
        self.preventing.discard(nexus)


def no_medium(unit: UnitState) -> Reply | None:
    """The refusal of a command that needs a medium, if there is none."""
    return sense.check_condition(sense.MEDIUM_NOT_PRESENT) if unit.removal.ejected else None
