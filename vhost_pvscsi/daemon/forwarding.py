"""A unit that forwards to a device of the host: how it is opened, and goes on when that is back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.forwarded.asking import SgIo
from vhost_pvscsi.devices.forwarded.blocks import names_blocks, open_blocks, size_of_blocks
from vhost_pvscsi.devices.forwarded.limits import Limits
from vhost_pvscsi.devices.forwarded.opening import OpenDevice, node_of, open_multipath, open_sg
from vhost_pvscsi.devices.forwarded.pr_helper import PrHelper
from vhost_pvscsi.devices.forwarded.resetting import reset_lun
from vhost_pvscsi.devices.forwarded.timeouts import timeouts
from vhost_pvscsi.devices.forwarded.unit import ByBlocks, ForwardedUnit, Reserving
from vhost_pvscsi.devices.forwarded.writing import writing
from vhost_pvscsi.devices.lun_options import OnLoss, Road
from vhost_pvscsi.discovery.device import MULTIPATH
from vhost_pvscsi.discovery.listing import number_of
from vhost_pvscsi.discovery.names import By
from vhost_pvscsi.errors import ConfigurationError, DeviceBusyError
from vhost_pvscsi.medium import Medium
from vhost_pvscsi.pipeline import munged_opcodes
from vhost_pvscsi.scsi.pages import DeviceType
from vhost_pvscsi.scsi.request import Status
from vhost_pvscsi.sg import Device, DeviceSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from vhost_pvscsi.devices.faults.rule import Rule
    from vhost_pvscsi.devices.forwarded.asking import Ask
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.devices.pdev import LunSpec
    from vhost_pvscsi.discovery.device import HostDevice
    from vhost_pvscsi.engine import Engine

log = logging.getLogger(__name__)

#: How long commands for a device that has gone may take to end when it is back, in seconds.
PATIENCE = 5.0


def _check_multipath(spec: LunSpec) -> None:
    """Check that a LUN asks of a multipath device what can be had of one."""
    if spec.options.road is Road.SG:
        raise ConfigurationError(
            f"{spec.pdev}: a multipath device has no SG node, so road=sg cannot be",
            hint="road=block is what it has",
        )
    if spec.options.on_loss is OnLoss.REMOVE:
        raise ConfigurationError(
            f"{spec.pdev}: a multipath device is not followed, so on-loss=remove cannot be",
            hint="what happens when all paths are lost is multipathd's: no_path_retry",
        )


@dataclass(frozen=True, slots=True)
class _Open:
    """A device that is open, and the engine's half of it."""

    node: OpenDevice
    handle: Device
    blocks: ByBlocks | None  #: its blocks, if READ and WRITE go by its block device
    ask: Ask | None  #: sends commands about reservations, if the engine does not

    @property
    def limits(self) -> Limits:
        return Limits(self.node.device_type, self.node.max_transfer, self.node.block_size)


