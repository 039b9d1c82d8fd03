"""MODE SENSE and MODE SELECT of the emulated disk, and what a changed parameter does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import mode, sense
from vhost_pvscsi.scsi.mode import ModePage, PageControl, ParameterList
from vhost_pvscsi.scsi.request import Reply, Request, Service
from vhost_pvscsi.scsi.sense import invalid_field, invalid_parameter

from .state import DiskState, truncated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.mode import GivenPage, PageKey

    from .description import DiskGeometry

log = logging.getLogger(__name__)


async def mode_sense_6(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer MODE SENSE(6) (SPC-5, "MODE SENSE(6) command")."""
    del request
    chosen = _mode_data(disk, cdb, long_lba=False)
    return chosen if isinstance(chosen, Reply) else truncated(chosen.pack_6(), cdb)


async def mode_sense_10(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer MODE SENSE(10) (SPC-5, "MODE SENSE(10) command")."""
    del request
    chosen = _mode_data(disk, cdb, long_lba=bool(cdb["llbaa"]))
    return chosen if isinstance(chosen, Reply) else truncated(chosen.pack_10(), cdb)


def _mode_data(disk: DiskState, cdb: Cdb, *, long_lba: bool) -> mode.ModeData | Reply:
    pages = disk.modes.reported(PageControl(cdb["page_control"]))
    if pages is None:
        return sense.check_condition(sense.SAVING_PARAMETERS_NOT_SUPPORTED)
    chosen = mode.choose_pages(pages, cdb["page_code"], cdb["subpage_code"])
    if chosen is None:
        known = cdb["page_code"] in {ModePage.ALL, *(code for code, _ in pages)}
        where = cdb.field("subpage_code" if known else "page_code")
        return invalid_field(where.byte, where.top_bit)
    geometry = disk.geometry
    describe = mode.long_block_descriptor if long_lba else mode.short_block_descriptor
    descriptor = b"" if cdb["dbd"] else describe(geometry.blocks, geometry.block_size)
    return mode.ModeData(geometry.read_only, descriptor, chosen)


async def mode_select_6(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer MODE SELECT(6) (SPC-5, "MODE SELECT(6) command")."""
    return await _mode_select(disk, request, cdb, ten=False)


async def mode_select_10(disk: DiskState, request: Request, cdb: Cdb) -> Reply:
    """Answer MODE SELECT(10) (SPC-5, "MODE SELECT(10) command")."""
    return await _mode_select(disk, request, cdb, ten=True)


async def _mode_select(disk: DiskState, request: Request, cdb: Cdb, *, ten: bool) -> Reply:
    refused = _refused_bits(disk, cdb)
    if refused is not None:
        return refused
    length = cdb["parameter_list_length"]
    if len(request.data_out) < length:
        return Reply(service=Service.OVERRUN)
    given = request.data_out[:length]
    async with disk.mode_lock:
        pages = disk.modes.current
        # A list of no bytes is no mistake: nothing is to be changed (SPC-5).
        if given:
            parse = ParameterList.parse_10 if ten else ParameterList.parse_6
            listed = parse(given)
            if isinstance(listed, Reply):
                return listed
            checked = _checked(disk, listed)
            if isinstance(checked, Reply):
                return checked
            pages = checked
        return await _select(disk, request.nexus, pages, save=bool(cdb["sp"]))


def _refused_bits(disk: DiskState, cdb: Cdb) -> Reply | None:
    # PF 0: pages are laid out as the vendor likes. SP: pages are to be saved.
    for wrong, name in ((not cdb["pf"], "pf"), (cdb["sp"] and not disk.modes.can_save, "sp")):
        if wrong:
            where = cdb.field(name)
            return invalid_field(where.byte, where.top_bit)
    return None


def _checked(disk: DiskState, listed: ParameterList) -> Mapping[PageKey, bytes] | Reply:
    """All pages as they would be; nothing is changed if any of the list is wrong (SPC-5 7.5.1)."""
    wrong = _wrong_descriptor(disk.geometry, listed)
    if wrong is not None:
        return wrong
    pages = dict(disk.modes.current)
    for page in listed.pages:
        wrong = _wrong_page(disk, page)
        if wrong is not None:
            return wrong
        pages[page.key] = disk.modes.definitions[page.key].merged(page.data)
    return pages


def _wrong_descriptor(geometry: DiskGeometry, listed: ParameterList) -> Reply | None:
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


def _wrong_page(disk: DiskState, page: GivenPage) -> Reply | None:
    known = disk.modes.definitions.get(page.key)
    if known is None:
        return invalid_parameter(page.offset, 5)
    head = mode.header_length(page.data)
    if len(page.data) != len(known.default):
        return invalid_parameter(page.offset + head // 2)
    current, mask = disk.modes.current[page.key], known.mask
    for byte in range(head, len(page.data)):
        stray = (page.data[byte] ^ current[byte]) & ~mask[byte]
        if stray:
            return invalid_parameter(page.offset + byte, stray.bit_length() - 1)
    return None


async def _select(
    disk: DiskState, nexus: str, pages: Mapping[PageKey, bytes], *, save: bool
) -> Reply:
    before = disk.modes.current
    if not await put_in_force(disk, pages):
        return sense.check_condition(sense.WRITE_ERROR)
    if save:
        try:
            await disk.modes.save(pages)
        except OSError as error:
            log.error("%s: mode pages were not saved: %s", disk.identity.serial, error)  # noqa: TRY400
            await put_in_force(disk, before)
            return sense.check_condition(sense.INTERNAL_TARGET_FAILURE)
    if pages != before:
        await disk.attentions.establish(sense.MODE_PARAMETERS_CHANGED, but=nexus)
    return Reply()


async def put_in_force(disk: DiskState, pages: Mapping[PageKey, bytes]) -> bool:
    """Make these pages current; False: what the write cache held could not be made stable."""
    before, had_cache = disk.modes.current, disk.modes.write_cache
    disk.modes.current = pages
    if not had_cache or disk.modes.write_cache or disk.flush is None:
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


async def reset(disk: DiskState) -> None:
    """Go back to the saved values, as a logical unit reset does (SPC-5 7.5.1)."""
    async with disk.mode_lock:
        if not await put_in_force(disk, disk.modes.at_reset):
            log.error("%s: mode parameters stay as they were", disk.identity.serial)
