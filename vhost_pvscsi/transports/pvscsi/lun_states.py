"""What a guest has made of each LUN, and who waits until it has let go of one."""

from __future__ import annotations

import asyncio

from vhost_pvscsi.transports.base import GuestState
from vhost_pvscsi.wire.pvscsi_socket import LunReport, LunState

_STATES = {
    LunState.CONNECTED: GuestState.CONNECTED,
    LunState.FAILED: GuestState.FAILED,
    LunState.REMOVED: GuestState.REMOVED,
}


class LunStates:
    """The states of a front-end's LUNs, by their identifiers.

    A guest without a ring has no LUN. That is not kept as a state: one that was suspended has
    them all again with its next ring, and its front-end need not say so.
    """

    def __init__(self) -> None:
        self._ring = False
        self._states: dict[int, GuestState] = {}
        self._waiting: dict[int, asyncio.Event] = {}

    def note(self, report: LunReport) -> None:
        """Keep what the front-end tells of a LUN that is there."""
        self._states[report.id] = _STATES[report.state]
        if report.state is not LunState.CONNECTED:
            self._wake(report.id)

    def of(self, lun: int) -> GuestState:
        """Look up what the guest made of a LUN."""
        told = self._states.get(lun, GuestState.OFFERED)
        return told if self._ring else GuestState.OFFERED

    async def released(self, lun: int) -> None:
        """Wait until the guest has let go of a LUN; one that it never connected it need not."""
        if self.of(lun) is GuestState.CONNECTED:
            await self._waiting.setdefault(lun, asyncio.Event()).wait()

    def forget(self, lun: int) -> None:
        """Forget a LUN that is gone."""
        self._states.pop(lun, None)
        self._wake(lun)

    def ring_started(self) -> None:
        """Believe what is told of LUNs."""
        self._ring = True

    def ring_stopped(self) -> None:
        """Let nobody wait any longer."""
        self._ring = False
        for lun in tuple(self._waiting):
            self._wake(lun)

    def _wake(self, lun: int) -> None:
        waiting = self._waiting.pop(lun, None)
        if waiting is not None:
            waiting.set()
