"""An operator without an engine: hosts and LUNs that are only written down."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from vhost_pvscsi.daemon.control.operator import (
    Change,
    HostStatus,
    LunStatistics,
    LunStatus,
    Size,
)
from vhost_pvscsi.engine import LATENCY_BOUNDS, LunCounters
from vhost_pvscsi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vhost_pvscsi.daemon.control.publisher import Publisher
    from vhost_pvscsi.identity import Address


class PaperOperator:
    """Satisfies `Operator`; `asked` has every change in order, `hold` makes detaching wait."""

    def __init__(self, events: Publisher) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.passed: list[tuple[int, bool]] = []  #: what devices descriptors were of
        self.hold = asyncio.Event()
        self.hold.set()
        self.held = asyncio.Event()
        self._events = events
        self._hosts: dict[int, str] = {}
        self._luns: dict[Address, str] = {}
        self._faults: dict[Address, tuple[str, ...]] = {}
        self.stopped = asyncio.Event()
        self._asked_stats = 0

    async def attach_host(
        self, number: int, options: Mapping[str, object], *, transient: bool
    ) -> None:
        path = options["socket_path"]
        self.asked.append(("attach_host", number, path))
        if number in self._hosts:
            raise ConfigurationError(
                f"virtual host {number} is there already", hint="detach it first"
            )
        self._hosts[number] = str(path)
        self._events.publish("HOST_ATTACHED", host=number, socket_path=str(path))

    async def detach_host(self, number: int, *, force: bool, patience: float) -> None:
        self.asked.append(("detach_host", number, force, patience))
        del self._hosts[number]  # a KeyError is the bug of ours that tests want
        self._events.publish("HOST_DETACHED", host=number)

    async def attach(
        self, address: Address, pdev: str, *, transient: bool, passed: int | None = None
    ) -> None:
        self.asked.append(("attach", address, pdev))
        if passed is not None:
            self.passed.append((os.fstat(passed).st_rdev, transient))
        if address.host not in self._hosts:
            raise ConfigurationError(f"there is no virtual host {address.host}")
        self._luns[address] = pdev
        self._events.publish("LUN_ATTACHED", vdev=str(address), pdev=pdev)

    async def detach(self, address: Address, *, force: bool, patience: float) -> None:
        self.asked.append(("detach", address, force, patience))
        self.held.set()
        await self.hold.wait()
        del self._luns[address]
        self._events.publish("LUN_DETACHED", vdev=str(address))

    async def resize(self, address: Address) -> Size:
        self.asked.append(("resize", address))
        if address not in self._luns:
            raise ConfigurationError(f"host {address.host} has nothing at {address}")
        return Size(4096, 512)

    async def insert_medium(
        self, address: Address, path: Path, *, force: bool, transient: bool
    ) -> None:
        self.asked.append(("insert_medium", address, path, force, transient))

    async def eject_medium(self, address: Address, *, force: bool, transient: bool) -> None:
        self.asked.append(("eject_medium", address, force, transient))

    def hosts(self) -> list[HostStatus]:
        return [
            HostStatus(
                number, path, connected=False, luns=sum(a.host == number for a in self._luns)
            )
            for number, path in sorted(self._hosts.items())
        ]

    def luns(self, host: int | None = None) -> list[LunStatus]:
        return [
            LunStatus(
                address,
                pdev,
                type="disk",
                blocks=2048,
                block_size=512,
                read_only=False,
                serial="s",
                naa="3000000000000001",
                state="running",
                faults=len(self._faults.get(address, ())),
                denied=0,
            )
            for address, pdev in sorted(self._luns.items())
            if host in {None, address.host}
        ]

    async def set_faults(self, address: Address, rules: Sequence[str]) -> None:
        self.asked.append(("set_faults", address, tuple(rules)))
        self._faults[address] = tuple(rules)

    def faults(self, address: Address) -> list[dict[str, object]]:
        return [{"rule": rule, "struck": 0} for rule in self._faults.get(address, ())]

    def stats(self) -> list[dict[str, object]]:
        return [{"host": number, "queue": {"requests": 7}} for number in sorted(self._hosts)]

    async def reload(self, *, forget: bool) -> list[Change]:
        self.asked.append(("reload", forget))
        return [
            Change("LUN 0:0:1:0", "attached"),
            Change("LUN 0:0:2:0", "failed", "a.img: No such file or directory"),
        ]

    async def lun_stats(self, host: int | None = None) -> list[LunStatistics]:
        """Each time it is asked, every LUN has done 1,000 reads of 4 KiB more, in 100 us each."""
        self._asked_stats += 1
        return [
            LunStatistics(
                address,
                pdev,
                number,
                LunCounters(
                    reads=1000 * self._asked_stats,
                    writes=0,
                    others=0,
                    long_road=0,
                    errors=number,
                    bytes_read=4096 * 1000 * self._asked_stats,
                    bytes_written=0,
                    in_flight=3,
                    read_latency=tuple(
                        1000 * self._asked_stats if number == 5 else 0
                        for number in range(len(LATENCY_BOUNDS) + 1)
                    ),
                    write_latency=(0,) * (len(LATENCY_BOUNDS) + 1),
                ),
                denied=0,
            )
            for number, (address, pdev) in enumerate(sorted(self._luns.items()))
            if host in {None, address.host}
        ]

    def stop(self) -> None:
        self.stopped.set()
