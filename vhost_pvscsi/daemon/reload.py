"""Makes what is there what should be there: at the start, and when the configuration changed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vhost_pvscsi.control.commands import PATIENCE
from vhost_pvscsi.devices.lun_options import OnLoss
from vhost_pvscsi.errors import ConfigurationError, DeviceError, VhostPvscsiError

from .config.mistakes import Mistake, MistakesError
from .control.operator import Change
from .roster import Missing

if TYPE_CHECKING:
    from vhost_pvscsi.identity import Address

    from .changes import Changes
    from .inventory import Inventory
    from .plan import Plan
    from .roster import Roster

log = logging.getLogger(__name__)

ATTACHED, DETACHED, BOTH = "attached", "detached", "detached and attached"
FAILED, RESTART = "failed", "needs a restart"


async def populate(inventory: Inventory, roster: Roster) -> None:
    """Make all that should be there; its sockets are open then, nobody is served yet.

    What operators had attached and cannot be had is missing, and so is what comes and goes with
    its device (on-loss=remove). All else that is configured must be there.

    Raises:
        VhostPvscsiError: it is not; all of it is named.
    """
    wanted = roster.wanted()
    failed: list[tuple[str, VhostPvscsiError]] = []
    for number, host in wanted.hosts.items():
        inventory.make_host(host.spec)
        roster.hosts[number] = host
    for address, lun in wanted.luns.items():
        try:
            await inventory.attach_lun(lun.spec)
            roster.luns[address] = lun
        except VhostPvscsiError as error:
            configured = roster.configured.luns.get(address)
            waits = lun.spec.options.on_loss is OnLoss.REMOVE and isinstance(error, DeviceError)
            if configured is not None and configured.text == lun.text and not waits:
                failed.append((lun.place, error))
            else:
                _miss(roster, address, lun.text, error)
    for number, host in wanted.hosts.items():
        try:
            inventory.open_socket(inventory.host(number))
        except VhostPvscsiError as error:
            if roster.configured.hosts.get(number) == host:
                failed.append((host.place, error))
            else:
                await _give_up(inventory, roster, number, error)
    _raise(failed)


def _raise(failed: list[tuple[str, VhostPvscsiError]]) -> None:
    if len(failed) == 1 and not failed[0][0]:
        raise failed[0][1]
    if failed:
        wrong = [
            Mistake(place or "command line", str(error), error.hint) for place, error in failed
        ]
        asked = all(isinstance(error, ConfigurationError) for _, error in failed)
        raise MistakesError(wrong, refused=not asked)


async def _give_up(
    inventory: Inventory, roster: Roster, number: int, error: VhostPvscsiError
) -> None:
    """Let a host go again that cannot listen; its LUNs are missing with it."""
    log.error("virtual host %d, attached at run time, is missing: %s", number, error)
    host = roster.hosts.pop(number)
    roster.missing_hosts[number] = Missing(str(host.spec), str(error))
    await inventory.detach_host(number, force=True, patience=0)
    for address in [address for address in roster.luns if address.host == number]:
        lun = roster.luns.pop(address)
        roster.missing[address] = Missing(lun.text, f"virtual host {number} is missing")


def _miss(roster: Roster, address: Address, wanted: str, error: VhostPvscsiError) -> None:
    log.error("LUN %s, %s, is missing: %s", address, wanted, error)
    roster.missing[address] = Missing(wanted, str(error))


class Reload:
    """One reading anew: what it did, in order."""

    def __init__(self, roster: Roster, changes: Changes) -> None:
        self._roster = roster
        self._changes = changes
        self._told: list[Change] = []
        self._stuck: set[Address] = set()
        self._stuck_hosts: set[int] = set()

    async def apply(self, wanted: Plan) -> list[Change]:
        """Make what is there what is wanted; what is the same already is left alone.

        A failure is told, and costs nothing else.
        """
        again = await self._detach_hosts(wanted)
        changed = await self._detach_luns(wanted)
        await self._attach_hosts(wanted, again)
        await self._attach_luns(wanted, changed)
        return self._told

    async def _detach_hosts(self, wanted: Plan) -> set[int]:
        """Detach hosts that are unwanted or changed; those that come back."""
        again = set()
        for number, host in tuple(self._roster.hosts.items()):
            planned = wanted.hosts.get(number)
            if planned is not None and planned.spec == host.spec:
                continue
            try:
                await self._changes.detach_host(number, force=False, patience=PATIENCE)
            except VhostPvscsiError as error:
                self._fail(f"host {number}", error)
                self._stuck_hosts.add(number)
                continue
            if planned is None:
                self._tell(f"host {number}", DETACHED)
            else:
                again.add(number)
        return again

    async def _detach_luns(self, wanted: Plan) -> set[Address]:
        changed = set()
        for address, lun in tuple(self._roster.luns.items()):
            planned = wanted.luns.get(address)
            if address.host in self._stuck_hosts:
                continue
            if planned is not None and planned.spec == lun.spec:
                continue
            try:
                await self._changes.detach_lun(address, force=False, patience=PATIENCE)
            except VhostPvscsiError as error:
                self._fail(f"LUN {address}", error)
                self._stuck.add(address)
                continue
            if planned is None:
                self._tell(f"LUN {address}", DETACHED)
            else:
                changed.add(address)
        return changed

    async def _attach_hosts(self, wanted: Plan, again: set[int]) -> None:
        for number, host in wanted.hosts.items():
            if number in self._roster.hosts:
                continue
            if host.spec.path is None:
                # Its descriptor was closed with it: that number is another file's by now.
                self._tell(f"host {number}", RESTART)
                continue
            try:
                await self._changes.attach_host(host)
            except VhostPvscsiError as error:
                self._roster.missing_hosts[number] = Missing(str(host.spec), str(error))
                self._fail(f"host {number}", error)
            else:
                self._tell(f"host {number}", BOTH if number in again else ATTACHED)

    async def _attach_luns(self, wanted: Plan, changed: set[Address]) -> None:
        for address, lun in wanted.luns.items():
            stuck = address in self._stuck or address.host in self._stuck_hosts
            if stuck or address in self._roster.luns:
                continue
            if (
                wanted.hosts[address.host].spec.path is None
                and address.host not in self._roster.hosts
            ):
                continue
            try:
                await self._changes.attach_lun(lun)
            except VhostPvscsiError as error:
                _miss(self._roster, address, lun.text, error)
                self._fail(f"LUN {address}", error)
            else:
                self._tell(f"LUN {address}", BOTH if address in changed else ATTACHED)

    def _tell(self, what: str, done: str) -> None:
        self._told.append(Change(what, done))

    def _fail(self, what: str, error: VhostPvscsiError) -> None:
        problem = str(error) + (f" ({error.hint})" if error.hint else "")
        self._told.append(Change(what, FAILED, problem))
