"""Cartridges as they come and go: LOAD UNLOAD, and hands that reach into the drive.

What is not said to take `removal.changing` by itself is called by whoever holds it. A drive whose
cartridge is out is stopped, so that no command of the medium is on its way.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.host_errors import host_error
from vhost_pvscsi.errors import DeviceBusyError, DeviceError
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.request import Reply, Request

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb

    from .cartridge import Cartridge
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
        before = tape.removal.ejected
        reply = await (_load(tape, request.nexus) if cdb["load"] else unload(tape))
        if tape.removal.ejected != before:
            tape.tell_media("guest")
    return reply


async def _load(tape: TapeState, nexus: str) -> Reply:
    if tape.cartridge is None:
        return sense.check_condition(sense.MEDIUM_NOT_PRESENT)
    if not tape.removal.ejected:
        return await _rest(tape)
    await make_ready(tape, but=nexus)
    return Reply()


async def make_ready(tape: TapeState, *, but: str | None = None) -> None:
    """Let guests use the cartridge that is in the drive.

    Everybody is told that it may be another one (SPC-5, 28h/00h), `but` who loaded it.
    """
    await tape.attentions.establish(sense.MEDIUM_MAY_HAVE_CHANGED, but=but)
    await asyncio.to_thread(tape.begin_load)
    await make_ready_again(tape)


async def make_ready_again(tape: TapeState) -> None:
    """Let guests use the cartridge that they could use before: nothing has changed for them."""
    tape.removal.ejected = False
    await tape.set_stopped(False)


async def unload(tape: TapeState, *, force: bool = False) -> Reply:
    """Make the cartridge stable and let no guest use it; GOOD where none could.

    Whoever prevents its removal keeps it in, unless `force`.
    """
    if tape.removal.ejected:
        return Reply()
    if tape.removal.preventing and not force:
        tape.prevented += 1
        return sense.check_condition(sense.MEDIUM_REMOVAL_PREVENTED)
    await tape.set_stopped(True)
    reply = await _rest(tape)
    if reply.sense:
        # What could not be made stable stays where it is.
        await tape.set_stopped(False)
    else:
        await asyncio.to_thread(tape.end_load)
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


@dataclass(frozen=True, slots=True)
class Taken:
    """A cartridge that was taken out of a drive; whoever has it closes it."""

    cartridge: Cartridge
    usable: bool  #: guests could use it


async def take_out(tape: TapeState, name: str, *, force: bool = False) -> Taken | None:
    """Take out what is in the drive, that errors call `name`; None: there is nothing.

    What guests use is unloaded first, as libraries do it. What fails has changed nothing.

    Raises:
        DeviceBusyError: a guest prevents the removal, and `force` is not given.
        DeviceError: what was written could not be made stable.
    """
    usable = not tape.removal.ejected
    refused = await unload(tape, force=force)
    if refused.sense and tape.removal.preventing and not force:
        raise DeviceBusyError(
            f"{name}: a guest prevents the removal of the medium",
            hint="end what uses it there, or force it",
        )
    failed = DeviceError(
        f"{name}: what was written could not be made stable; the medium stays",
        hint="the daemon's log says why",
    )
    if refused.sense:
        raise failed
    if tape.cartridge is None:
        return None
    try:
        await remove(tape)
    except OSError as error:
        log.error("%s: not written: %s", name, error)  # noqa: TRY400
        if usable:
            await make_ready_again(tape)
        raise failed from error
    taken, tape.cartridge = tape.cartridge, None
    return Taken(taken, usable)


async def give_back(tape: TapeState, taken: Taken) -> None:
    """Undo `take_out`; raises as `put_in`."""
    await put_in(tape, taken.cartridge)
    if taken.usable:
        await make_ready_again(tape)


async def remove(tape: TapeState) -> None:
    """Let the engine's drive be empty again that no guest can use.

    Raises:
        OSError: what was written could not be made stable. It stays.
    """
    async with tape.turn:
        await asyncio.to_thread(tape.medium.remove)


async def put_in(tape: TapeState, cartridge: Cartridge) -> None:
    """Put a cartridge into the empty drive; no guest can use it yet.

    Raises:
        ConfigurationError: it is no tape image, or damaged. The drive is empty still.
        DeviceError: it cannot be read.
    """
    async with tape.turn:
        await asyncio.to_thread(cartridge.put_into, tape.medium)
        tape.cartridge = cartridge
        await tape.settle()


async def reset(tape: TapeState) -> None:
    """End all preventions, and a VERIFY that goes on behind its answer.

    An ejected medium is not loaded by a reset, and none is moved.
    """
    await asyncio.to_thread(tape.medium.end_behind)
    async with tape.removal.changing:
        tape.removal.preventing.clear()
