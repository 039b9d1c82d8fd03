"""Unit attentions of a unit, by I_T nexus (SAM-5 5.14).

A nexus' gate is shut before a condition becomes pending for it, and opened when the last one
has been reported: while one is pending every command comes by the long road.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.scsi import sense

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.sense import SenseCode

#: Told that conditions begin (True) or cease (False) to be pending for a nexus.
OnChange: TypeAlias = Callable[[str, bool], Awaitable[None]]

#: Told of each condition that is established for a nexus (True), and that ceases to be pending
#: because it was reported, or has become needless (False).
Watcher: TypeAlias = Callable[["SenseCode", bool], None]

#: Resets by severity, lower is more (SAM-5 5.14): a severer one that is pending says all that
#: a lesser one would. They are told before all other conditions.
_RESETS = {
    sense.POWER_ON_OR_RESET: 0,
    sense.POWER_ON: 0,
    sense.SCSI_BUS_RESET: 1,
    sense.BUS_DEVICE_RESET: 2,
    sense.I_T_NEXUS_LOSS: 3,
}
_OTHER = 4
#: Up to here a reset stands for any other condition too: the initiator starts from nothing.
#: After the lesser ones it still has to hear of LUNs or a capacity that changed.
_STARTS_OVER = 1


class _Pending:
    """What one nexus has still to be told, in the order of telling."""

    def __init__(self) -> None:
        self.codes: list[SenseCode] = []
        # Orders the gate's shutting and a condition's arrival against a report that empties
        # the queue and opens the gate: without it the gate could end open with one pending.
        self.lock = asyncio.Lock()

    def add(self, code: SenseCode) -> bool:
        """Enter a condition; False where what is pending says as much already."""
        rank = _RESETS.get(code, _OTHER)
        if rank == _OTHER:
            # A repeated condition is told once, so that the queue is bounded by the kinds.
            new = code not in self.codes and not self._starts_over()
            if new:
                self.codes.append(code)
            return new
        severer = [known for known in self.codes if _RESETS.get(known, _OTHER) < rank]
        others = [known for known in self.codes if _RESETS.get(known, _OTHER) == _OTHER]
        new = not severer and code not in self.codes
        resets = severer or [code]
        self.codes = resets if rank <= _STARTS_OVER else resets + others
        return new

    def _starts_over(self) -> bool:
        return any(_RESETS.get(known, _OTHER) <= _STARTS_OVER for known in self.codes)


class Attentions:
    """Establishes, reports and clears unit attention conditions."""

    def __init__(self, on_change: OnChange) -> None:
        self._on_change = on_change
        self._pending: dict[str, _Pending] = {}
        self._watchers: dict[str, list[Watcher]] = {}

    def watch(self, nexus: str, watcher: Watcher) -> Callable[[], None]:
        """Tell `watcher` of each condition that begins or ends for a nexus; what ends that."""
        watchers = self._watchers.setdefault(nexus, [])
        watchers.append(watcher)
        return lambda: watchers.remove(watcher)

    def pending(self, nexus: str) -> tuple[SenseCode, ...]:
        """What a nexus has still to be told, the next one first."""
        known = self._pending.get(nexus)
        return tuple(known.codes) if known else ()

    async def join(self, nexus: str, code: SenseCode = sense.POWER_ON) -> None:
        """Begin to keep conditions for a nexus; `code` is its first."""
        self._pending.setdefault(nexus, _Pending())
        await self.establish(code, nexus=nexus)

    def leave(self, nexus: str) -> None:
        """Forget a nexus and what it was not told."""
        self._pending.pop(nexus, None)

    async def establish(
        self, code: SenseCode, *, nexus: str | None = None, but: str | None = None
    ) -> None:
        """Make a condition pending for one nexus, or for all, `but` one."""
        for name in (nexus,) if nexus is not None else tuple(self._pending):
            pending = self._pending.get(name)
            if pending is None or name == but:
                continue
            async with pending.lock:
                if not pending.codes:
                    await self._on_change(name, True)
                new = pending.add(code)
            # Of what is pending already, or hidden by a reset, nobody is told a second time.
            if new:
                self._tell(name, code, begins=True)

    async def take(self, nexus: str) -> SenseCode | None:
        """Take the next condition for the report of it; None where none is pending."""
        pending = self._pending.get(nexus)
        if pending is None or not pending.codes:
            return None
        async with pending.lock:
            # Another command may have taken the last one while this waited.
            code = pending.codes.pop(0) if pending.codes else None
            if code is not None:
                self._tell(nexus, code, begins=False)
                if not pending.codes:
                    await self._on_change(nexus, False)
            return code

    async def clear(self, nexus: str, code: SenseCode) -> None:
        """Drop a condition that a command has made needless (SPC-5, "REPORT LUNS command")."""
        pending = self._pending.get(nexus)
        if pending is None or code not in pending.codes:
            return
        async with pending.lock:
            if code in pending.codes:
                pending.codes.remove(code)
                self._tell(nexus, code, begins=False)
                if not pending.codes:
                    await self._on_change(nexus, False)

    def _tell(self, nexus: str, code: SenseCode, *, begins: bool) -> None:
        for watcher in tuple(self._watchers.get(nexus, ())):
            watcher(code, begins)
