"""Moves of cartridges, carried out: drives emptied and filled, what lies where kept.

A move is a change from what lies where to what shall; the drives that differ are unloaded first,
then the new one's is put in, then all is kept, and only then guests can use it. What fails is
undone, so that nothing has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from vhost_pvscsi.devices.tape import loading
from vhost_pvscsi.devices.tape.cartridge import Cartridge
from vhost_pvscsi.errors import DeviceBusyError, DeviceError, VhostPvscsiError
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.medium_changer import ElementType

from .contents import Contents, Refused

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from vhost_pvscsi.devices.pdev import LunSpec
    from vhost_pvscsi.devices.tape.loading import Taken
    from vhost_pvscsi.devices.tape.state import TapeState
    from vhost_pvscsi.devices.tape.tape import EmulatedTape

    from .state import ChangerState

log = logging.getLogger(__name__)

Result = TypeVar("Result")


async def to_the_end(work: Coroutine[None, None, Result]) -> Result:
    """Do what must not stop half way, even if whoever asked for it is told to end."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


@dataclass(slots=True)
class _Change:
    """A drive in which something else shall be than is."""

    element: int
    tape: EmulatedTape
    before: str | None
    after: str | None

    @property
    def state(self) -> TapeState:
        return self.tape.state


def barred(changer: ChangerState, *addresses: int) -> Refused | None:
    """Refuse to move anything to or from an element whose door is open."""
    for address in addresses:
        if address in changer.opened:
            return Refused(
                sense.MEDIUM_MAGAZINE_NOT_ACCESSIBLE,
                f"{changer.layout.name(address)} is open",
                "a guest has opened it; an import or export through it closes it",
            )
    return None


async def carry_out(changer: ChangerState, after: Contents) -> Refused | None:
    """Make what lies where so; what is refused has changed nothing. Called with `moving`."""
    changes = list(_changes(changer, after))
    refused = await _vanished(changer, after)
    for change in changes if refused is None else ():
        if isinstance(change, Refused):
            return change
    if refused is not None:
        return refused
    drives = [change for change in changes if isinstance(change, _Change)]
    async with contextlib.AsyncExitStack() as held:
        for drive in drives:
            await held.enter_async_context(drive.state.removal.changing)
        taken: dict[str, Taken] = {}
        async with contextlib.AsyncExitStack() as undo:
            refused = await _do(changer, drives, taken, after, undo)
            if refused is not None:
                return refused
            undo.pop_all()
        changer.contents = after
        for drive in drives:
            if drive.after is not None:
                await loading.make_ready(drive.state)
        filled = {drive.after for drive in drives}
        for file, one in taken.items():
            if file not in filled:
                await asyncio.to_thread(one.cartridge.close)
    return None


def _changes(changer: ChangerState, after: Contents) -> Iterator[_Change | Refused]:
    for element in changer.layout.ranges[ElementType.DATA_TRANSFER]:
        old, new = (held.lying.get(element) for held in (changer.contents, after))
        before, then = (one.file if one else None for one in (old, new))
        if before == then:
            continue
        found = changer.drive_of(element)
        if found is None:
            yield Refused(
                sense.DATA_TRANSFER_DEVICE_REMOVED,
                f"{changer.layout.name(element)} is not there",
                f"attach tape: at {changer.layout.drive(element)}",
            )
        else:
            yield _Change(element, found.tape, before, then)


async def _vanished(changer: ChangerState, after: Contents) -> Refused | None:
    """Look for the images of cartridges that are to be moved; one that has gone lies nowhere."""
    layout, now = changer.layout, changer.contents
    for address, one in now.lying.items():
        stays = (then := after.lying.get(address)) is not None and then.file == one.file
        if stays or layout.drive(address) is not None:
            continue
        if not await asyncio.to_thread(changer.folder.is_there, one.file):
            await forget(changer, address)
            return Refused(
                sense.MEDIUM_SOURCE_ELEMENT_EMPTY,
                f"{one.file} is not there any more: {layout.name(address)} is empty",
            )
    return None


