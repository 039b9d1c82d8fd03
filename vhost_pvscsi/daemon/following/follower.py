"""Makes LUNs agree with the devices that there are: one look after another, when told to."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from vhost_pvscsi.daemon.roster import Missing
from vhost_pvscsi.devices.lun_options import OnLoss
from vhost_pvscsi.discovery import listing
from vhost_pvscsi.discovery.monitor import Monitor
from vhost_pvscsi.errors import VhostPvscsiError
from vhost_pvscsi.identity import Address

from .arrivals import Arrivals
from .compare import Followed, Lost, Returned, compare
from .places import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from vhost_pvscsi.daemon.changes import Changes
    from vhost_pvscsi.daemon.control.publisher import Publisher
    from vhost_pvscsi.daemon.forwarding import Forwarded
    from vhost_pvscsi.daemon.inventory import Inventory
    from vhost_pvscsi.daemon.plan import PlannedLun
    from vhost_pvscsi.daemon.roster import Roster
    from vhost_pvscsi.discovery.device import HostDevice

log = logging.getLogger(__name__)

#: Devices come in bursts; between two looks are so many seconds, and three times as many as the
#: last one took, so that a host with very many devices has time for other things.
PAUSE, SHARE, LONGEST = 0.1, 3, 5.0
#: After a device that has come could not be had, in seconds; twice as many after that, and so on.
RETRY, LONGEST_RETRY = 2.0, 64.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A LUN that went with its device, and comes with it."""

    lun: PlannedLun
    device: HostDevice


class Follower:
    """Follows the host's devices, from `async with` to its end.

    A daemon that has nothing to do with them neither looks nor listens.
    """

    def __init__(
        self,
        inventory: Inventory,
        roster: Roster,
        changes: Changes,
        publisher: Publisher,
        list_devices: Callable[[], list[HostDevice]] = listing.scsi_devices,
        places: Places | None = None,
    ) -> None:
        self._inventory = inventory
        self._roster = roster
        self._changes = changes
        self._publisher = publisher
        self._list_devices = list_devices
        self._arrivals = Arrivals(inventory, roster, changes, places or Places())
        self._waiting: dict[Address, Waiting] = {}
        self._woken = asyncio.Event()
        self._until = AsyncExitStack()
        self._listening = False
        self._told: dict[object, str] = {}  #: what has gone wrong with whom, and has been logged
        self._retry = RETRY
        self._again: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._woken.set()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._again is not None:
            self._again.cancel()
        await self._until.aclose()

    def wake(self) -> None:
        """Look soon: devices have changed, or LUNs that are to be followed."""
        self._woken.set()

    def begin_anew(self) -> None:
        """Apply rules to devices that were passed over, too: the configuration has changed."""
        self._arrivals.forget()
        self.wake()

    async def look(self) -> None:
        """Look once, and do what is to be done."""
        async with self._roster.changing:
            if not self._needed():
                return
            # With the lock: what is attached meanwhile would look as if it were gone.
            there = await asyncio.to_thread(self._list_devices)
            whole = [
                await self._follow(there),
                await self._arrivals.attach_missing(there, but=self._waiting),
                await self._arrivals.apply_rules(there),
            ]
        if all(whole):
            self._retry = RETRY
        else:
            self._look_again()

    def _look_again(self) -> None:
        """Look after a while: a node may be another's for a moment, or not ours yet (udev)."""
        if self._again is not None:
            self._again.cancel()
        self._again = asyncio.get_running_loop().call_later(self._retry, self.wake)
        self._retry = min(2 * self._retry, LONGEST_RETRY)

    def _needed(self) -> bool:
        return bool(
            self._forwarded()
            or self._roster.configured.rules
            or self._waiting
            or self._arrivals.awaited()
        )

    def _forwarded(self) -> list[Forwarded]:
        # The paths of a multipath device are multipathd's to follow.
        return [one for one in self._inventory.forwarded() if one.device.address is not None]

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            if not self._listening and self._needed():
                await self._until.enter_async_context(Monitor(self.wake))
                self._listening = True
            began = time.monotonic()
            try:
                await self.look()
            except Exception:
                # A bug of ours, with one device perhaps: the others are followed all the same.
                log.exception("following devices: a look has failed")
            await asyncio.sleep(min(PAUSE + SHARE * (time.monotonic() - began), LONGEST))

    async def _follow(self, there: Sequence[HostDevice]) -> bool:
        """Follow all that have gone or come; whether that was done with all of them."""
        whole = True
        for change in compare(self._followed(), there):
            match change:
                case Lost(who=who) if not isinstance(who, Address):
                    await self._lose(who)
                case Returned(who=who, device=device):
                    try:
                        await self._return(who, device)
                        self._told.pop(who, None)
                    except VhostPvscsiError as error:
                        whole = False
                        self._complain(who, f"{device.name} has come back: {error}")
        return whole

    def _complain(self, who: object, problem: str) -> None:
        if self._told.get(who) != problem:
            self._told[who] = problem
            log.error("%s", problem)

    def _followed(self) -> Iterator[Followed[Forwarded | Address]]:
        for one in self._forwarded():
            yield Followed(one, one.device, one.lost)
        for address, waiting in tuple(self._waiting.items()):
            missing = self._roster.missing.get(address)
            if missing is None or missing.wanted != waiting.lun.text:
                del self._waiting[address]  # an operator has decided otherwise
            else:
                yield Followed(address, waiting.device, lost=True)

    async def _lose(self, one: Forwarded) -> None:
        places = self._inventory.places(one)
        await one.lose()
        for address in places:
            lun = self._roster.luns[address]
            policy = lun.spec.options.on_loss
            log.warning(
                "%s: its device, %s, has gone: the LUN is %s",
                address,
                one.device.name,
                "offline" if policy is OnLoss.OFFLINE else "removed",
            )
            self._publisher.publish(
                "DEVICE_LOST",
                vdev=str(address),
                pdev=lun.spec.pdev,
                device=str(one.device.address),
                on_loss=policy.value,
            )
            if policy is OnLoss.REMOVE:
                try:
                    await self._remove(address, lun, one.device)
                except VhostPvscsiError as error:
                    log.error("%s: is not removed: %s", address, error)  # noqa: TRY400

    async def _remove(self, address: Address, lun: PlannedLun, device: HostDevice) -> None:
        automatic = address in self._roster.automatic
        await self._changes.detach_lun(address, force=True, patience=0)
        if automatic:
            # The rule that made it attaches the device again, when it is there.
            return
        self._roster.missing[address] = Missing(lun.text, f"its device, {device.name}, has gone")
        self._waiting[address] = Waiting(lun, device)

    async def _return(self, who: Forwarded | Address, device: HostDevice) -> None:
        if isinstance(who, Address):
            lun = self._waiting[who].lun
            await self._changes.attach_lun(lun, device)
            del self._waiting[who]
            places = [who]
        else:
            await self._inventory.replace(who, device)
            places = self._inventory.places(who)
            self._arrivals.pass_over(device)
        for address in places:
            log.info("%s: its device has come back, as %s", address, device.name)
            self._publisher.publish(
                "DEVICE_RETURNED",
                vdev=str(address),
                pdev=self._roster.luns[address].spec.pdev,
                device=str(device.address),
            )
