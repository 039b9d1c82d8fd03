"""LogicalUnit: the one protocol that everything at an address satisfies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..engine import Medium
    from ..scsi.request import Reply, Request


class LogicalUnit(Protocol):
    """Answers requests. Shared by all nexuses that it is attached to."""

    @property
    def name(self) -> str:
        """What messages call it: its PDEV."""

    @property
    def medium(self) -> Medium | None:
        """The engine's half of the unit, None where no command may take the short road."""

    @property
    def medium_opcodes(self) -> frozenset[int]:
        """Opcodes that the medium executor finishes by itself while the gate is open."""

    async def execute(self, request: Request) -> Reply:
        """Answer one request; a mistake of the guest is a reply with sense, never an exception."""
