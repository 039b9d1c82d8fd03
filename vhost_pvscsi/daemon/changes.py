"""One change at a time: on the inventory, in the roster, told as an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from vhost_pvscsi.discovery.device import HostDevice
    from vhost_pvscsi.identity import Address

    from .announcements import Announcements
    from .control.publisher import Publisher
    from .inventory import Inventory
    from .plan import PlannedHost, PlannedLun
    from .roster import Roster


class Changes:
    """Makes hosts and LUNs come and go. What fails has changed nothing; raises as `Inventory`."""

    def __init__(
        self,
        inventory: Inventory,
        roster: Roster,
        publisher: Publisher,
        announcements: Announcements,
    ) -> None:
        self._inventory = inventory
        self._roster = roster
        self._publisher = publisher
        self._announcements = announcements

    async def attach_host(self, host: PlannedHost) -> None:
        """Add a virtual host."""
        await self._inventory.attach_host(host.spec)
        number = host.spec.host
        self._roster.hosts[number] = host
        self._roster.missing_hosts.pop(number, None)
        self._publisher.publish("HOST_ATTACHED", host=number, socket_path=str(host.spec))

    async def detach_host(self, number: int, *, force: bool, patience: float) -> None:
        """End a virtual host; its LUNs go with it."""
        roster = self._roster
        if roster.missing_hosts.pop(number, None) is None:
            try:
                await self._inventory.detach_host(number, force=force, patience=patience)
            except BaseException:
                self._look_again(number)
                raise
            del roster.hosts[number]
            self._publisher.publish("HOST_DETACHED", host=number)
        for known in (roster.luns, roster.missing, roster.automatic):
            for address in [address for address in known if address.host == number]:
                del known[address]

    async def attach_lun(
        self, lun: PlannedLun, device: HostDevice | None = None, *, passed: int | None = None
    ) -> None:
        """Attach a LUN; `device` is what its PDEV means now, if that is known.

        `passed` is a descriptor of it, which stays the caller's.
        """
        address = lun.spec.address
        await self._inventory.attach_lun(lun.spec, device, passed=passed)
        self._roster.luns[address] = lun
        self._roster.missing.pop(address, None)
        unit = self._inventory.unit_at(address)
        self._publisher.publish("LUN_ATTACHED", vdev=str(address), pdev=unit.name)

    async def detach_lun(self, address: Address, *, force: bool, patience: float) -> None:
        """Detach a LUN; of one that is missing nothing is there to be detached."""
        if self._roster.missing.pop(address, None) is not None:
            return
        await self._inventory.detach(address, force=force, patience=patience)
        del self._roster.luns[address]
        self._roster.automatic.pop(address, None)
        self._publisher.publish("LUN_DETACHED", vdev=str(address))

    async def insert_medium(self, address: Address, path: Path, *, force: bool) -> None:
        """Put a file into the drive at an address; raises as `TakesMedia.insert_file`."""
        unit = self._inventory.drive_at(address)
        read_only = self._roster.luns[address].spec.options.read_only
        await unit.insert_file(path, read_only=read_only, force=force)
        self._announcements.medium_changed(self._inventory.places_of(unit), unit, by="operator")

    async def eject_medium(self, address: Address, *, force: bool) -> None:
        """Take out what is in the drive at an address; raises as `TakesMedia.eject`."""
        unit = self._inventory.drive_at(address)
        await unit.eject(force=force)
        self._announcements.medium_changed(self._inventory.places_of(unit), unit, by="operator")

    def _look_again(self, number: int) -> None:
        """Some LUNs of a host that could not be ended may have gone."""
        there = {
            mapping.address for host in self._inventory.hosts for mapping in host.adapter.table
        }
        for address in [at for at in self._roster.luns if at.host == number and at not in there]:
            del self._roster.luns[address]
            self._roster.automatic.pop(address, None)
