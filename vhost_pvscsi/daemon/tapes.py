"""Makes the tapes that LUNs name."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from vhost_pvscsi.devices.emulated.description import derive_identity
from vhost_pvscsi.devices.tape.description import PRODUCT, TapeGeometry
from vhost_pvscsi.devices.tape.opening import open_tape
from vhost_pvscsi.devices.tape.tape import EmulatedTape
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.medium import UNLIMITED, TapeMedium

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
    """Make a tape; `held` gives back what it stands on.

    Raises:
        ConfigurationError: the file is no tape image.
        DeviceError: it cannot be opened.
        DeviceBusyError: another program, or another LUN of ours, holds it.
    """
    files = open_tape(spec, held)
    geometry = TapeGeometry(spec.options.capacity, spec.options.read_only)
    try:
        medium = TapeMedium.open(
            files.fd,
            sidecar_fd=files.sidecar_fd,
            read_only=geometry.read_only,
            capacity=UNLIMITED if geometry.capacity is None else geometry.capacity,
            warning=UNLIMITED if geometry.warning is None else geometry.warning,
            scratch_fd=files.scratch_fd,
        )
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{spec.pdev}: {error}", hint="vhost-pvscsi tape verify says more; it changes nothing"
        ) from error
    held.callback(_close, spec.pdev, medium)
    _tell(spec, medium)
    options = spec.options
    source = f"tape:{files.path}"
    identity = derive_identity(source, serial=options.serial, wwn=options.wwn, product=PRODUCT)

    async def execute(request: Request) -> Reply:
        return await engine.execute(medium, request)

    memory = open_memory(identity.naa, held)
    return EmulatedTape(spec.pdev, identity, geometry, execute, medium, memory=memory, faults=rules)


def _tell(spec: LunSpec, medium: TapeMedium) -> None:
    now, loaded = medium.standing(), medium.loaded
    if loaded.torn:
        done = "is passed over" if spec.options.read_only else "was cut"
        log.warning(
            "%s: %s: its last record was never written to the end: a tail of %d bytes at byte %d "
            "%s",
            spec.address,
            spec.pdev,
            loaded.torn,
            loaded.torn_at,
            done,
        )
    log.info(
        "%s: %s has %d blocks and %d filemarks in %d bytes%s",
        spec.address,
        spec.pdev,
        now.end_object - now.marks,
        now.marks,
        now.end_offset,
        ", all of them read to find out" if loaded.scanned and now.end_object else "",
    )


def _close(pdev: str, medium: TapeMedium) -> None:
    try:
        medium.rest()
    except OSError as error:
        log.error("%s: was not made stable: %s", pdev, error)  # noqa: TRY400
    medium.close()
