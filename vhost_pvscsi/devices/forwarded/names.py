"""Names of ours for a device of the host, where a guest is not to know which one it has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.identification import REVISION, VENDOR, derive_identity

if TYPE_CHECKING:
    from vhost_pvscsi.devices.identification import UnitIdentity
    from vhost_pvscsi.devices.presentation import Presentation
    from vhost_pvscsi.scsi.pages import DeviceType


def identity_of(source: str) -> UnitIdentity:
    """Name a device as an emulated unit is named.

    `source` is what it is recognised by: the names are made of it, and tell nothing of it.
    """
    return derive_identity(f"device:{source}")


def with_own_names(shown: Presentation, device_type: DeviceType, source: str) -> Presentation:
    """Name what an operator has not named; `source` as in `identity_of`."""
    identity = identity_of(source)
    return replace(
        shown,
        vendor=shown.vendor or VENDOR,
        product=shown.product or f"VIRTUAL {device_type.name.replace('_', ' ')}"[:16],
        revision=shown.revision or REVISION,
        serial=shown.serial or identity.serial,
        naa=shown.naa or identity.naa,
    )
