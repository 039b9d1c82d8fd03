"""What operators ask of a running daemon, carried out on its inventory, with events."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.changer.changer import MediumChanger
from vhost_pvscsi.devices.emulated.disk import EmulatedDisk
from vhost_pvscsi.devices.faults.parse import parse_rule
from vhost_pvscsi.devices.media import TakesMedia
from vhost_pvscsi.devices.optical.drive import EmulatedDrive
from vhost_pvscsi.devices.pdev import split_commas, with_medium
from vhost_pvscsi.devices.tape.tape import EmulatedTape
from vhost_pvscsi.errors import ConfigurationError

from .control.operator import Change, HostStatus, LunStatus, Size
from .plan import Plan, of_options
from .reload import RESTART, Reload
from .statistics import lun_statistics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from vhost_pvscsi.adapter import Adapter
    from vhost_pvscsi.identity import Address
    from vhost_pvscsi.translation import Mapping as Attached

    from .changes import Changes
    from .control.operator import LunStatistics
    from .following.follower import Follower
    from .forwarding import Forwarded
    from .growth import Growth
    from .inventory import Inventory, VirtualHost
    from .roster import Missing, Roster

log = logging.getLogger(__name__)

#: What operators call each emulated unit.
_TYPES = {
    EmulatedDisk: "disk",
    EmulatedTape: "tape",
    MediumChanger: "changer",
    EmulatedDrive: "cd",
}

#: What `Engine.counters` tells of a ring, in its order.
_COUNTERS = ("reads", "writes", "others", "long-road", "bytes-read", "bytes-written", "bounced")


@dataclass(frozen=True, slots=True)
class Reading:
    """The configuration, read anew."""

    plan: Plan = field(default_factory=Plan)
    restart: Sequence[str] = ()  #: what has changed and cannot be changed at run time


class Operations:
    """The `Operator` of the control socket."""

    def __init__(
        self,
        inventory: Inventory,
        roster: Roster,
        changes: Changes,
        growth: Growth,
        follower: Follower,
        read: Callable[[], Reading],
        stop: Callable[[], None],
    ) -> None:
        """`read` reads the configuration anew, `stop` ends the daemon."""
        self._inventory = inventory
        self._roster = roster
        self._changes = changes
        self._growth = growth
        self._follower = follower
        self._read = read
        self._stop = stop

    async def attach_host(
        self, number: int, options: Mapping[str, object], *, transient: bool
    ) -> None:
        """Add a virtual host; raises as `Inventory.attach_host`."""
        host = of_options(number, options)
        async with (
            self._roster.changing,
            self._roster.host_change(number, host, transient=transient),
        ):
            await self._changes.attach_host(host)

    async def detach_host(self, number: int, *, force: bool, patience: float) -> None:
        """End a virtual host; raises as `Inventory.detach_host`."""
        async with self._roster.changing, self._roster.host_change(number, None):
            await self._changes.detach_host(number, force=force, patience=patience)

    async def attach(
        self, address: Address, pdev: str, *, transient: bool, passed: int | None = None
    ) -> None:
        """Attach a LUN; raises as `Inventory.attach_lun`. `passed` is a descriptor of fd:NAME."""
        lun = self._roster.plan_lun(address, pdev)
        async with (
            self._roster.changing,
            self._roster.lun_change(address, lun, transient=transient),
        ):
            await self._changes.attach_lun(lun, passed=passed)
        self._follower.wake()

    async def detach(self, address: Address, *, force: bool, patience: float) -> None:
        """Detach a LUN; raises as `Inventory.detach`."""
        async with self._roster.changing, self._roster.lun_change(address, None):
            await self._changes.detach_lun(address, force=force, patience=patience)

    async def resize(self, address: Address) -> Size:
        """Have a LUN as large as its file, now; raises as `Growth.look_at`."""
        geometry = await self._growth.look_at(address)
        return Size(geometry.blocks, geometry.block_size)

    async def insert_medium(
        self, address: Address, path: Path, *, force: bool, transient: bool
    ) -> None:
        """Put a file into a drive; raises as `Inventory.drive_at`, `TakesMedia.insert_file`."""
        async with self._medium_change(address, path, transient=transient):
            await self._changes.insert_medium(address, path, force=force)

    async def eject_medium(self, address: Address, *, force: bool, transient: bool) -> None:
        """Take out what is in a drive; raises as `Inventory.drive_at`, `TakesMedia.eject`."""
        async with self._medium_change(address, None, transient=transient):
            await self._changes.eject_medium(address, force=force)

    @contextlib.asynccontextmanager
    async def _medium_change(
        self, address: Address, path: Path | None, *, transient: bool
    ) -> AsyncIterator[None]:
        """Remember what is in a drive, wherever it is attached, if what is done here works."""
        roster = self._roster
        async with roster.changing, contextlib.AsyncExitStack() as remembering:
            drive = self._inventory.drive_at(address)
            changed = {
                at: roster.plan_lun(at, with_medium(roster.luns[at].text, path))
                for at in self._inventory.places_of(drive)
            }
            for at, lun in changed.items():
                change = roster.lun_change(at, lun, transient=transient)
                await remembering.enter_async_context(change)
            yield
            roster.luns.update(changed)

    async def reload(self, *, forget: bool) -> list[Change]:
        """Read the configuration anew and make what changed so; with `forget`, that alone.

        Raises:
            DeviceError: it cannot be read, or what is remembered not be kept.
            ConfigurationError: it has mistakes. Nothing has changed.
        """
        async with self._roster.changing:
            reading = self._read()
            await self._roster.settle(reading.plan, forget=forget)
            self._roster.missing.clear()
            self._roster.missing_hosts.clear()
            told = await Reload(self._roster, self._changes).apply(self._roster.wanted())
            told += [Change(name, RESTART) for name in reading.restart]
        self._follower.begin_anew()
        log.info("reload: the configuration has been read again, changes: %d", len(told))
        for change in told:
            log.info("reload: %s: %s%s", change.what, change.done, _because(change.problem))
        return told

    def hosts(self) -> list[HostStatus]:
        """All virtual hosts, by number."""
        there = [
            HostStatus(
                number=host.spec.host,
                socket=str(host.spec),
                connected=host.adapter.session_id is not None,
                luns=len(host.adapter.table),
            )
            for host in self._inventory.hosts
        ]
        missing = [
            HostStatus(number, host.wanted, connected=False, luns=0, problem=host.problem)
            for number, host in self._roster.missing_hosts.items()
        ]
        return sorted([*there, *missing], key=lambda host: host.number)

    def luns(self, host: int | None = None) -> list[LunStatus]:
        """All LUNs, or those of one virtual host, by address.

        Raises:
            ConfigurationError: there is no such host.
        """
        there = self._statuses(self._inventory.host(host) if host is not None else None)
        missing = (
            _missing_status(address, lun)
            for address, lun in self._roster.missing.items()
            if host in {None, address.host}
        )
        return sorted([*there, *missing], key=lambda lun: lun.address)

    def _statuses(self, only: VirtualHost | None) -> Iterator[LunStatus]:
        forwarded = {id(one.unit): one for one in self._inventory.forwarded()}
        for host in self._inventory.hosts if only is None else (only,):
            for mapping in host.adapter.table:
                one = forwarded.get(id(mapping.unit))
                if one is not None:
                    yield _forwarded_status(mapping, host.adapter, one)
                else:
                    yield _status(mapping, host.adapter)

    def changer(self, address: Address) -> MediumChanger:
        """The changer at an address.

        Raises:
            ConfigurationError: nothing is attached there, or something else.
        """
        unit = self._inventory.unit_at(address)
        if isinstance(unit, MediumChanger):
            return unit
        raise ConfigurationError(
            f"{address}: {unit.name} is no changer", hint="changer:DIR is one, its drives are not"
        )

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


def _status(mapping: Attached, adapter: Adapter) -> LunStatus:
    unit = mapping.unit
    shown = mapping.presentation
    assert isinstance(unit, EmulatedDisk | EmulatedTape | EmulatedDrive | MediumChanger)
    # Blocks of a tape have no number and no size of their own, and a changer has none.
    disk = unit.geometry if isinstance(unit, EmulatedDisk | EmulatedDrive) else None
    drive = unit if isinstance(unit, TakesMedia) else None
    protected = not isinstance(unit, MediumChanger) and unit.geometry.read_only
    return LunStatus(
        address=mapping.address,
        pdev=unit.name,
        type=_TYPES[type(unit)],
        blocks=disk.blocks if disk else 0,
        block_size=disk.block_size if disk else 0,
        read_only=shown.protected or protected,
        serial=shown.serial or unit.identity.serial,
        naa=(shown.naa or unit.identity.naa).hex(),
        state="offline" if adapter.is_offline(mapping.id) else "running",
        faults=sum(not one.spent for one in unit.faults.rules),
        denied=adapter.denied(mapping.id),
        guest_state=state.value if (state := adapter.guest_state(mapping.id)) else None,
        medium=str(drive.medium_path) if drive and drive.medium_path else None,
        loaded=drive.loaded if drive else None,
    )


def _forwarded_status(mapping: Attached, adapter: Adapter, one: Forwarded) -> LunStatus:
    unit, shown, device = one.unit, mapping.presentation, one.device
    state = "lost" if one.lost else "running"
    return LunStatus(
        address=mapping.address,
        pdev=unit.name,
        type=device.type,
        blocks=(device.size or 0) // (unit.limits.block_size or 512),
        block_size=unit.limits.block_size,
        read_only=shown.protected,
        serial=shown.serial or device.serial,
        naa=shown.naa.hex() if shown.naa else device.wwn,
        state="offline" if adapter.is_offline(mapping.id) else state,
        faults=sum(not rule.spent for rule in unit.faults.rules),
        denied=adapter.denied(mapping.id),
        device=device.place,
        guest_state=guest.value if (guest := adapter.guest_state(mapping.id)) else None,
    )


def _missing_status(address: Address, lun: Missing) -> LunStatus:
    return LunStatus(
        address=address,
        pdev=split_commas(lun.wanted)[0],
        type="disk",
        blocks=0,
        block_size=0,
        read_only=False,
        serial="",
        naa="",
        state="missing",
        faults=0,
        denied=0,
        problem=lun.problem,
    )


def _because(problem: str | None) -> str:
    return f": {problem}" if problem else ""
