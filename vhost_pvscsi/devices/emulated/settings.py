"""What MODE SELECT sets at the emulated disk, and what a changed parameter does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary.parameters import MOST_SENSE
from vhost_pvscsi.scsi import mode
from vhost_pvscsi.scsi.sense import invalid_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhost_pvscsi.scsi.mode import PageDefinition, PageKey, ParameterList
    from vhost_pvscsi.scsi.request import Reply

    from .description import DiskGeometry
    from .state import DiskState

log = logging.getLogger(__name__)


def definitions(geometry: DiskGeometry) -> tuple[PageDefinition, ...]:
    """The mode pages of a disk."""
    return (
        mode.error_recovery(),
        mode.caching(write_cache=geometry.write_cache, switchable=geometry.write_cache_switchable),
        mode.control(),
        mode.control_extension(most_sense=MOST_SENSE),
        mode.informational_exceptions(),
    )


def wrong_descriptor(geometry: DiskGeometry, listed: ParameterList) -> Reply | None:
    """Accept a block descriptor that changes nothing (SBC-4 6.5.2): the image is what it is."""
    given = listed.descriptor
    if not given:
        return None
    if len(given) == 16:
        blocks, size, size_at = int.from_bytes(given[:8], "big"), given[12:], 12
        current = {geometry.blocks, 0xFFFFFFFFFFFFFFFF}
    else:
        blocks, size, size_at = int.from_bytes(given[:4], "big"), given[5:], 5
        current = {min(geometry.blocks, 0xFFFFFFFF), 0xFFFFFFFF}
    # No blocks: as many as there are (SBC-4 6.5.2.2).
    if blocks not in {0, *current}:
        return invalid_parameter(listed.descriptor_offset)
    if int.from_bytes(size, "big") != geometry.block_size:
        return invalid_parameter(listed.descriptor_offset + size_at)
    return None


async def put_in_force(disk: DiskState, pages: Mapping[PageKey, bytes]) -> bool:
    """Make these pages current; False: what the write cache held could not be made stable."""
    before, had_cache = disk.modes.current, disk.write_cache
    disk.modes.current = pages
    if not had_cache or disk.write_cache or disk.flush is None:
        disk.switch_medium()
        return True
    # Writes are stable from here on; those before become it now (SBC-4 4.15). None is on its
    # way meanwhile: it could reach the host's cache after the flush.
    async with disk.exclusion.exclusive():
        disk.switch_medium()
        try:
            await disk.flush()
        except OSError as error:
            log.error("%s: write cache not flushed: %s", disk.identity.serial, error)  # noqa: TRY400
            disk.modes.current = before
            disk.switch_medium()
            return False
    return True
