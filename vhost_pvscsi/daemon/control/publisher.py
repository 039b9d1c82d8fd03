"""Events, from whatever part of the daemon they happen in to the clients that listen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from vhost_pvscsi.control.events import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    Listener = Callable[[dict[str, Any]], None]


class Publisher:
    """Where events are said, and who hears them. Nobody hears those of before it listened."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` with each event from now on, as QMP's message; it must not raise."""
        self._listeners.append(listener)

    def leave(self, listener: Listener) -> None:
        """Call it no more."""
        self._listeners.remove(listener)

    def publish(self, name: str, **data: object) -> None:
        """Tell of an event; `data` by the names in its row, with `_` for `-`."""
        event = EVENTS[name]
        told = {member: data.pop(member.replace("-", "_")) for member in event.members}
        assert not data, f"{name} has no {', '.join(data)}"
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        message = {
            "event": name,
            "data": told,
            "timestamp": {"seconds": seconds, "microseconds": nanoseconds // 1000},
        }
        for listener in tuple(self._listeners):
            listener(message)
