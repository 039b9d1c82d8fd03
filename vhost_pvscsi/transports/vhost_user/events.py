"""The event ring of one front-end: what waits to be told, and what was missed.

virtio 1.2, 5.6.6.3. Events are told in order, one push to the engine at a time; a push waits in
the engine until the guest puts a buffer there, so nobody polls. Those that come meanwhile are
kept up to a limit. What is lost beyond it, the next event says with EVENTS_MISSED.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from vhost_pvscsi.transports.base import Announcement, Happening
from vhost_pvscsi.wire.vhost_user import Feature
from vhost_pvscsi.wire.virtio_scsi import (
    EVENTS_MISSED,
    Event,
    EventType,
    LunAddress,
    ResetReason,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Events kept for a guest that gives no buffers; Linux gives 8.
LIMIT = 64

#: In place of an address where an event is about none.
_NOWHERE = LunAddress(0, 0)

_RESETS = {
    Happening.LUN_ADDED: ResetReason.RESCAN,
    Happening.LUN_REMOVED: ResetReason.REMOVED,
    Happening.LUN_RESET: ResetReason.HARD,
}

#: Features that a guest must have acknowledged to be told (virtio 1.2, 5.6.3).
_NEEDED = {
    Happening.LUN_ADDED: Feature.SCSI_HOTPLUG,
    Happening.LUN_REMOVED: Feature.SCSI_HOTPLUG,
    Happening.PARAMETERS_CHANGED: Feature.SCSI_CHANGE,
}


class EventRing:
    """Queues events for one front-end and pushes them while its event ring runs.

    Args:
        push: fills one buffer, waiting for it; False where the event was not told.
    """

    def __init__(self, push: Callable[[bytes], Awaitable[bool]]) -> None:
        self._push = push
        self._waiting: deque[Event] = deque()
        self._missed = False
        self._running = False
        self._stops = 0
        self._resets = 0
        self._subscribed: dict[LunAddress, int] = {}
        self._task: asyncio.Task[None] | None = None

    def announce(self, announcement: Announcement, features: Feature | None) -> None:
        """Tell the guest, where it has acknowledged (or subscribed to) such events.

        Without `features` there is no driver yet: it will look for itself.
        """
        if announcement.happening is Happening.LUN_REMOVED:
            # What comes to its place is another unit, and nobody has subscribed to that.
            self._subscribed.pop(LunAddress(announcement.target, announcement.lun), None)
        if features is None or _NEEDED.get(announcement.happening, Feature(0)) & ~features:
            return
        event = self._event(announcement)
        if event is None:
            return
        if len(self._waiting) >= LIMIT:
            self._missed = True
        else:
            self._waiting.append(event)
        self._go_on()

    def subscribe(self, address: LunAddress, events: int) -> None:
        """Tell these asynchronous notifications of a LUN, and no others (5.6.6.2)."""
        # Without any there is nothing to keep, so that what is kept is bounded by what units have.
        self._subscribed.pop(address, None)
        if events:
            self._subscribed[address] = events

    def start(self) -> None:
        """The event ring runs."""
        self._running = True
        self._go_on()

    def stop(self) -> None:
        """The event ring is about to stop; what waits is told when it runs again."""
        self._running = False
        self._stops += 1

    def forget(self) -> None:
        """The device is reset: nothing waits, was missed, or is subscribed to."""
        self.stop()
        self._resets += 1
        self._waiting.clear()
        self._missed = False
        self._subscribed.clear()

    async def close(self) -> None:
        """Push no more; returns when the last push has ended."""
        self.forget()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _event(self, announcement: Announcement) -> Event | None:
        address = LunAddress(announcement.target, announcement.lun)
        match announcement.happening:
            case Happening.PARAMETERS_CHANGED:
                # virtio 1.2, 5.6.6.3: ASC in the low byte, ASCQ above it.
                return Event(EventType.PARAM_CHANGE, address, announcement.detail)
            case Happening.NOTIFICATION:
                events = announcement.detail & self._subscribed.get(address, 0)
                return Event(EventType.ASYNC_NOTIFY, address, events) if events else None
            case happening:
                return Event(EventType.TRANSPORT_RESET, address, _RESETS[happening])

    def _go_on(self) -> None:
        if self._running and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._tell(), name="event ring")

    async def _tell(self) -> None:
        while self._running and (self._waiting or self._missed):
            # That something was missed is told without an event where none follows.
            event = self._waiting[0] if self._waiting else Event(EventType.NO_EVENT, _NOWHERE)
            missed, self._missed = self._missed, False
            flag = EVENTS_MISSED if missed else 0
            stops, resets = self._stops, self._resets
            if await self._push(replace(event, type=event.type | flag).encode()):
                self._drop(event)
                continue
            if self._stops != stops:
                # The ring was stopped under it: it is told when the ring runs again.
                self._missed = self._missed or (missed and self._resets == resets)
                continue
            # Not tried again: a buffer that is too short, or a broken ring, stays so. It is the
            # next event that says so, now where one waits.
            self._drop(event)
            self._missed = True
            if not self._waiting:
                return

    def _drop(self, event: Event) -> None:
        # Meanwhile all may have been forgotten.
        if self._waiting and self._waiting[0] is event:
            self._waiting.popleft()
