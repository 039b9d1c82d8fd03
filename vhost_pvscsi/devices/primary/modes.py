"""MODE SENSE and MODE SELECT of the emulated unit, and what a changed parameter does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import mode, sense
from vhost_pvscsi.scsi.mode import ModePage, PageControl, ParameterList
from vhost_pvscsi.scsi.request import Reply, Request, Service
from vhost_pvscsi.scsi.sense import invalid_field, invalid_parameter

from .state import UnitState, truncated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.mode import GivenPage, PageKey

log = logging.getLogger(__name__)


async def mode_sense_6(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer MODE SENSE(6) (SPC-5, "MODE SENSE(6) command")."""
    del request
    chosen = _mode_data(unit, cdb, long_lba=False)
    return chosen if isinstance(chosen, Reply) else truncated(chosen.pack_6(), cdb)


async def mode_sense_10(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer MODE SENSE(10) (SPC-5, "MODE SENSE(10) command")."""
    del request
    chosen = _mode_data(unit, cdb, long_lba=bool(cdb["llbaa"]))
    return chosen if isinstance(chosen, Reply) else truncated(chosen.pack_10(), cdb)


def _mode_data(unit: UnitState, cdb: Cdb, *, long_lba: bool) -> mode.ModeData | Reply:
    pages = unit.modes.reported(PageControl(cdb["page_control"]))
    if pages is None:
        return sense.check_condition(sense.SAVING_PARAMETERS_NOT_SUPPORTED)
    chosen = mode.choose_pages(pages, cdb["page_code"], cdb["subpage_code"])
    if cdb["page_code"] == cdb["subpage_code"] == 0 and unit.answers_page_zero:
        chosen = b""
    if chosen is None:
        known = cdb["page_code"] in {ModePage.ALL, *(code for code, _ in pages)}
        where = cdb.field("subpage_code" if known else "page_code")
        return invalid_field(where.byte, where.top_bit)
    return unit.mode_data(chosen, described=not cdb["dbd"], long_lba=long_lba)


async def mode_select_6(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer MODE SELECT(6) (SPC-5, "MODE SELECT(6) command")."""
    return await _mode_select(unit, request, cdb, ten=False)


async def mode_select_10(unit: UnitState, request: Request, cdb: Cdb) -> Reply:
    """Answer MODE SELECT(10) (SPC-5, "MODE SELECT(10) command")."""
    return await _mode_select(unit, request, cdb, ten=True)


async def _mode_select(unit: UnitState, request: Request, cdb: Cdb, *, ten: bool) -> Reply:
    refused = _refused_bits(unit, cdb)
    if refused is not None:
        return refused
    length = cdb["parameter_list_length"]
    if len(request.data_out) < length:
        return Reply(service=Service.OVERRUN)
    given = request.data_out[:length]
    async with unit.mode_lock:
        pages, listed = unit.modes.current, None
        # A list of no bytes is no mistake: nothing is to be changed (SPC-5).
        if given:
            parse = ParameterList.parse_10 if ten else ParameterList.parse_6
            parsed = parse(given)
            if isinstance(parsed, Reply):
                return parsed
            listed = parsed
            checked = _checked(unit, listed)
            if isinstance(checked, Reply):
                return checked
            pages = checked
        return await _select(unit, request.nexus, pages, listed, save=bool(cdb["sp"]))


def _refused_bits(unit: UnitState, cdb: Cdb) -> Reply | None:
    # PF 0: pages are laid out as the vendor likes. SP: pages are to be saved.
    for wrong, name in ((not cdb["pf"], "pf"), (cdb["sp"] and not unit.modes.can_save, "sp")):
        if wrong:
            where = cdb.field(name)
            return invalid_field(where.byte, where.top_bit)
    return None


def _checked(unit: UnitState, listed: ParameterList) -> Mapping[PageKey, bytes] | Reply:
    """All pages as they would be; nothing is changed if any of the list is wrong (SPC-5 7.5.1)."""
    wrong = unit.wrong_settings(listed)
    if wrong is not None:
        return wrong
    pages = dict(unit.modes.current)
    for page in listed.pages:
        wrong = _wrong_page(unit, page)
        if wrong is not None:
            return wrong
        pages[page.key] = unit.modes.definitions[page.key].merged(page.data)
    return pages


def _wrong_page(unit: UnitState, page: GivenPage) -> Reply | None:
    known = unit.modes.definitions.get(page.key)
    if known is None:
        return invalid_parameter(page.offset, 5)
    head = mode.header_length(page.data)
    if len(page.data) != len(known.default):
        return invalid_parameter(page.offset + head // 2)
    current, mask = unit.modes.current[page.key], known.mask
    for byte in range(head, len(page.data)):
        stray = (page.data[byte] ^ current[byte]) & ~mask[byte]
        if stray:
            return invalid_parameter(page.offset + byte, stray.bit_length() - 1)
    return None


async def _select(
    unit: UnitState,
    nexus: str,
    pages: Mapping[PageKey, bytes],
    listed: ParameterList | None,
    *,
    save: bool,
) -> Reply:
    before = unit.modes.current, unit.settings()
    if not await unit.put_in_force(pages, listed):
        return sense.check_condition(sense.WRITE_ERROR)
    if save:
        try:
            await unit.modes.save(pages)
        except OSError as error:
            log.error("%s: mode pages were not saved: %s", unit.identity.serial, error)  # noqa: TRY400
            await unit.put_in_force(before[0])
            await unit.recall(before[1])
            return sense.check_condition(sense.INTERNAL_TARGET_FAILURE)
    if (pages, unit.settings()) != before:
        await unit.attentions.establish(sense.MODE_PARAMETERS_CHANGED, but=nexus)
    return Reply()


async def reset(unit: UnitState) -> None:
    """Go back to the saved values, as a logical unit reset does (SPC-5 7.5.1)."""
    async with unit.mode_lock:
        if not await unit.put_in_force(unit.modes.at_reset):
            log.error("%s: mode parameters stay as they were", unit.identity.serial)
