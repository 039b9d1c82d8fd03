"""Makes the CD and DVD drives that LUNs name."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.identification import derive_identity
from vhost_pvscsi.devices.optical.disc import open_disc
from vhost_pvscsi.devices.optical.drive import EmulatedDrive
from vhost_pvscsi.devices.optical.reports import PRODUCT
from vhost_pvscsi.scsi import discs

if TYPE_CHECKING:
    from vhost_pvscsi.devices.faults.rule import Rule
    from vhost_pvscsi.devices.optical.drive import Renew
    from vhost_pvscsi.devices.pdev import LunSpec
    from vhost_pvscsi.engine import Engine

    from .tapes import OpenMemory

log = logging.getLogger(__name__)


def make_drive(
    spec: LunSpec,
    engine: Engine,
    renew: Renew,
    open_memory: OpenMemory,
    held: contextlib.ExitStack,
    rules: tuple[Rule, ...],
) -> EmulatedDrive:
    """Make a drive; `held` gives back what it stands on.

    It is known by its place: discs come and go.

    Raises:
        ConfigurationError: the file is no disc.
        DeviceError: it cannot be opened.
        DeviceBusyError: another program may write to it.
    """
    options = spec.options
    with contextlib.ExitStack() as undo:
        disc = None
        if spec.path is not None:
            disc = open_disc(spec.path, lock=options.lock)
            undo.callback(disc.close)
            size = disc.blocks * discs.SECTOR
            log.info("%s: %s has %d bytes, a %s", spec.address, spec.pdev, size, disc.profile.name)
        identity = derive_identity(
            spec.identity_source, serial=options.serial, wwn=options.wwn, product=PRODUCT
        )
        memory = open_memory(identity.naa, held)
        drive = EmulatedDrive(
            identity, disc, engine.execute, renew, lock=options.lock, memory=memory, faults=rules
        )
        undo.pop_all()
    held.callback(drive.close)
    return drive
