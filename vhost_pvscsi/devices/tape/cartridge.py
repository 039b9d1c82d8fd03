"""A cartridge: an open image, in a drive or on its way there."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.identification import PRODUCT, derive_identity
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.medium import UNLIMITED

from .auxiliary import AuxiliaryMemory
from .description import TapeGeometry
from .opening import open_tape

if TYPE_CHECKING:
    from vhost_pvscsi.devices.pdev import LunSpec
    from vhost_pvscsi.medium import TapeMedium

    from .opening import TapeFiles

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Cartridge:
    """An image with its files open and locked, until it is closed."""

    spec: LunSpec  #: how it was asked for
    files: TapeFiles
    geometry: TapeGeometry
    memory: AuxiliaryMemory
    held: contextlib.ExitStack

    @classmethod
    def open(cls, spec: LunSpec) -> Cartridge:
        """Open and lock the image of a LUN's PDEV, on a thread that may wait.

        Raises:
            ConfigurationError: what is there is no regular file.
            DeviceError: it cannot be opened.
            DeviceBusyError: another program, or another LUN of ours, holds it.
        """
        options = spec.options
        with contextlib.ExitStack() as undo:
            files = open_tape(spec, undo)
            memory = AuxiliaryMemory.of(files.path, read_only=options.read_only)
            geometry = TapeGeometry(options.capacity, options.read_only or memory.protected)
            return cls(spec, files, geometry, memory, undo.pop_all())

    @property
    def serial(self) -> str:
        """Its serial number: of the image's path, as a LUN's is."""
        return derive_identity(f"cartridge:{self.files.path}", product=PRODUCT).serial

    def put_into(self, drive: TapeMedium) -> None:
        """Put it into an empty drive, on a thread that may wait; a torn tail is cut.

        Raises:
            ConfigurationError: it is no tape image, or damaged.
            DeviceError: it cannot be read.
        """
        capacity, warning = self.geometry.capacity, self.geometry.warning
        try:
            drive.insert(
                self.files.fd,
                sidecar_fd=self.files.sidecar_fd,
                read_only=self.geometry.read_only,
                capacity=UNLIMITED if capacity is None else capacity,
                warning=UNLIMITED if warning is None else warning,
                scratch_fd=self.files.scratch_fd,
            )
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{self.spec.pdev}: {error}",
                hint="vhost-pvscsi tape verify says more; it changes nothing",
            ) from error
        self._tell(drive)

    def close(self) -> None:
        """Close and unlock its files; it is in no drive any more."""
        self.held.close()

    def _tell(self, drive: TapeMedium) -> None:
        now, loaded, spec = drive.standing(), drive.loaded, self.spec
        if loaded.torn:
            done = "is passed over" if self.geometry.read_only else "was cut"
            log.warning(
                "%s: %s: its last record was never written to the end: a tail of %d bytes at byte "
                "%d %s",
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
