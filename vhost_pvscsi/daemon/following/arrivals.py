"""Devices that are new: LUNs that waited for them, and rules that are about them."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import TYPE_CHECKING

from vhost_pvscsi.daemon.roster import Automatic, Missing
from vhost_pvscsi.devices.pdev import Kind
from vhost_pvscsi.discovery import proc
from vhost_pvscsi.discovery.resolve import find
from vhost_pvscsi.errors import VhostPvscsiError

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from vhost_pvscsi.daemon.changes import Changes
    from vhost_pvscsi.daemon.inventory import Inventory
    from vhost_pvscsi.daemon.plan import PlannedLun
    from vhost_pvscsi.daemon.roster import Roster
    from vhost_pvscsi.discovery.device import HostDevice
    from vhost_pvscsi.discovery.usage import Uses
    from vhost_pvscsi.identity import Address

    from .places import Places
    from .rules import Rule

log = logging.getLogger(__name__)


class Arrivals:
    """Attaches what has come. Who calls it holds `Roster.changing`."""

    def __init__(
        self, inventory: Inventory, roster: Roster, changes: Changes, places: Places
    ) -> None:
        self._inventory = inventory
        self._roster = roster
        self._changes = changes
        #: Incarnations that rules have been applied to; an operator's detaching holds.
        self._seen: set[object] = set()
        self._places = places
        self._said: dict[object, str] = {}  #: problems that have been told

    def awaited(self) -> bool:
        """Whether a LUN is missing that a device may come for."""
        return any(True for _ in self._missing())

    def forget(self) -> None:
        """Apply rules to all devices anew."""
        self._seen.clear()
        self._said.clear()

    def pass_over(self, device: HostDevice) -> None:
        """Apply no rule to a device: it is attached."""
        self._seen.add(device.presence)

    async def attach_missing(self, there: Sequence[HostDevice], *, but: Container[Address]) -> bool:
        """Attach LUNs that should be there and whose devices are, `but` some.

        False: a device is there, and could not be had.
        """
        whole = True
        for address, lun in tuple(self._missing()):
            if address in but or address.host not in self._roster.hosts:
                continue
            assert lun.spec.device is not None
            device = None
            try:
                device = find(lun.spec.device, there)
                await self._changes.attach_lun(lun, device)
            except VhostPvscsiError as error:
                self._roster.missing[address] = Missing(lun.text, str(error))
                whole = whole and device is None
            else:
                log.info("%s: %s is there now", address, lun.spec.pdev)
        return whole

    def _missing(self) -> Iterator[tuple[Address, PlannedLun]]:
        for address, missing in self._roster.missing.items():
            try:
                lun = self._roster.plan_lun(address, missing.wanted)
            except VhostPvscsiError:
                continue  # it makes no sense any more, which has been told
            if lun.spec.kind is Kind.DEVICE:
                yield address, lun

    async def apply_rules(self, there: Sequence[HostDevice]) -> bool:
        """Attach devices that rules are about, each once; False: one could not be had."""
        whole = True
        rules = self._roster.configured.rules
        self._seen &= {device.presence for device in there}
        fresh = [
            (device, rule)
            for device in there
            # Until it has its node it is not there yet.
            if device.presence not in self._seen and device.nodes.sg
            for rule in [next((rule for rule in rules if rule.matches(device)), None)]
            if rule is not None
        ]
        if not fresh:
            return whole
        # Who was here before takes its place before somebody new does.
        fresh.sort(key=lambda one: self._places.find(one[0].identity, one[1].vdev) is None)
        uses = await asyncio.to_thread(proc.uses, processes=False)
        for device, rule in fresh:
            problem = self._why_not(device, uses)
            try:
                if problem is None:
                    problem = await self._attach(device, rule, there)
            except VhostPvscsiError as error:
                whole = False
                self._say(device, rule, str(error))
                continue
            if problem is not None:
                self._say(device, rule, problem)
            self._seen.add(device.presence)
        return whole

    def _why_not(self, device: HostDevice, uses: Uses) -> str | None:
        usage = uses.of(device)
        if usage.claimed:
            return str(usage)
        has = {one.device.presence for one in self._inventory.forwarded() if not one.lost}
        if device.presence in has:
            return "is attached already"
        for backed in self._inventory.backed():
            if proc.number_of(str(backed.path)) in device.numbers:
                return "an emulated disk is on it"
        return None

    async def _attach(
        self, device: HostDevice, rule: Rule, there: Sequence[HostDevice]
    ) -> str | None:
        """Attach a device by a rule; why that is not to be, if it is not."""
        if rule.host not in self._roster.hosts:
            return f"there is no virtual host {rule.host}"
        address = self._place(device, rule)
        if address is None:
            return f"vdev {rule.vdev!r}: all its addresses are taken"
        others = [each for each in there if each.steady_name == device.steady_name]
        name = device.steady_name if len(others) == 1 else str(device.address)
        lun = self._roster.plan_lun(address, rule.pdev(name))
        lun = dataclasses.replace(lun, place=rule.place)
        await self._changes.attach_lun(lun, device)
        self._roster.automatic[address] = Automatic(rule, lun)
        await asyncio.to_thread(self._places.remember, device.identity, address, rule.vdev)
        log.info("%s: attached %s by the rule of %s", address, device.name, rule.place)
        return None

    def _place(self, device: HostDevice, rule: Rule) -> Address | None:
        before = self._places.find(device.identity, rule.vdev)
        if before is not None and before.host == rule.host and not self._is_taken(before):
            return before
        return rule.address_for(device, self._is_taken)

    def _is_taken(self, address: Address) -> bool:
        roster = self._roster
        return any(
            address in each for each in (roster.luns, roster.missing, roster.configured.luns)
        )

    def _say(self, device: HostDevice, rule: Rule, problem: str) -> None:
        if self._said.get(device.presence) != problem:
            self._said[device.presence] = problem
            log.warning("%s: not attached by the rule of %s: %s", device.name, rule.place, problem)
