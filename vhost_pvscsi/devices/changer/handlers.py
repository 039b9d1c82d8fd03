"""The commands of the medium changer, and what answers each."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary import handlers as primary
from vhost_pvscsi.devices.primary import readiness
from vhost_pvscsi.devices.primary.handlers import Answered
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.codes import ChangerOpcode, Opcode
from vhost_pvscsi.scsi.medium_changer import Door, ElementType
from vhost_pvscsi.scsi.opcodes import CHANGER
from vhost_pvscsi.scsi.opcodes import changer_command as command
from vhost_pvscsi.scsi.request import Reply, Request
from vhost_pvscsi.scsi.sense import invalid_field

from . import contents, moving, reports
from .contents import Contents, Refused
from .state import Moved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vhost_pvscsi.scsi.cdb import Cdb
    from vhost_pvscsi.scsi.command import Command

    from .state import ChangerState, Handler

log = logging.getLogger(__name__)

_BAD_ADDRESS = sense.check_condition(sense.INVALID_ELEMENT_ADDRESS)


def _refused(changer: ChangerState, cdb: Cdb, *turns: str) -> Reply | None:
    """What is wrong with the medium transport, or with being turned: nothing here turns media."""
    transport = cdb["medium_transport_address"]
    # 0: the default one (SMC-3, MOVE MEDIUM).
    if transport and changer.layout.kind_of(transport) is not ElementType.MEDIUM_TRANSPORT:
        return _BAD_ADDRESS
    for name in turns:
        if cdb[name]:
            where = cdb.field(name)
            return invalid_field(where.byte, where.top_bit)
    return None


async def move_medium(changer: ChangerState, request: Request, cdb: Cdb) -> Reply:
    """Answer MOVE MEDIUM (SMC-3, that command)."""
    del request
    source, destination = cdb["source_address"], cdb["destination_address"]
    return _refused(changer, cdb, "invert") or await _moved(
        changer,
        lambda: (
            moving.barred(changer, source, destination)
            or contents.move(changer.layout, changer.contents, source, destination)
        ),
        [(source, destination)],
    )


async def exchange_medium(changer: ChangerState, request: Request, cdb: Cdb) -> Reply:
    """Answer EXCHANGE MEDIUM (SMC-3, that command)."""
    del request
    source, first, second = (
        cdb[name]
        for name in ("source_address", "first_destination_address", "second_destination_address")
    )
    return _refused(changer, cdb, "inv1", "inv2") or await _moved(
        changer,
        lambda: (
            moving.barred(changer, source, first, second)
            or contents.exchange(changer.layout, changer.contents, source, first, second)
        ),
        [(first, second), (source, first)],
    )


async def _moved(
    changer: ChangerState,
    plan: Callable[[], Contents | Refused],
    pairs: Iterable[tuple[int, int]],
) -> Reply:
    async def whole() -> Refused | None:
        async with changer.moving:
            # What lies where may have changed while another move was carried out.
            before, after = changer.contents, plan()
            if isinstance(after, Refused):
                return after
            refused = await moving.carry_out(changer, after)
            if refused is None:
                for source, destination in pairs:
                    tell_moved(changer, before.lying[source].file, source, destination)
            return refused

    refused = await moving.to_the_end(whole())
    return sense.check_condition(refused.code) if refused is not None else Reply()


def tell_moved(
    changer: ChangerState,
    file: str,
    source: int | None,
    destination: int | None,
    *,
    by_guest: bool = True,
) -> None:
    """Say that a cartridge has been moved; None is the shelf."""
    begin, end = (
        changer.layout.name(at) if at is not None else None for at in (source, destination)
    )
    changer.on_moved(Moved(file, changer.folder.barcode(file), begin, end, by_guest))


#: Where people can reach in: at the import/export elements, and behind the door.
REACHED = {
    ElementType.IMPORT_EXPORT: sense.IMPORT_OR_EXPORT_ELEMENT_ACCESSED,
    ElementType.STORAGE: sense.MEDIUM_MAY_HAVE_CHANGED,
}


async def tell_reached(changer: ChangerState, address: int, *, but: str | None = None) -> None:
    """Tell guests, `but` one, that hands were at an element; its door is closed behind them."""
    changer.opened.discard(address)
    kind = changer.layout.kind_of(address)
    assert kind in REACHED  # nobody reaches into another one
    await changer.attentions.establish(REACHED[kind], but=but)


async def position_to_element(changer: ChangerState, request: Request, cdb: Cdb) -> Reply:
    """Answer POSITION TO ELEMENT (SMC-3, that command): a transport is everywhere at once."""
    del request
    refused = _refused(changer, cdb, "invert")
    if refused is None and not changer.layout.stores(cdb["destination_address"]):
        return _BAD_ADDRESS
    return refused or Reply()


async def open_close(changer: ChangerState, request: Request, cdb: Cdb) -> Reply:
    """Answer OPEN/CLOSE IMPORT/EXPORT ELEMENT (SMC-3, that command).

    What is open is for hands, and no transport reaches it. What is open or closed stays so.
    """
    address = cdb["element_address"]
    if changer.layout.kind_of(address) is not ElementType.IMPORT_EXPORT:
        return _BAD_ADDRESS
    if cdb["action_code"] not in set(Door):
        where = cdb.field("action_code")
        return invalid_field(where.byte, where.top_bit)

    async def whole() -> Reply:
        async with changer.moving, changer.removal.changing:
            if cdb["action_code"] == Door.CLOSE:
                if address in changer.opened:
                    await tell_reached(changer, address, but=request.nexus)
            elif changer.removal.preventing:
                return sense.check_condition(sense.MEDIUM_REMOVAL_PREVENTED)
            elif address not in changer.opened:
                changer.opened.add(address)
                log.info(
                    "changer:%s: a guest has opened %s",
                    changer.folder.path,
                    changer.layout.name(address),
                )
            return Reply()

    return await moving.to_the_end(whole())


async def initialize_element_status(changer: ChangerState, request: Request, cdb: Cdb) -> Reply:
    """Answer INITIALIZE ELEMENT STATUS (SMC-3, that command): look for all images."""
    del request, cdb
    return await _look(changer, range(1 << 16))


async def initialize_with_range(changer: ChangerState, request: Request, cdb: Cdb) -> Reply:
    """Answer INITIALIZE ELEMENT STATUS WITH RANGE (SMC-3, that command).

    FAST is no slower here. Without RANGE it is all elements.
    """
    del request
    if not cdb["range"]:
        return await _look(changer, range(1 << 16))
    start = cdb["starting_element_address"]
    if all(start >= those.stop for those in changer.layout.ranges.values()):
        return _BAD_ADDRESS
    # 0: all from there on.
    return await _look(changer, range(start, start + (cdb["number_of_elements"] or 1 << 16)))


async def _look(changer: ChangerState, those: range) -> Reply:
    async def whole() -> None:
        async with changer.moving:
            for address, one in list(changer.contents.lying.items()):
                # What is in a drive is open, and there as long as it is.
                if address not in those or changer.layout.drive(address) is not None:
                    continue
                if not await asyncio.to_thread(changer.folder.is_there, one.file):
                    await moving.forget(changer, address)

    await moving.to_the_end(whole())
    return Reply()


#: Everything, one function each.
HANDLERS: Mapping[Command, Handler] = {
    **primary.HANDLERS,
    command(Opcode.INQUIRY): reports.inquiry,
    command(Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL): readiness.prevent_allow,
    command(Opcode.LOG_SENSE): reports.log_sense,
    command(ChangerOpcode.INITIALIZE_ELEMENT_STATUS): initialize_element_status,
    command(ChangerOpcode.INITIALIZE_ELEMENT_STATUS_WITH_RANGE): initialize_with_range,
    command(ChangerOpcode.OPEN_CLOSE_IMPORT_EXPORT_ELEMENT): open_close,
    command(ChangerOpcode.POSITION_TO_ELEMENT): position_to_element,
    command(ChangerOpcode.MOVE_MEDIUM): move_medium,
    command(ChangerOpcode.EXCHANGE_MEDIUM): exchange_medium,
    command(ChangerOpcode.READ_ELEMENT_STATUS): reports.read_element_status,
}

#: All that a changer answers.
commands = Answered(CHANGER, HANDLERS)
