"""What has happened to a drive, for each nexus that has not asked yet (MMC-6 6.6)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.scsi.media_events import EventClass, MediaEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A class and the event's code in it.
Event: TypeAlias = tuple[EventClass, int]

#: So many of one nexus are kept; of more the oldest are lost. Who wants them polls more often.
MOST = 8


class Events:
    """Keeps events until they are taken, each nexus for itself."""

    def __init__(self) -> None:
        self._pending: dict[str, deque[Event]] = {}

    def add(self, nexuses: Iterable[str], kind: EventClass, code: int) -> None:
        """Have an event told to nexuses; one that is the last they have to hear is not repeated."""
        for nexus in nexuses:
            pending = self._pending.setdefault(nexus, deque(maxlen=MOST))
            same_class = [event for event in pending if event[0] is kind]
            if same_class[-1:] == [(kind, code)]:
                continue
            if code != MediaEvent.EJECT_REQUEST:
                # What was asked for has come, or the medium that it was about has gone.
                self._drop(pending, (EventClass.MEDIA, MediaEvent.EJECT_REQUEST))
            pending.append((kind, code))

    def next(self, nexus: str, classes: int) -> Event | None:
        """The most urgent event of some classes, the oldest of its class; it stays."""
        known = [event for event in self._pending.get(nexus, ()) if classes >> event[0] & 1]
        return min(known, key=lambda event: event[0], default=None)

    def take(self, nexus: str, event: Event) -> None:
        """Have an event told no more."""
        self._drop(self._pending.get(nexus, deque()), event)

    def forget(self, nexus: str) -> None:
        """Drop all that a nexus has not heard."""
        self._pending.pop(nexus, None)

    def _drop(self, pending: deque[Event], event: Event) -> None:
        if event in pending:
            pending.remove(event)
