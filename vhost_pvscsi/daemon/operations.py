"""What operators ask of a running daemon, carried out on its inventory, with events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.emulated.disk import EmulatedDisk
from vhost_pvscsi.devices.faults.parse import parse_rule

from .control.operator import HostStatus, LunStatus
from .statistics import lun_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from vhost_pvscsi.identity import Address
    from vhost_pvscsi.translation import Mapping

    from .control.operator import LunStatistics
    from .control.publisher import Publisher
    from .inventory import Inventory, VirtualHost

#: What `Engine.counters` tells of a ring, in its order.
_COUNTERS = ("reads", "writes", "others", "long-road", "bytes-read", "bytes-written", "bounced")


class Operations:
    """The `Operator` of the control socket."""

    def __init__(
        self, inventory: Inventory, publisher: Publisher, stop: Callable[[], None]
    ) -> None:
        self._inventory = inventory
        self._publisher = publisher
        self._stop = stop

    async def attach_host(self, number: int, path: Path) -> None:
        """Add a virtual host; raises as `Inventory.attach_host`."""
        await self._inventory.attach_host(number, path)
        self._publisher.publish("HOST_ATTACHED", host=number, socket_path=str(path))

    async def detach_host(self, number: int, *, force: bool, patience: float) -> None:
        """End a virtual host; raises as `Inventory.detach_host`."""
        await self._inventory.detach_host(number, force=force, patience=patience)
        self._publisher.publish("HOST_DETACHED", host=number)

    async def attach(self, address: Address, pdev: str) -> None:
        """Attach a LUN; raises as `Inventory.attach`."""
        await self._inventory.attach(address, pdev)
        unit = self._inventory.unit_at(address)
        self._publisher.publish("LUN_ATTACHED", vdev=str(address), pdev=unit.name)

    async def detach(self, address: Address, *, force: bool, patience: float) -> None:
        """Detach a LUN; raises as `Inventory.detach`."""
        await self._inventory.detach(address, force=force, patience=patience)
        self._publisher.publish("LUN_DETACHED", vdev=str(address))

    def hosts(self) -> list[HostStatus]:
        """All virtual hosts, by number."""
        return [
            HostStatus(
                number=host.spec.host,
                socket=str(host.spec),
                connected=host.adapter.session_id is not None,
                luns=len(host.adapter.table),
            )
            for host in self._inventory.hosts
        ]

    def luns(self, host: int | None = None) -> list[LunStatus]:
        """All LUNs, or those of one virtual host, by address.

        Raises:
            ConfigurationError: there is no such host.
        """
        return list(self._statuses(self._inventory.host(host) if host is not None else None))

    def _statuses(self, only: VirtualHost | None) -> Iterator[LunStatus]:
        for host in self._inventory.hosts if only is None else (only,):
            for mapping in host.adapter.table:
                yield _status(mapping, offline=host.adapter.is_offline(mapping.id))

    async def set_faults(self, address: Address, rules: Sequence[str]) -> None:
        """Put fault rules in the place of those there are; none: lift them.

        Raises:
            ConfigurationError: nothing is attached there, or a rule cannot be used.
        """
        parsed = [parse_rule(text) for text in rules]
        await self._inventory.unit_at(address).faults.set_rules(parsed)

    def faults(self, address: Address) -> list[dict[str, object]]:
        """The fault rules of the LUN at an address, and how each stands.

        Raises:
            ConfigurationError: nothing is attached there.
        """
        return [
            {
                "rule": str(one.rule),
                "seen": one.seen,
                "acted": one.acted,
                "held": one.held,
                "spent": one.spent,
            }
            for one in self._inventory.unit_at(address).faults.rules
        ]

    def stats(self) -> list[dict[str, object]]:
        """What the front-end of each virtual host has had carried, all rings together."""
        return [
            {"host": host.spec.host, **self._inventory.counters(host, _COUNTERS)}
            for host in self._inventory.hosts
        ]

    async def lun_stats(self, host: int | None = None) -> list[LunStatistics]:
        """What each LUN, or each of one virtual host, has done since it was attached.

        Raises:
            ConfigurationError: there is no such host.
        """
        hosts = self._inventory.hosts if host is None else (self._inventory.host(host),)
        return await lun_statistics(hosts)

    def stop(self) -> None:
        """End the daemon, as SIGTERM does."""
        self._stop()


def _status(mapping: Mapping, *, offline: bool) -> LunStatus:
    unit = mapping.unit
    # Emulated disks are all there is to attach so far.
    assert isinstance(unit, EmulatedDisk)
    return LunStatus(
        address=mapping.address,
        pdev=unit.name,
        type="disk",
        blocks=unit.geometry.blocks,
        block_size=unit.geometry.block_size,
        read_only=unit.geometry.read_only,
        serial=unit.identity.serial,
        naa=unit.identity.naa.hex(),
        state="offline" if offline else "running",
        faults=sum(not one.spent for one in unit.faults.rules),
    )
