"""Makes the units that LUNs name, one for each image or device, and knows where each is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from vhost_pvscsi.devices import allocation
from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.emulated.disk import EmulatedDisk
from vhost_pvscsi.devices.faults.file import load_rules
from vhost_pvscsi.devices.forwarded.names import identity_of, with_own_names
from vhost_pvscsi.devices.identification import derive_identity
from vhost_pvscsi.devices.lun_options import USUAL_BLOCK
from vhost_pvscsi.devices.opening import open_backing
from vhost_pvscsi.devices.pdev import Kind, LunSpec
from vhost_pvscsi.devices.tape.tape import EmulatedTape
from vhost_pvscsi.errors import DeviceBusyError
from vhost_pvscsi.medium import Medium

from .changers import Changers
from .drives import make_drive
from .forwarding import Forwarded
from .tapes import make_tape

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from vhost_pvscsi.devices.changer.changer import MediumChanger
    from vhost_pvscsi.devices.changer.state import Moved
    from vhost_pvscsi.devices.faults.rule import Rule
    from vhost_pvscsi.devices.nonvolatile import StateDirectory, UnitMemory
    from vhost_pvscsi.devices.opening import Backing
    from vhost_pvscsi.devices.presentation import Presentation
    from vhost_pvscsi.devices.unit import AttachableUnit, LogicalUnit
    from vhost_pvscsi.discovery.device import HostDevice
    from vhost_pvscsi.engine import Engine
    from vhost_pvscsi.identity import Address
    from vhost_pvscsi.scsi.request import Reply, Request

    from .growth import Backed

log = logging.getLogger(__name__)

#: Pieces of EXTENDED COPY that are on their way at a time, of all units.
COPY_THREADS = 2


@dataclass(frozen=True, slots=True, eq=False)
class BackedDisk:
    """An emulated disk that a file or device is behind; satisfies `growth.Backed`."""

    unit: EmulatedDisk
    backing: Backing

    @property
    def path(self) -> Path:
        """Which one."""
        return self.backing.path

    @property
    def open(self) -> bool:
        """Whether the unit is still there."""
        return self.backing.fd >= 0

    def measure(self) -> int:
        """Find out how many bytes are behind it now; see `Backing.measure`."""
        return self.backing.measure()


class Surroundings(Protocol):
    """What units need of where they are attached."""

    def reached_by(self, nexus: str, /) -> Iterable[tuple[LogicalUnit, Presentation]]:
        """The units that a nexus reaches, and how they are shown to it."""

    async def renew(self, unit: AttachableUnit) -> None:
        """Tell the engine's maps that another medium is behind a unit."""

    def attached_at(self, address: Address) -> tuple[LogicalUnit, Presentation] | None:
        """What is attached at an address, and how it is shown there."""

    def cartridge_moved(self, changer: MediumChanger, moved: Moved) -> None:
        """A changer has moved a cartridge."""


