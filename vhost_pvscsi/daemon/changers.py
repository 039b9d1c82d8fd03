"""Makes changers, and joins them with their drives as those come and go."""

from __future__ import annotations

import contextlib
import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.changer import moving
from vhost_pvscsi.devices.changer.changer import MediumChanger
from vhost_pvscsi.devices.changer.folder import Folder, open_folder
from vhost_pvscsi.devices.changer.reports import PRODUCT
from vhost_pvscsi.devices.changer.settings import read_settings, settings_of
from vhost_pvscsi.devices.changer.state import FoundDrive
from vhost_pvscsi.devices.identification import derive_identity
from vhost_pvscsi.devices.tape.tape import EmulatedTape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from vhost_pvscsi.devices.changer.state import Moved
    from vhost_pvscsi.devices.faults.rule import Rule
    from vhost_pvscsi.devices.lun_options import LunOptions
    from vhost_pvscsi.devices.pdev import LunSpec
    from vhost_pvscsi.devices.presentation import Presentation
    from vhost_pvscsi.devices.unit import LogicalUnit
    from vhost_pvscsi.identity import Address

    from .tapes import OpenMemory

log = logging.getLogger(__name__)


class Changers:
    """All changers of a daemon, and how they find their drives."""

    def __init__(
        self,
        find: Callable[[Address], tuple[LogicalUnit, Presentation] | None],
        on_moved: Callable[[MediumChanger, Moved], None],
    ) -> None:
        """Begin with none; `find` tells what is attached at an address, and how it is shown.

        `on_moved` is told of cartridges that have been moved.
        """
        self._find = find
        self._on_moved = on_moved
        self._known: list[MediumChanger] = []

    def make(
        self,
        spec: LunSpec,
        open_memory: OpenMemory,
        held: contextlib.ExitStack,
        rules: tuple[Rule, ...],
    ) -> MediumChanger:
        """Make a changer; `held` gives its folder back.

        Raises:
            ConfigurationError: what folder or options say cannot be used.
            DeviceError: the folder cannot be read or written.
            DeviceBusyError: another daemon, or another LUN of ours, has it.
        """
        assert spec.path is not None  # pdev.py gives every CHANGER one
        path, options = Path(os.path.realpath(spec.path)), spec.options
        open_folder(path, held)
        settings = settings_of({**read_settings(path), **_said(options)})
        folder = Folder(path, settings)
        source = f"changer:{path}"
        identity = derive_identity(source, serial=options.serial, wwn=options.wwn, product=PRODUCT)
        memory = open_memory(identity.naa, held)
        changer = MediumChanger(
            spec.pdev,
            identity,
            folder,
            folder.load(),
            self._find_drive,
            memory=memory,
            faults=rules,
        )
        changer.state.on_moved = partial(self._on_moved, changer)
        self._known.append(changer)
        held.callback(self._forget, changer)
        if not settings.layout.drives:
            log.warning("%s: %s has no drives: drive=VDEV names one", spec.address, spec.pdev)
        return changer

    @property
    def all(self) -> tuple[MediumChanger, ...]:
        """All of them."""
        return tuple(self._known)

    async def settle(self) -> None:
        """Load drives that have been attached, or whose changer has."""
        for changer in self._known:
            self._join(changer)
            await moving.load_drives(changer.state)

    @contextlib.asynccontextmanager
    async def still(self, unit: LogicalUnit) -> AsyncIterator[None]:
        """Keep changers from moving anything while one of their drives goes."""
        async with contextlib.AsyncExitStack() as held:
            if isinstance(unit, EmulatedTape) and unit.handled_by is not None:
                for changer in self._known:
                    await held.enter_async_context(changer.state.moving)
            yield

    @contextlib.asynccontextmanager
    async def idle(self, unit: LogicalUnit) -> AsyncIterator[None]:
        """Wait until a changer that goes has ended what people asked of it."""
        if isinstance(unit, MediumChanger):
            async with unit.state.moving:
                yield
        else:
            yield

    def _join(self, changer: MediumChanger) -> None:
        for address in changer.state.layout.drives:
            found = self._find(address)
            tape = found[0] if found is not None else None
            if tape is None:
                continue
            if not isinstance(tape, EmulatedTape) or tape.own_image:
                problem = f"{tape.name} is no empty drive: attach tape: there"
            elif tape.handled_by is None:
                tape.handled_by = changer.name
                continue
            elif tape.handled_by == changer.name:
                continue
            else:
                problem = f"it is a drive of {tape.handled_by}"
            log.error("%s: drive %s: %s", changer.name, address, problem)

    def _forget(self, changer: MediumChanger) -> None:
        for address in changer.state.layout.drives:
            found = self._find_drive(address)
            if found is not None and found.tape.handled_by == changer.name:
                found.tape.handled_by = None
        self._known.remove(changer)

    def _find_drive(self, address: Address) -> FoundDrive | None:
        found = self._find(address)
        if found is None or not isinstance(found[0], EmulatedTape) or found[0].own_image:
            return None
        return FoundDrive(found[0], found[1])


def _said(options: LunOptions) -> Mapping[str, object]:
    said = {
        "slots": options.slots,
        "import-export": options.import_export,
        "picks": options.picks,
        "drives": options.drives or None,
        "capacity": options.capacity,
    }
    return {name: value for name, value in said.items() if value is not None}
