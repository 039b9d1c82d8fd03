"""LOG SENSE of the emulated tape: what drive and cartridge have been through."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import logs
from vhost_pvscsi.scsi import log, sequential, tape_logs
from vhost_pvscsi.scsi.log import LogPage
from vhost_pvscsi.scsi.tape_logs import Moved, Volume

from .attributes import MANUFACTURER, capacity_of

if TYPE_CHECKING:
    from vhost_pvscsi.medium import TapeStanding
    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.log import LogParameter
    from vhost_pvscsi.scsi.request import Reply, Request

    from .cartridge import Cartridge
    from .state import TapeState


async def log_sense(tape: TapeState, request: Request, cdb: Cdb) -> Reply:
    """Answer LOG SENSE (SPC-5, "LOG SENSE command")."""
    now = await asyncio.to_thread(tape.medium.standing)
    moved = Moved(now.bytes_written, now.stored_written, now.bytes_read, now.stored_read)
    known: dict[LogPage, tuple[LogParameter, ...]] = {
        LogPage.WRITE_ERRORS: tape_logs.error_counters(now.bytes_written, now.write_errors),
        LogPage.READ_ERRORS: tape_logs.error_counters(now.bytes_read, now.read_errors),
        LogPage.SEQUENTIAL_ACCESS: tape_logs.sequential_access(moved),
        LogPage.DATA_COMPRESSION: tape_logs.data_compression(
            moved, enabled=sequential.compresses(tape.modes.current)
        ),
        LogPage.TAPE_ALERT: tape_logs.tape_alerts(_alerts(tape, request, cdb, now)),
        LogPage.INFORMATIONAL_EXCEPTIONS: log.informational_exceptions(),
        LogPage.VOLUME_STATISTICS: (log.LogParameter(0, b"\0"),),
    }
    if tape.cartridge is not None and not tape.removal.ejected:
        volume = _volume(tape, tape.cartridge, now)
        known[LogPage.VOLUME_STATISTICS] = tape_logs.volume_statistics(volume)
    return logs.answer({(int(code), 0): known[code] for code in known}, cdb)


def _alerts(tape: TapeState, request: Request, cdb: Cdb, now: TapeStanding) -> frozenset[int]:
    # Only who reads the page has read it.
    if (cdb["page_code"], cdb["subpage_code"]) != (LogPage.TAPE_ALERT, 0):
        return frozenset()
    return tape.alerts.tell(request.nexus, tape.causes(now))


def _volume(tape: TapeState, cartridge: Cartridge, now: TapeStanding) -> Volume:
    before = tape.at_load
    past = cartridge.memory.history.with_work(before, now)
    _, capacity = capacity_of(cartridge, now.end_offset)
    return Volume(
        loads=past.loads,
        blocks_written=past.blocks_written,
        blocks_read=past.blocks_read,
        write_errors=past.write_errors,
        read_errors=past.read_errors,
        load_write_errors=now.write_errors - before.write_errors,
        load_read_errors=now.read_errors - before.read_errors,
        lifetime_written=past.written,
        lifetime_read=past.read,
        load=Moved(
            now.bytes_written - before.bytes_written,
            now.stored_written - before.stored_written,
            now.bytes_read - before.bytes_read,
            now.stored_read - before.stored_read,
        ),
        capacity=capacity,
        used=now.end_offset,
        serial=cartridge.serial,
        barcode=cartridge.memory.barcode,
        manufacturer=MANUFACTURER,
        protected=cartridge.geometry.read_only,
    )