class Units:
    """All units of a daemon. A file that is shared is one unit, whoever is attached to it."""

    def __init__(
        self,
        engine: Engine,
        surroundings: Surroundings,
        state: StateDirectory | None = None,
    ) -> None:
        """Begin with none."""
        self.changers = Changers(surroundings.attached_at, surroundings.cartridge_moved)
        self._surroundings = surroundings
        self._engine = engine
        # Their own, so that copies keep no flush waiting. They begin with the first copy.
        self._copy_threads = ThreadPoolExecutor(COPY_THREADS, "copy")
        self._state = state
        self._known: dict[str, _Known] = {}  #: by what makes a unit one: see `_share_key`
        self._backed: list[BackedDisk] = []
        self._forwarded: list[Forwarded] = []

    def make(
        self, spec: LunSpec, device: HostDevice | None = None, passed: int | None = None
    ) -> AttachableUnit:
        """Make the unit of a LUN, or find the one that it shares.

        `device` is what its PDEV means, if that is a SCSI device of the host; `passed` is a
        descriptor of it, if it came by the control socket.

        Raises:
            ConfigurationError: the options do not fit what is there.
            DeviceError: it cannot be opened.
            DeviceBusyError: another program, or a LUN that does not share, has it.
        """
        key = _share_key(spec) if device is None else self._device_key(device)
        if known := self._known.get(key):
            return _join(spec, known.spec, known.unit)
        with contextlib.ExitStack() as undo:
            unit: AttachableUnit
            if device is None:
                unit = self._make_unit(spec, undo)
            else:
                unit = self._forward(spec, device, passed, undo)
            self._known[key] = _Known(spec, unit, undo.pop_all())
        return unit

    async def begin(self, unit: AttachableUnit) -> None:
        """Do what takes long, on a thread, before a unit is attached for the first time.

        Raises:
            ConfigurationError: what is behind it is not what its PDEV says.
            DeviceError: it cannot be read.
        """
        if isinstance(unit, EmulatedTape):
            await asyncio.to_thread(unit.begin)

    async def end(self, unit: AttachableUnit) -> None:
        """Do what takes long, on a thread, before a unit is released."""
        if isinstance(unit, EmulatedTape):
            # Whatever fails fails again, and is told then.
            with contextlib.suppress(OSError):
                await asyncio.to_thread(unit.end)

    def _device_key(self, device: HostDevice) -> str:
        # What it was at first: a unit goes on with its device wherever that comes back.
        there = (one for one in self._forwarded if not one.lost)
        first = next((one.first for one in there if one.device.presence == device.presence), device)
        return f"device:{first.address}:{first.incarnation}"

    def _forward(
        self,
        spec: LunSpec,
        device: HostDevice,
        passed: int | None,
        held: contextlib.ExitStack,
    ) -> AttachableUnit:
        memory = None
        if spec.options.keeps_apart:
            memory = self._memory(identity_of(device.steady_name).naa, held)
        forwarded = Forwarded(self._engine, spec, device, _fault_rules(spec), memory, passed)
        held.callback(forwarded.close)
        self._forwarded.append(forwarded)
        held.callback(self._forwarded.remove, forwarded)
        return forwarded.unit

    @property
    def forwarded(self) -> tuple[Forwarded, ...]:
        """All units that forward to a device of the host."""
        return tuple(self._forwarded)

    def forwarded_by(self, unit: AttachableUnit) -> Forwarded | None:
        """The one whose unit that is; None: it forwards to no device."""
        return next((each for each in self._forwarded if each.unit is unit), None)

    @property
    def backed(self) -> tuple[BackedDisk, ...]:
        """All emulated disks that a file or device is behind."""
        return tuple(self._backed)

    @property
    def growing(self) -> tuple[Backed, ...]:
        """All units whose size is that of a file or block device."""
        return *self._backed, *(one for one in self._forwarded if one.by_blocks)

    def presentation(self, spec: LunSpec, unit: AttachableUnit) -> Presentation:
        """Say how a unit is shown at the address of a LUN."""
        shown = spec.options.presentation
        one = self.forwarded_by(unit)
        if one is None or not spec.options.own_identity:
            return shown
        return with_own_names(shown, one.unit.limits.device_type, one.first.steady_name)

    def release(self, unit: AttachableUnit) -> None:
        """Close what a unit stands on; it is attached nowhere, and its commands have ended."""
        for key in [key for key, known in self._known.items() if known.unit is unit]:
            self._known.pop(key).held.close()

    def close(self) -> None:
        """Close all files."""
        self._copy_threads.shutdown()
        for known in self._known.values():
            known.held.close()
        self._known.clear()

    def _make_unit(self, spec: LunSpec, held: contextlib.ExitStack) -> AttachableUnit:
        if spec.kind is Kind.TAPE:
            return make_tape(spec, self._engine, self._memory, held, _fault_rules(spec))
        if spec.kind is Kind.CHANGER:
            return self.changers.make(spec, self._memory, held, _fault_rules(spec))
        if spec.kind is Kind.CD:
            rules = _fault_rules(spec)
            return make_drive(
                spec, self._engine, self._surroundings.renew, self._memory, held, rules
            )
        return self._make_disk(spec, held)

    def _memory(self, naa: bytes, held: contextlib.ExitStack) -> UnitMemory | None:
        if self._state is None:
            return None
        memory = self._state.unit(naa)
        held.callback(self._state.release, naa)
        return memory

    def _make_disk(self, spec: LunSpec, held: contextlib.ExitStack) -> EmulatedDisk:
        if spec.kind is not Kind.PATH:
            return self._in_memory(spec, held)
        backing = held.enter_context(open_backing(spec))
        medium = Medium.file(
            backing.fd,
            size=backing.size,
            block_size=backing.block_size,
            read_only=backing.read_only,
            direct=backing.direct,
            sync_writes=backing.sync_writes,
            scratch_fd=backing.scratch_fd if backing.scratch_fd >= 0 else None,
        )
        log.info(
            "%s: %s is %d bytes, writes by %s",
            spec.address,
            spec.pdev,
            backing.size,
            medium.write_policy,
        )
        geometry = DiskGeometry(
            blocks=backing.size // backing.block_size,
            block_size=backing.block_size,
            read_only=backing.read_only,
            write_cache=not backing.sync_writes,
            write_cache_switchable=True,
            solid_state=not backing.rotational,
            removable=spec.options.removable,
            unmap=backing.unmap,
            unmap_zeros=backing.unmap,
            physical_block_size=max(backing.physical_block_size, backing.block_size),
        )

        async def find_runs(start: int, end: int, most: int) -> allocation.Runs:
            granule = backing.block_size
            return await backing.on_thread(
                partial(allocation.find_runs, start=start, end=end, granule=granule, most=most)
            )

        # The kernel does not tell of holes in a block device.
        find = None if backing.block_device else find_runs
        unit = self._disk(
            spec, backing.identity_source, geometry, medium, held, backing.flush, find
        )
        backed = BackedDisk(unit, backing)
        self._backed.append(backed)
        held.callback(self._backed.remove, backed)
        return unit

    def _in_memory(self, spec: LunSpec, held: contextlib.ExitStack) -> EmulatedDisk:
        assert spec.size is not None  # pdev.py gives every RAM and NULL one
        make = Medium.ram if spec.kind is Kind.RAM else Medium.null
        options = spec.options
        block_size = options.block_size or USUAL_BLOCK
        medium = make(
            size=spec.size,
            block_size=block_size,
            read_only=options.read_only,
            latency_us=options.latency_us,
        )
        geometry = DiskGeometry(
            blocks=spec.size // block_size,
            block_size=block_size,
            read_only=options.read_only,
            write_cache=False,  # memory is as stable as it will ever be
            solid_state=not options.rotational,
            removable=options.removable,
            unmap=not options.read_only,
        )
        return self._disk(spec, spec.identity_source, geometry, medium, held)

    def _disk(
        self,
        spec: LunSpec,
        source: str,
        geometry: DiskGeometry,
        medium: Medium,
        held: contextlib.ExitStack,
        flush: Callable[[], Awaitable[None]] | None = None,
        find_runs: allocation.FindRuns | None = None,
    ) -> EmulatedDisk:
        identity = derive_identity(source, serial=spec.options.serial, wwn=spec.options.wwn)

        async def execute(request: Request) -> Reply:
            return await self._engine.execute(medium, request)

        held.callback(medium.close)
        return EmulatedDisk(
            spec.pdev,
            identity,
            geometry,
            execute,
            medium=medium,
            flush=flush,
            memory=self._memory(identity.naa, held),
            faults=_fault_rules(spec),
            neighbours=self._surroundings.reached_by,
            copy_threads=self._copy_threads,
            find_runs=find_runs,
        )