class Forwarded:
    """One of them."""

    def __init__(
        self,
        engine: Engine,
        spec: LunSpec,
        device: HostDevice,
        faults: tuple[Rule, ...],
        memory: UnitMemory | None = None,
        passed: int | None = None,
    ) -> None:
        """Open the device, and make its unit; `memory` is for reservations that we keep.

        `passed` is a descriptor of it that came by the control socket; it is duplicated.

        Raises:
            ConfigurationError: it cannot be forwarded.
            DeviceError: it cannot be opened, or has no SG node.
            DeviceBusyError: somebody else has it.
        """
        self._engine = engine
        self._spec = spec
        self.first = device
        self.device = device  #: as it is, or was when it went
        self.lost = False  #: it has gone
        self._open = self._open_node(device, passed)
        self.unit = ForwardedUnit(
            spec.pdev,
            self._open.handle,
            self._open.limits,
            partial(engine.forward, self._open.handle),
            exclusive=self._open.node.exclusive,
            is_munged=lambda opcode: opcode in munged_opcodes(),
            reset=self._reset if spec.options.reset_lun else None,
            faults=faults,
            reserving=self._reserving(memory),
            blocks=self._open.blocks,
        )

    def _reserving(self, memory: UnitMemory | None) -> Reserving | None:
        ask = self._open.ask
        return None if ask is None else Reserving(ask, self._spec.options.keeps_apart, memory)

    def _asking(self, node: OpenDevice) -> Ask | None:
        options = self._spec.options
        if not options.keeps_apart and options.pr_helper is None:
            return None
        direct = SgIo(node.fd, node.path, options.timeout or timeouts(node.device_type).usual)
        return direct if options.pr_helper is None else PrHelper(options.pr_helper, node.fd, direct)

    # What follows satisfies `growth.Backed`, where READ and WRITE go by the block device.

    @property
    def by_blocks(self) -> bool:
        """Whether they do."""
        return self._open.blocks is not None

    @property
    def path(self) -> Path:
        """The node that takes commands."""
        return self._open.node.path

    @property
    def open(self) -> bool:
        """Whether the device is there."""
        return not self.lost and self._open.node.fd >= 0

    def measure(self) -> int:
        """Find out how many bytes the kernel takes the disk for now."""
        try:
            return size_of_blocks(self._open.node.path)
        except OSError:
            # That a device has gone is told by whoever follows them.
            return self.unit.geometry.blocks * self.unit.geometry.block_size

    async def _reset(self) -> None:
        await asyncio.to_thread(reset_lun, self._open.node.fd, self._spec.pdev)

    async def lose(self) -> None:
        """Take note that the device has gone: from now on its unit is not ready."""
        self.lost = True
        await self.unit.lose(self.device.inquiry)

    async def replace(self, device: HostDevice, renew: Callable[[], Awaitable[None]]) -> None:
        """Go on with the device that has come back; `renew` tells the engine's maps of it.

        Raises:
            DeviceError: it cannot be opened, or what was sent to the old one does not end; it
                stays lost.
            DeviceBusyError: somebody else has it.
        """
        if not await self.unit.idle(PATIENCE):
            raise DeviceBusyError(f"{self.device.name}: has gone, and a command does not end")
        opened, before = self._open_node(device), self._open
        self.unit.go_on_with(
            opened.handle,
            opened.limits,
            partial(self._engine.forward, opened.handle),
            opened.ask,
            opened.blocks,
        )
        await renew()
        self._open = opened
        self._close(before)
        self.device, self.lost = device, False
        await self.unit.found()

    def close(self) -> None:
        """Close the device; its commands have ended."""
        self._unregister()
        self._close(self._open)

    def _unregister(self) -> None:
        """Give up what the device knows of guests that have gone: nobody could do it later."""
        own = self.unit.reservations
        farewell = own.farewell() if own is not None and not self.lost else None
        ask = self._open.ask
        if farewell is not None and ask is not None and ask(*farewell).status is not Status.GOOD:
            log.warning("%s: a registration of this host stays there", self.device.name)

    def _open_node(self, device: HostDevice, passed: int | None = None) -> _Open:
        node = self._open_for_commands(device, passed)
        with contextlib.ExitStack() as undo:
            undo.enter_context(node)
            blocks = self._blocks(node)
            if blocks is not None:
                undo.callback(blocks.medium.close)
            opened = _Open(node, self._add(node), blocks, self._asking(node))
            undo.pop_all()
        return opened

    def _open_for_commands(self, device: HostDevice, passed: int | None) -> OpenDevice:
        name, options = self._spec.device, self._spec.options
        node = node_of(device)
        if device.type == MULTIPATH:
            _check_multipath(self._spec)
            return open_multipath(node, lock=options.lock)
        if name is not None and name.by is By.DESCRIPTOR:
            passed = number_of(name, passed)
        return open_sg(node, lock=options.lock, passed=passed)

    def _blocks(self, node: OpenDevice) -> ByBlocks | None:
        options = self._spec.options
        road = options.road
        if road is None:
            named = node.device_type is DeviceType.DISK and names_blocks(self._spec.pdev)
            road = Road.BLOCK if named or node.by_blocks else Road.SG
        if road is Road.SG:
            return None
        found = open_blocks(node, read_only=options.read_only)
        try:
            medium = Medium.file(
                found.fd,
                size=found.size,
                block_size=found.block_size,
                read_only=options.read_only,
                direct=True,
                sync_writes=False,
            )
        finally:
            os.close(found.fd)  # the engine has one of its own
        log.info("%s: blocks by %s, %d bytes", node.path, found.path, found.size)
        geometry = DiskGeometry(found.size // found.block_size, found.block_size)
        return ByBlocks(medium, geometry, partial(self._engine.execute, medium))

    def _add(self, node: OpenDevice) -> Device:
        times = timeouts(node.device_type)
        return self._engine.add_device(
            DeviceSpec(
                fd=node.fd,
                exclusive=node.exclusive,
                passed=node.waits,
                depth=node.depth,
                max_transfer=node.max_transfer,
                block_size=node.block_size,
                writes=writing(node.device_type),
                timeout=self._spec.options.timeout or times.usual,
                timeouts=times.by_opcode,
            )
        )

    def _close(self, opened: _Open) -> None:
        self._engine.remove_device(opened.handle)
        if opened.blocks is not None:
            opened.blocks.medium.close()
        if isinstance(opened.ask, PrHelper):
            opened.ask.close()
        opened.node.close()