async def forget(changer: ChangerState, address: int) -> None:
    """Have an element empty whose cartridge's image has gone. Called with `moving`."""
    changer.folder.tell_vanished(address, changer.contents.lying[address])
    changer.contents = changer.contents.without(address)
    try:
        await asyncio.to_thread(changer.folder.keep, changer.contents)
    except OSError as error:
        # The next daemon finds out by itself.
        log.warning("changer:%s: was not kept: %s", changer.folder.path, error)


async def _do(
    changer: ChangerState,
    drives: list[_Change],
    taken: dict[str, Taken],
    after: Contents,
    undo: contextlib.AsyncExitStack,
) -> Refused | None:
    for drive in drives:
        if drive.before is not None:
            refused = await _empty(changer, drive, taken, undo)
            if refused is not None:
                return refused
    for drive in drives:
        if drive.after is not None:
            refused = await _fill(changer, drive, taken, undo)
            if refused is not None:
                return refused
    try:
        await asyncio.to_thread(changer.folder.keep, after)
    except OSError as error:
        log.error("changer:%s: was not kept: %s", changer.folder.path, error)  # noqa: TRY400
        return Refused(
            sense.INTERNAL_TARGET_FAILURE,
            f"what lies where could not be kept: {error.strerror or error}",
        )
    return None


async def _empty(
    changer: ChangerState,
    drive: _Change,
    taken: dict[str, Taken],
    undo: contextlib.AsyncExitStack,
) -> Refused | None:
    try:
        one = await loading.take_out(drive.state, changer.layout.name(drive.element))
    except DeviceBusyError as error:
        return Refused(sense.MEDIUM_REMOVAL_PREVENTED, str(error), "end what uses the drive there")
    except DeviceError as error:
        return Refused(sense.MEDIA_LOAD_OR_EJECT_FAILED, str(error), error.hint)
    if one is not None and drive.before is not None:
        taken[drive.before] = one
        undo.push_async_callback(loading.give_back, drive.state, one)
    return None


async def _fill(
    changer: ChangerState,
    drive: _Change,
    taken: dict[str, Taken],
    undo: contextlib.AsyncExitStack,
) -> Refused | None:
    assert drive.after is not None  # of those that shall be filled
    carried = taken.get(drive.after)
    cartridge = carried.cartridge if carried is not None else None
    try:
        if cartridge is None:
            spec = _spec(changer, drive.tape, drive.after)
            cartridge = await asyncio.to_thread(Cartridge.open, spec)
            undo.callback(cartridge.close)
            barcode = changer.folder.barcode(drive.after)
            _label(cartridge, barcode)
        await loading.put_in(drive.state, cartridge)
    except VhostPvscsiError as error:
        log.error("changer:%s: %s", changer.folder.path, error.line())  # noqa: TRY400
        return Refused(sense.MEDIA_LOAD_OR_EJECT_FAILED, str(error), error.hint)
    undo.push_async_callback(_take_away, drive.state)
    return None


async def _take_away(tape: TapeState) -> None:
    """Undo `put_in`: no guest could use it yet."""
    await loading.remove(tape)
    tape.cartridge = None


def _label(cartridge: Cartridge, barcode: str) -> None:
    """Have the cartridge's memory say its barcode, as libraries do; it is kept with the load."""
    if not cartridge.geometry.read_only and cartridge.memory.barcode != barcode:
        cartridge.memory.label(barcode)


def _spec(changer: ChangerState, tape: EmulatedTape, file: str) -> LunSpec:
    settings = changer.folder.settings
    spec = tape.cartridge_spec(changer.folder.path / file, read_only=file in settings.protected)
    if settings.capacity is None:
        return spec
    return replace(spec, options=replace(spec.options, capacity=settings.capacity))


async def load_drives(changer: ChangerState) -> None:
    """Put into drives what lies there: a drive, or the changer, has been attached."""
    async with changer.moving:
        for element in changer.layout.ranges[ElementType.DATA_TRANSFER]:
            one, found = changer.contents.lying.get(element), changer.drive_of(element)
            if one is None or found is None:
                continue
            async with found.tape.state.removal.changing, contextlib.AsyncExitStack() as undo:
                if found.tape.state.cartridge is not None:
                    continue
                drive = _Change(element, found.tape, None, one.file)
                # The log says what is wrong; the element is told as one with an exception.
                if await _fill(changer, drive, {}, undo) is None:
                    undo.pop_all()
                    await loading.make_ready(drive.state)
