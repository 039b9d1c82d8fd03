"""The one ring of a session, as its messages describe it. A value: no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vhost_pvscsi.engine import PvscsiSetup, SharedArea
from vhost_pvscsi.errors import ProtocolError
from vhost_pvscsi.transports.memory import NO_FD
from vhost_pvscsi.wire.pvscsi_socket import GrantTable, InflightArea, RingPage, RingPlace

if TYPE_CHECKING:
    from typing import Self

PAGE = 4096

#: A grant table that no guest can fill; Xen's default is 256 KiB.
MAX_TABLE = 4 << 20


@dataclass(frozen=True, slots=True)
class Ring:
    """What is known of the ring, and the descriptors that are held for it."""

    page: RingPage | None = None
    table: GrantTable | None = None
    table_fd: int = NO_FD
    area: InflightArea | None = None
    area_fd: int = NO_FD
    kicked: bool = False  #: SET_VRING_KICK has come, with a descriptor or without
    kick: int = NO_FD
    call: int = NO_FD

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Those held now."""
        held = (self.table_fd, self.area_fd, self.kick, self.call)
        return tuple(fd for fd in held if fd != NO_FD)

    def with_page(self, page: RingPage) -> Self:
        """Set its page.

        Raises:
            ProtocolError: the front-end cannot have meant that.
        """
        limit = 1 << 32 if page.place is RingPlace.GRANT else 1 << 64
        if page.where >= limit or (page.place is RingPlace.ADDRESS and page.where % PAGE):
            raise ProtocolError(
                f"SET_RING: {page.where:#x} is no {_PLACES[page.place]}",
                hint=f"a grant reference has 32 bits, an address is a multiple of {PAGE}",
            )
        return replace(self, page=page)

    def with_table(self, table: GrantTable, fd: int) -> Self:
        """Set the grant table.

        Raises:
            ProtocolError: there can be no such table.
        """
        if table.version != 1:
            raise ProtocolError(f"SET_GRANT_TABLE: version {table.version} is not 1")
        if not 0 < table.size <= MAX_TABLE or table.size % PAGE or table.offset % PAGE:
            raise ProtocolError(
                f"SET_GRANT_TABLE: {table.size:#x} bytes at file offset {table.offset:#x}",
                hint=f"both are multiples of {PAGE}, the size is up to {MAX_TABLE:#x}",
            )
        return replace(self, table=table, table_fd=fd)

    def stopped(self) -> Self:
        """Forget what belongs to one life of the ring."""
        return replace(self, page=None, kicked=False, kick=NO_FD)

    def missing(self, *, memory: bool, translated: bool) -> str | None:
        """What must still come before the ring can start."""
        if not memory:
            return "SET_MEM_TABLE"
        if self.page is None:
            return "SET_RING"
        if not self.kicked:
            return "SET_VRING_KICK"
        if self.table is None and not translated:
            return "SET_GRANT_TABLE"
        if self.table is None and self.page.place is RingPlace.GRANT:
            return "SET_GRANT_TABLE"
        return None

    def setup(self, segments: int) -> PvscsiSetup:
        """What the engine is told; nothing is missing."""
        if self.page is None:
            msg = "the ring has no page"
            raise ValueError(msg)
        table, area = self.table, self.area
        return PvscsiSetup(
            granted=self.page.place is RingPlace.GRANT,
            place=self.page.where,
            table=SharedArea(self.table_fd, table.offset, table.size) if table else None,
            domain=table.back_end if table else 0,
            area=SharedArea(self.area_fd, area.offset, area.size) if area else None,
            segments=segments,
            kick_fd=self.kick,
            call_fd=self.call,
        )


_PLACES = {RingPlace.GRANT: "grant reference", RingPlace.ADDRESS: "address of a page"}