def _fault_rules(spec: LunSpec) -> tuple[Rule, ...]:
    rules = spec.options.faults
    if spec.options.fault_file is not None:
        rules += load_rules(spec.options.fault_file)
    if rules:
        # Whoever reads the log of a guest's troubles should know where they come from.
        log.warning(
            "%s: %s fails on purpose: %d fault rules are set", spec.address, spec.pdev, len(rules)
        )
    return rules


@dataclass(frozen=True, slots=True)
class _Known:
    """A unit, who asked for it first, and what is given back with it."""

    spec: LunSpec
    unit: AttachableUnit
    held: contextlib.ExitStack


def _share_key(spec: LunSpec) -> str:
    if spec.kind is Kind.CD:
        # Each is a drive of its own, whatever disc is in it.
        return f"cd:{spec.address}"
    if spec.path is not None:
        return f"path:{spec.path.resolve()}"
    # Every ram: and null: is a disk of its own, unless both ask for the same one to be shared.
    return f"{spec.pdev}:{spec.options.share or spec.address}"


def _join(spec: LunSpec, first: LunSpec, unit: AttachableUnit) -> AttachableUnit:
    if spec.kind is not first.kind or not (spec.options.share and first.options.share):
        raise DeviceBusyError(
            f"LUN {spec.address}: {spec.pdev} is LUN {first.address} already",
            hint="one unit at several addresses needs share=on at each",
        )
    if spec.options.of_unit != first.options.of_unit:
        raise DeviceBusyError(
            f"LUN {spec.address}: {spec.pdev} is {first.address} too, with other options",
            hint="LUNs that share a unit may differ in names, ro, max-transfer, deny, allow and raw"
            " only",
        )
    if first.options.read_only and not spec.options.read_only:
        raise DeviceBusyError(
            f"LUN {spec.address}: {spec.pdev} is {first.address} too, opened read-only",
            hint="attach the LUN that may write first",
        )
    return unit
