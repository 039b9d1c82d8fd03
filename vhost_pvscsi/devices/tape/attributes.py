"""READ ATTRIBUTE and WRITE ATTRIBUTE of the emulated tape (SPC-5, those commands)."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.host_errors import host_error
from vhost_pvscsi.devices.primary.state import truncated
from vhost_pvscsi.scsi import attributes, sense, sequential
from vhost_pvscsi.scsi.attributes import Attribute, Id, ReadAttribute, ascii_text, binary
from vhost_pvscsi.scsi.request import Reply, Request, Service

from . import auxiliary

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb

    from .cartridge import Cartridge
    from .state import TapeState

log = logging.getLogger(__name__)

#: Who made drive and cartridge.
MANUFACTURER = sequential.ORGANIZATION


def _mebibytes(count: int) -> int:
    return count >> 20


def capacity_of(cartridge: Cartridge, end: int) -> tuple[int, int]:
    """Bytes that are left and bytes in all; without a capacity, what the host has room for."""
    capacity = cartridge.geometry.capacity
    if capacity is None:
        room = os.fstatvfs(cartridge.files.fd)
        capacity = end + room.f_bavail * room.f_frsize
    return max(capacity - end, 0), capacity


def _existing(tape: TapeState, cartridge: Cartridge) -> dict[int, Attribute]:
    """All attributes that have a value, on a thread that may wait."""
    now, memory = tape.medium.standing(), cartridge.memory
    past = memory.history.with_work(tape.at_load, now)
    left, whole = capacity_of(cartridge, now.end_offset)
    known = [
        binary(Id.REMAINING_CAPACITY, _mebibytes(left)),
        binary(Id.MAXIMUM_CAPACITY, _mebibytes(whole)),
        # Of the load before this one (SPC-5 7.4, attribute 0002h).
        binary(Id.TAPE_ALERT, memory.history.alerts),
        binary(Id.LOAD_COUNT, past.loads),
        binary(Id.SPACE_REMAINING, memory.space_remaining),
        ascii_text(Id.ASSIGNING_ORGANIZATION, MANUFACTURER, 8),
        binary(Id.FORMATTED_DENSITY, sequential.DENSITY, 1),
        binary(Id.WRITTEN_IN_LIFE, _mebibytes(past.written)),
        binary(Id.READ_IN_LIFE, _mebibytes(past.read)),
        binary(Id.WRITTEN_IN_LOAD, _mebibytes(now.stored_written - tape.at_load.stored_written)),
        binary(Id.READ_IN_LOAD, _mebibytes(now.stored_read - tape.at_load.stored_read)),
        ascii_text(Id.MANUFACTURER, MANUFACTURER, 8),
        ascii_text(Id.SERIAL_NUMBER, cartridge.serial, 32),
        ascii_text(Id.MEDIUM_ASSIGNING_ORGANIZATION, MANUFACTURER, 8),
        binary(Id.DENSITY, sequential.DENSITY, 1),
        binary(Id.MEMORY_CAPACITY, auxiliary.CAPACITY),
        binary(Id.MEDIUM_TYPE, sequential.MEDIUM_TYPE, 1),
    ]
    if memory.barcode:
        known.append(ascii_text(Id.VOLUME_IDENTIFIER, memory.barcode, 32))
    for code, serial in zip(attributes.DRIVES, past.drives, strict=False):
        known.append(ascii_text(code, f"{MANUFACTURER:8}{serial}", 40))
    found = {one.id: one for one in (*known, *memory.attributes.values())}
    return dict(sorted(found.items()))


def _refused_place(tape: TapeState, cdb: Cdb) -> Reply | None:
    for name in ("logical_volume_number", "partition_number"):
        if cdb[name]:
            where = cdb.field(name)
            return sense.invalid_field(where.byte, where.top_bit)
    return tape.not_ready()


async def read_attribute(tape: TapeState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ ATTRIBUTE (SPC-5, that command)."""
    del request
    refused = _refused_place(tape, cdb)
    cartridge = tape.cartridge
    if refused is not None or cartridge is None:
        return refused or sense.check_condition(sense.MEDIUM_NOT_PRESENT)
    action, first = cdb["action"], cdb["first_attribute_identifier"]
    if action in {ReadAttribute.LOGICAL_VOLUME_LIST, ReadAttribute.PARTITION_LIST}:
        return truncated(attributes.one_of_them(), cdb)
    if action not in set(ReadAttribute):
        where = cdb.field("action")
        return sense.invalid_field(where.byte, where.top_bit)
    existing = await asyncio.to_thread(_existing, tape, cartridge)
    codes = sorted({*existing, *Id} if action == ReadAttribute.SUPPORTED else existing)
    if first not in codes:
        # SPC-5: the first one must be there.
        return sense.invalid_field(cdb.field("first_attribute_identifier").byte)
    wanted = [code for code in codes if code >= first]
    if action == ReadAttribute.VALUES:
        return truncated(attributes.value_list(existing[code] for code in wanted), cdb)
    return truncated(attributes.identifier_list(wanted), cdb)


async def write_attribute(tape: TapeState, request: Request, cdb: Cdb) -> Reply:
    """Answer WRITE ATTRIBUTE (SPC-5, that command): all of a list, or nothing of it."""
    refused = _refused_place(tape, cdb)
    cartridge = tape.cartridge
    if refused is not None or cartridge is None:
        return refused or sense.check_condition(sense.MEDIUM_NOT_PRESENT)
    length = cdb["parameter_list_length"]
    if len(request.data_out) < length:
        return Reply(service=Service.OVERRUN)
    if not length:
        return Reply()
    given = attributes.parse_list(request.data_out[:length])
    if isinstance(given, Reply):
        return given
    if cartridge.geometry.read_only:
        return sense.check_condition(sense.WRITE_PROTECTED)
    async with tape.turn:
        return await _written(cartridge, given)


async def _written(cartridge: Cartridge, given: tuple[Attribute, ...]) -> Reply:
    memory = cartridge.memory
    before = memory.attributes
    after = {**before, **{one.id: one for one in given}}
    memory.attributes = {code: one for code, one in after.items() if one.value}
    if memory.space_remaining < 0:
        memory.attributes = before
        return sense.check_condition(sense.AUXILIARY_MEMORY_OUT_OF_SPACE)
    try:
        await asyncio.to_thread(memory.keep)
    except OSError as error:
        memory.attributes = before
        log.error("%s: attributes not kept: %s", cartridge.spec.pdev, error)  # noqa: TRY400
        return host_error(error, writing=True)
    return Reply()
