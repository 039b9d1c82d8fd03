"""LOAD UNLOAD of the emulated tape."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.emulated.host_errors import host_error
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.request import Reply, Request

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb

    from .state import TapeState

log = logging.getLogger(__name__)


async def load_unload(tape: TapeState, request: Request, cdb: Cdb) -> Reply:
    """Answer LOAD UNLOAD (SSC-5, that command): rewinds, and takes the medium out or puts it in.

    RETEN asks for what an image does not need. EOT and HOLD would leave the medium where this
    drive has no place for it.
    """
    for name in ("hold", "eot"):
        if cdb[name]:
            where = cdb.field(name)
            return sense.invalid_field(where.byte, where.top_bit)
    async with tape.removal.changing:
        return await (_load(tape, request.nexus) if cdb["load"] else _unload(tape))


async def _load(tape: TapeState, nexus: str) -> Reply:
    if not tape.removal.ejected:
        return await _rest(tape)
    # Everybody else is told that it may be another one (SPC-5, 28h/00h).
    await tape.attentions.establish(sense.MEDIUM_MAY_HAVE_CHANGED, but=nexus)
    tape.removal.ejected = False
    await tape.set_stopped(False)
    return Reply()


async def _unload(tape: TapeState) -> Reply:
    if tape.removal.ejected:
        return Reply()
    if tape.removal.preventing:
        return sense.check_condition(sense.MEDIUM_REMOVAL_PREVENTED)
    await tape.set_stopped(True)
    reply = await _rest(tape)
    if reply.sense:
        # What could not be made stable stays where it is.
        await tape.set_stopped(False)
    else:
        tape.removal.ejected = True
    return reply


async def _rest(tape: TapeState) -> Reply:
    async with tape.turn:
        try:
            await asyncio.to_thread(tape.medium.rest)
        except OSError as error:
            log.error("%s: not written: %s", tape.identity.serial, error)  # noqa: TRY400
            return host_error(error, writing=True)
    return Reply()


async def reset(tape: TapeState) -> None:
    """End all preventions; an ejected medium is not loaded by a reset, and none is moved."""
    async with tape.removal.changing:
        tape.removal.preventing.clear()
