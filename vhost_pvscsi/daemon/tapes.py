"""Makes the tapes that LUNs name."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.devices.identification import derive_identity
from vhost_pvscsi.devices.tape.cartridge import Cartridge
from vhost_pvscsi.devices.tape.description import PRODUCT
from vhost_pvscsi.devices.tape.tape import EmulatedTape
from vhost_pvscsi.medium import TapeMedium

if TYPE_CHECKING:
    from vhost_pvscsi.devices.faults.rule import Rule
    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.devices.pdev import LunSpec
    from vhost_pvscsi.engine import Engine
    from vhost_pvscsi.scsi.request import Reply, Request

log = logging.getLogger(__name__)

#: Opens what outlives the daemon, of the unit of an NAA identifier.
OpenMemory: TypeAlias = Callable[[bytes, contextlib.ExitStack], "UnitMemory | None"]


def make_tape(
    spec: LunSpec,
    engine: Engine,
    open_memory: OpenMemory,
    held: contextlib.ExitStack,
    rules: tuple[Rule, ...],
) -> EmulatedTape:
    """Make a tape drive for the image that its PDEV names; `held` gives both back.

    The image is open then, and `EmulatedTape.begin` puts it in.

    Raises:
        ConfigurationError: the file is no regular file.
        DeviceError: it cannot be opened.
        DeviceBusyError: another program, or another LUN of ours, holds it.
    """
    options = spec.options
    medium = TapeMedium.drive()
    source = spec.identity_source
    cartridge = None
    if spec.path is not None:
        cartridge = Cartridge.open(spec)
        source = f"tape:{cartridge.files.path}"
    identity = derive_identity(source, serial=options.serial, wwn=options.wwn, product=PRODUCT)
    with contextlib.ExitStack() as undo:
        if cartridge is not None:
            undo.callback(cartridge.close)

        async def execute(request: Request) -> Reply:
            return await engine.execute(medium, request)

        memory = open_memory(identity.naa, held)
        tape = EmulatedTape(spec, identity, execute, medium, memory=memory, faults=rules)
        tape.first = cartridge
        undo.pop_all()
    held.callback(_close, tape, medium)
    return tape


def _close(tape: EmulatedTape, medium: TapeMedium) -> None:
    try:
        tape.end()
    except OSError as error:
        log.error("%s: was not made stable: %s", tape.name, error)  # noqa: TRY400
    medium.close()
    tape.close()
