"""Growth: what the file or device behind a LUN has become larger by, its guest has too.

One task looks at all of them once a second. A file that grows by other means than ours tells
nobody that we could listen to: inotify knows no network file system, and no block device.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from vhost_pvscsi.devices.unit import AttachableUnit
from vhost_pvscsi.errors import ConfigurationError, DeviceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from vhost_pvscsi.devices.emulated.description import DiskGeometry
    from vhost_pvscsi.identity import Address

    from .control.publisher import Publisher

log = logging.getLogger(__name__)

#: Between two looks, in seconds.
PAUSE = 1.0
#: So many are looked at before others have a turn.
BATCH = 256


class Grows(AttachableUnit, Protocol):
    """What is needed of a unit."""

    @property
    def geometry(self) -> DiskGeometry:
        """What it has."""

    def grow(self, blocks: int) -> None:
        """Have more blocks from now on; raises ValueError."""

    async def capacity_changed(self) -> None:
        """Tell every nexus."""


class Backed(Protocol):
    """A unit that a file or device is behind."""

    @property
    def unit(self) -> Grows:
        """The unit."""

    @property
    def path(self) -> Path:
        """What is behind it."""

    @property
    def open(self) -> bool:
        """Whether that is still so."""

    def measure(self) -> int:
        """Find out, on a thread, how many bytes are behind it now; raises OSError."""


class Places(Protocol):
    """What is needed of the inventory."""

    def growing(self) -> tuple[Backed, ...]:
        """All units whose size is that of a file or block device."""

    def growing_at(self, address: Address) -> Backed | None:
        """The one at an address; None: no file is behind it.

        Raises:
            ConfigurationError: nothing is attached there.
        """

    def places(self, backed: Backed) -> list[Address]:
        """Where it is attached."""


class Finding(enum.Enum):
    """What a look has found."""

    SAME = enum.auto()
    GROWN = enum.auto()
    SHRUNK = enum.auto()


def compare(geometry: DiskGeometry, size: int) -> Finding:
    """Compare what a disk has with the bytes behind it; less than a block more is nothing."""
    if size < geometry.blocks * geometry.block_size:
        return Finding.SHRUNK
    return Finding.GROWN if size // geometry.block_size > geometry.blocks else Finding.SAME


class Growth:
    """Looks, from `async with` to its end, and tells guests, clients and the log."""

    def __init__(self, places: Places, publisher: Publisher, pause: float = PAUSE) -> None:
        self._places = places
        self._publisher = publisher
        self._pause = pause
        #: What the last look found wrong, and has been said.
        self._said: dict[Grows, str] = {}
        self._telling: dict[asyncio.Task[None], Grows] = {}
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks = list(self._telling)
        if self._watching is not None:
            tasks.append(self._watching)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def look_at(self, address: Address) -> DiskGeometry:
        """Look at one LUN now; when this returns its guest has been told. What the LUN has.

        Raises:
            ConfigurationError: nothing is attached there, or no file is behind it.
            DeviceError: its file has shrunk, or cannot be looked at.
        """
        backed = self._places.growing_at(address)
        if backed is None:
            raise ConfigurationError(
                f"LUN {address}: it has no file that could grow",
                hint="detach it, and attach it with another size",
            )
        for odd in await asyncio.to_thread(_measure, [backed]):
            self._apply(odd)
        # Of what the last look of all has found, too.
        telling = [task for task, unit in self._telling.items() if unit is backed.unit]
        if telling:
            await asyncio.wait(telling)
        return backed.unit.geometry

    async def look(self) -> None:
        """Look at all of them."""
        everything = self._places.growing()
        wrong: dict[Grows, str] = {}
        for start in range(0, len(everything), BATCH):
            # A file system that does not answer keeps this waiting, and nobody's commands.
            for odd in await asyncio.to_thread(_measure, everything[start : start + BATCH]):
                try:
                    self._apply(odd)
                except DeviceError as error:
                    wrong[odd.backed.unit] = error.told().replace("\n", "; ")
        for unit, text in wrong.items():
            if self._said.get(unit) != text:
                log.error("%s", text)
        self._said = wrong

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            try:
                await self.look()
            except Exception:
                # A bug of ours, with one unit perhaps: the others shall grow all the same.
                log.exception("growth: a look has failed")

    def _apply(self, odd: _Odd) -> None:
        """Act on what was found.

        Raises:
            DeviceError: it has shrunk, or could not be looked at.
        """
        backed, before, size = odd
        if not backed.open:
            return  # the number may have been another file's
        if backed.unit.geometry is not before:
            return  # another look was quicker, and perhaps this one is the older
        if isinstance(size, OSError):
            raise DeviceError(
                f"{self._name(backed)}: its size cannot be found out: {size.strerror}",
                hint="it keeps the size that it has",
            )
        finding = compare(before, size)
        if finding is Finding.SHRUNK:
            raise self._shrunk(backed, size)
        if finding is Finding.SAME:
            return
        backed.unit.grow(size // before.block_size)
        log.info(
            "%s: has grown from %d to %d bytes",
            self._name(backed),
            before.blocks * before.block_size,
            size // before.block_size * before.block_size,
        )
        task = asyncio.create_task(self._tell(backed))
        self._telling[task] = backed.unit
        task.add_done_callback(self._telling.pop)

    async def _tell(self, backed: Backed) -> None:
        # A task of its own: this waits until commands in flight have ended.
        geometry = backed.unit.geometry
        await backed.unit.capacity_changed()
        for address in self._places.places(backed):
            self._publisher.publish(
                "LUN_RESIZED",
                vdev=str(address),
                blocks=geometry.blocks,
                block_size=geometry.block_size,
            )

    def _shrunk(self, backed: Backed, size: int) -> DeviceError:
        geometry = backed.unit.geometry
        had = geometry.blocks * geometry.block_size
        return DeviceError(
            f"{self._name(backed)}: has shrunk from {had} to {size} bytes, the LUN has not",
            hint=f"make it {had} bytes again; detach and attach the LUN to have it smaller",
        )

    def _name(self, backed: Backed) -> str:
        places = ", ".join(map(str, self._places.places(backed)))
        return f"LUN {places}: {backed.path}" if places else str(backed.path)


class _Odd(NamedTuple):
    """A unit whose file has another size than the unit, or none that could be found out."""

    backed: Backed
    geometry: DiskGeometry  #: of the unit, before the look
    size: int | OSError


def _measure(those: Sequence[Backed]) -> list[_Odd]:
    """Find those that are not as they should be, on a thread."""
    odd = []
    for backed in those:
        geometry = backed.unit.geometry
        try:
            size = backed.measure()
        except OSError as error:
            odd.append(_Odd(backed, geometry, error))
            continue
        if size != geometry.blocks * geometry.block_size:
            odd.append(_Odd(backed, geometry, size))
    return odd
