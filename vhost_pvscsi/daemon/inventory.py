"""The virtual hosts of a daemon and their LUNs, as they come and go while guests run."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from vhost_pvscsi.adapter import Adapter
from vhost_pvscsi.devices.media import TakesMedia
from vhost_pvscsi.discovery.listing import locate
from vhost_pvscsi.errors import ConfigurationError, DeviceBusyError

from .sockets import Listener
from .units import Units

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from vhost_pvscsi.devices.changer.changer import MediumChanger
    from vhost_pvscsi.devices.changer.state import Moved
    from vhost_pvscsi.devices.nonvolatile import StateDirectory
    from vhost_pvscsi.devices.pdev import LunSpec
    from vhost_pvscsi.devices.presentation import Presentation
    from vhost_pvscsi.devices.unit import AttachableUnit, LogicalUnit
    from vhost_pvscsi.discovery.device import HostDevice
    from vhost_pvscsi.engine import Engine
    from vhost_pvscsi.identity import Address

    from .announcements import Announcements
    from .forwarding import Forwarded
    from .growth import Backed
    from .sockets import SocketSpec
    from .units import BackedDisk

log = logging.getLogger(__name__)

#: Pause after a failed accept, in seconds, so that a lasting failure does not spin.
ACCEPT_PAUSE = 0.2


@dataclass(slots=True)
class VirtualHost:
    """One virtual host: its adapter, and the socket that its front-ends come by."""

    spec: SocketSpec
    adapter: Adapter
    listener: Listener | None = None
    accepting: asyncio.Task[None] | None = None
    serving: set[asyncio.Task[None]] = field(default_factory=set)


class Inventory:
    """All hosts and units. Changes come one after the other, whoever asks for them."""

    def __init__(
        self,
        engine: Engine,
        announcements: Announcements,
        state: StateDirectory | None = None,
    ) -> None:
        """Begin with none; `announcements` hears what guests and devices do."""
        self._engine = engine
        self._announcements = announcements
        self._units = Units(engine, self, state)
        self._hosts: dict[int, VirtualHost] = {}
        self._changing = asyncio.Lock()

    @property
    def hosts(self) -> tuple[VirtualHost, ...]:
        """All virtual hosts, by number."""
        return tuple(self._hosts[number] for number in sorted(self._hosts))

    def host(self, number: int) -> VirtualHost:
        """The host of a number.

        Raises:
            ConfigurationError: there is none.
        """
        host = self._hosts.get(number)
        if host is None:
            known = ", ".join(map(str, sorted(self._hosts))) or "none"
            raise ConfigurationError(f"there is no virtual host {number}", hint=f"there is {known}")
        return host

    def unit_at(self, address: Address) -> AttachableUnit:
        """The unit at an address.

        Raises:
            ConfigurationError: nothing is attached there.
        """
        return self.host(address.host).adapter.unit_at(address)

    def backed(self) -> tuple[BackedDisk, ...]:
        """All emulated disks that a file or device is behind."""
        return self._units.backed

    def growing(self) -> tuple[Backed, ...]:
        """All units whose size is that of a file or block device."""
        return self._units.growing

    def growing_at(self, address: Address) -> Backed | None:
        """The one at an address; None: no file is behind it.

        Raises:
            ConfigurationError: nothing is attached there.
        """
        unit = self.unit_at(address)
        return next((one for one in self._units.growing if one.unit is unit), None)

    def places(self, one: Backed | Forwarded) -> list[Address]:
        """Where it is attached, in order."""
        return sorted(address for _, address in self._peers(one.unit))

    def forwarded(self) -> tuple[Forwarded, ...]:
        """All units that forward to a device of the host."""
        return self._units.forwarded

    def forwarded_at(self, address: Address) -> Forwarded | None:
        """The one at an address; None: what is there forwards to none.

        Raises:
            ConfigurationError: nothing is attached there.
        """
        return self._units.forwarded_by(self.unit_at(address))

    async def replace(self, one: Forwarded, device: HostDevice) -> None:
        """Have a unit go on with its device, which has come back; raises as `Forwarded.replace`."""
        async with self._changing:
            await one.replace(device, partial(self.renew, one.unit))

    async def renew(self, unit: AttachableUnit) -> None:
        """Tell the engine's maps that something else is behind a unit."""
        for adapter, address in tuple(self._peers(unit)):
            await adapter.renew(address)

    def drive_at(self, address: Address) -> TakesMedia:
        """The unit at an address, whose medium can be changed.

        Raises:
            ConfigurationError: nothing is attached there, or its medium cannot be changed.
        """
        unit = self.unit_at(address)
        if not isinstance(unit, TakesMedia):
            raise ConfigurationError(
                f"LUN {address}: {unit.name} has no medium that could be changed",
                hint="cd: and tape: are drives; other LUNs are detached and attached",
            )
        return unit

    def places_of(self, unit: TakesMedia) -> list[Address]:
        """Where a drive is attached, in order."""
        return sorted(address for _, address in self._peers(unit))

    def counters(self, host: VirtualHost, names: Sequence[str]) -> dict[str, int]:
        """What the rings of a host's front-end have carried, all together; `names` in order."""
        session = host.adapter.session_id
        rings = self._engine.counters(session) if session is not None else []
        return {name: sum(ring[at + 1] for ring in rings) for at, name in enumerate(names)}

    def make_host(self, spec: SocketSpec) -> VirtualHost:
        """Make a host that nobody can reach yet.

        Raises:
            ConfigurationError: there is one of that number.
        """
        if spec.host in self._hosts:
            raise ConfigurationError(
                f"virtual host {spec.host} is there already, at {self._hosts[spec.host].spec}",
                hint="detach it first, or take another number",
            )
        adapter = Adapter(
            self._engine,
            spec.host,
            self._peers,
            partial(self._announcements.front_end, spec.host),
            self._announcements.denied,
            self._announcements.failed,
            queues=spec.queues,
        )
        host = VirtualHost(spec, adapter)
        self._hosts[spec.host] = host
        return host

    def open_socket(self, host: VirtualHost) -> None:
        """Make or adopt its socket; nobody is served yet.

        Raises:
            DeviceError: it cannot be had.
        """
        host.listener = Listener(host.spec)

    def serve(self, host: VirtualHost) -> asyncio.Task[None]:
        """Serve front-ends; the task ends when no more can come."""
        assert host.listener is not None
        what = "listening on" if host.listener.listening else "connected on"
        log.info("%s %s (virtual host %d)", what, host.spec, host.spec.host)
        host.accepting = asyncio.create_task(self._take_front_ends(host, host.listener))
        return host.accepting

    async def attach_host(self, spec: SocketSpec) -> None:
        """Add a host while others are served.

        Raises:
            ConfigurationError: there is one of that number.
            DeviceError: its socket cannot be made.
        """
        async with self._changing:
            host = self.make_host(spec)
            try:
                self.open_socket(host)
            except BaseException:
                del self._hosts[spec.host]
                host.adapter.close()
                raise
            self.serve(host)

    async def detach_host(self, number: int, *, force: bool, patience: float) -> None:
        """End a host: its guest is let go when its commands have ended, then its LUNs go.

        `force` ends commands at once, `patience` (seconds) those that take longer.

        Raises:
            ConfigurationError: there is none of that number.
            DeviceBusyError: a guest is connected, and `force` is not given; or a command does not
                end, so that its LUN and the host stay.
        """
        async with self._changing:
            host = self.host(number)
            if host.adapter.session_id is not None and not force:
                raise DeviceBusyError(
                    f"virtual host {number} has a guest", hint="end the guest first, or force it"
                )
            if force:
                await host.adapter.abort_all()
            await self._end(host)
            for mapping in tuple(host.adapter.table):
                await self._remove(host, mapping.address, 0 if force else patience)
            del self._hosts[number]
            host.adapter.close()
            if host.listener is not None:
                host.listener.close()
            log.info("virtual host %d is gone", number)

    async def attach_lun(
        self, spec: LunSpec, device: HostDevice | None = None, *, passed: int | None = None
    ) -> None:
        """Attach a LUN, while guests run; `device` is what its PDEV means now, if that is known.

        `passed` is a descriptor of it where its PDEV is fd:NAME; it stays the caller's.

        Raises:
            ConfigurationError: the address is taken or its host unknown, or PDEV cannot be used.
            DeviceError: PDEV cannot be opened.
            DeviceBusyError: another program, or a LUN that does not share, has it.
        """
        async with self._changing:
            adapter = self.host(spec.address.host).adapter
            adapter.table.check_free(spec.address)
            if spec.device is not None and device is None:
                device = await asyncio.to_thread(locate, spec.device, passed)
            unit = self._units.make(spec, device, passed)
            if isinstance(unit, TakesMedia) and not any(self._peers(unit)):
                unit.watch_media(partial(self._medium_moved, unit))
            try:
                await self._units.begin(unit)
                await adapter.attach(spec.address, unit, self._units.presentation(spec, unit))
            except BaseException:
                await self._let_go(unit)
                raise
            log.info("%s: attached %s", spec.address, spec.pdev)
            await self._units.changers.settle()

    async def detach(self, address: Address, *, force: bool, patience: float) -> None:
        """Detach the LUN at an address; its commands may take `patience` seconds to end.

        Raises:
            ConfigurationError: nothing is attached there.
            DeviceBusyError: one of them does not end, even when told to; the LUN stays, offline.
        """
        async with self._changing:
            host = self.host(address.host)
            await self._remove(host, address, 0 if force else patience)
            log.info("%s: detached", address)

    async def drain(self) -> None:
        """Take no more front-ends, and let those that are there go when their commands end."""
        for host in self.hosts:
            if host.accepting is not None:
                host.accepting.cancel()
        # What hangs on purpose would keep its front-end here until somebody gives up on it.
        for unit in [unit for host in self.hosts for unit in host.adapter.units]:
            await unit.faults.set_rules(())
        await asyncio.gather(*(self._end(host) for host in self.hosts))

    def close(self) -> None:
        """Give everything back. All front-ends have gone."""
        for host in self.hosts:
            host.adapter.close()
            if host.listener is not None:
                host.listener.close()
        self._hosts.clear()
        self._units.close()

    async def _end(self, host: VirtualHost) -> None:
        if host.accepting is not None:
            host.accepting.cancel()
        await host.adapter.drain()
        if host.serving:
            await asyncio.wait(host.serving)

    async def _remove(self, host: VirtualHost, address: Address, patience: float) -> None:
        unit = host.adapter.unit_at(address)
        async with self._units.changers.still(unit):
            if not await host.adapter.detach(address, patience=patience):
                # The kernel has guests' pages still, and our descriptor must not go to another
                # file.
                raise DeviceBusyError(
                    f"{address}: a command does not end; the LUN stays, offline",
                    hint="detach it again when its device answers",
                )
            async with self._units.changers.idle(unit):
                await self._let_go(unit)

    def _medium_moved(self, unit: TakesMedia, by: str) -> None:
        self._announcements.medium_changed(self.places_of(unit), unit, by)

    async def _let_go(self, unit: AttachableUnit) -> None:
        if not any(self._peers(unit)):
            await self._units.end(unit)
            self._units.release(unit)

    def _peers(self, unit: AttachableUnit | TakesMedia) -> Iterator[tuple[Adapter, Address]]:
        """All places that a unit is attached at: the tables know, nobody else keeps a list."""
        return (
            (host.adapter, mapping.address)
            for host in self._hosts.values()
            for mapping in host.adapter.table
            if mapping.unit is unit
        )

    def cartridge_moved(self, changer: MediumChanger, moved: Moved) -> None:
        """Tell operators of it, by the first address of the changer."""
        for address in sorted(address for _, address in self._peers(changer))[:1]:
            self._announcements.cartridge_moved(address, moved)

    def attached_at(self, address: Address) -> tuple[LogicalUnit, Presentation] | None:
        """What is attached at an address, and how it is shown there."""
        host = self._hosts.get(address.host)
        mappings = host.adapter.table if host is not None else ()
        return next(
            ((one.unit, one.presentation) for one in mappings if one.address == address), None
        )

    def reached_by(self, nexus: str) -> Iterator[tuple[LogicalUnit, Presentation]]:
        """The units that a nexus reaches, and how they are shown to it."""
        return (
            (mapping.unit, mapping.presentation)
            for host in self._hosts.values()
            if host.adapter.nexus == nexus
            for mapping in host.adapter.table
        )

    async def _take_front_ends(self, host: VirtualHost, listener: Listener) -> None:
        if not listener.listening:
            await asyncio.shield(self._start_serving(host, listener.socket))
            return
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener.socket)
            except OSError as error:
                # Out of descriptors, or the peer is gone already: the next one may do better.
                log.error("host %d: accept: %s", host.spec.host, error)  # noqa: TRY400
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            self._start_serving(host, connection)

    def _start_serving(self, host: VirtualHost, connection: socket.socket) -> asyncio.Task[None]:
        task = asyncio.create_task(host.adapter.serve(connection))
        host.serving.add(task)
        task.add_done_callback(host.serving.discard)
        return task
