"""What people do with a changer's cartridges: they import, export and move them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ConfigurationError, DeviceBusyError, DeviceError
from vhost_pvscsi.scsi.medium_changer import ElementType

from . import contents, moving
from .contents import Contents, Lying, Refused
from .handlers import REACHED, tell_moved, tell_reached
from .layout import parse_element

if TYPE_CHECKING:
    from .state import ChangerState


async def move(changer: ChangerState, source: str, destination: str) -> int:
    """Move a cartridge, named by its element or barcode, to an element; where it lies then.

    Raises:
        ConfigurationError: there is no such element or cartridge.
        DeviceError: it cannot be moved.
    """

    async def whole() -> int:
        async with changer.moving:
            begin, end = _find(changer, source), changer.layout.parse(destination)
            planned = moving.barred(changer, begin, end) or contents.move(
                changer.layout, changer.contents, begin, end, by_operator=True
            )
            file = changer.contents.lying[begin].file if begin in changer.contents.lying else ""
            await _carry_out(changer, planned)
            tell_moved(changer, file, begin, end, by_guest=False)
            return end

    return await moving.to_the_end(whole())


async def put_in(changer: ChangerState, cartridge: str, element: str | None, *, force: bool) -> int:
    """Put a cartridge of the folder that lies in no element into one; where it lies then.

    `cartridge` is its file's name or its barcode. With no `element` it is the first empty one for
    import and export. `force`: even if a guest prevents it.

    Raises:
        ConfigurationError: there is no such cartridge or element, or it lies somewhere already.
        DeviceBusyError: a guest prevents it.
        DeviceError: there is no room, or it cannot be kept.
    """

    async def whole() -> int:
        async with changer.moving:
            file = await _on_shelf(changer, cartridge)
            at = _room(changer) if element is None else changer.layout.parse(element)
            kind = _reached(changer, at, force=force)
            if at in changer.contents.lying:
                raise _error(contents.full(changer.layout, changer.contents, at))
            lying = Lying(file, by_operator=kind is ElementType.IMPORT_EXPORT)
            await _carry_out(changer, changer.contents.with_lying(at, lying))
            await tell_reached(changer, at)
            tell_moved(changer, file, None, at, by_guest=False)
            return at

    return await moving.to_the_end(whole())


async def take_out(changer: ChangerState, source: str, *, force: bool) -> str:
    """Take a cartridge, named by its element or barcode, out of its element; its file.

    It lies on the shelf then: its image stays in the folder.

    Raises:
        ConfigurationError: there is no such element or cartridge, or it lies in a drive.
        DeviceBusyError: a guest prevents it.
        DeviceError: the element is empty, or it cannot be kept.
    """

    async def whole() -> str:
        async with changer.moving:
            at = _find(changer, source)
            _reached(changer, at, force=force)
            if at not in changer.contents.lying:
                raise _error(contents.empty(changer.layout, at))
            file = changer.contents.lying[at].file
            await _carry_out(changer, changer.contents.shelved(at))
            await tell_reached(changer, at)
            tell_moved(changer, file, at, None, by_guest=False)
            return file

    return await moving.to_the_end(whole())


async def shelf(changer: ChangerState) -> list[str]:
    """The cartridges of the folder that lie in no element; raises as `Folder.images`."""
    lying = {one.file for one in changer.contents.lying.values()}
    return [file for file in await asyncio.to_thread(changer.folder.images) if file not in lying]


async def _on_shelf(changer: ChangerState, cartridge: str) -> str:
    found = await shelf(changer)
    for file in found:
        if cartridge in {file, changer.folder.barcode(file)}:
            return file
    for address, one in changer.contents.lying.items():
        if cartridge in {one.file, changer.folder.barcode(one.file)}:
            raise ConfigurationError(
                f"{cartridge} lies in {changer.layout.name(address)}",
                hint="changer move moves it",
            )
    raise ConfigurationError(
        f"{cartridge[:60]!r} is no cartridge of changer:{changer.folder.path}",
        hint="those that lie in no element: " + (", ".join(found[:8]) or "none")
        if found
        else "an image FILE.tap in that folder; vhost-pvscsi tape create makes one",
    )


def _room(changer: ChangerState) -> int:
    those = changer.layout.ranges[ElementType.IMPORT_EXPORT]
    if not those:
        raise ConfigurationError(
            "the changer has no element for import and export", hint="name a slot: slot:1"
        )
    at = changer.contents.empty(those)
    if at is None:
        raise _error(contents.full(changer.layout, changer.contents, those.start))
    return at


def _find(changer: ChangerState, text: str) -> int:
    """The element that is meant, by its name or by the barcode of what lies there."""
    if parse_element(text) is not None:
        return changer.layout.parse(text)
    for address, one in changer.contents.lying.items():
        if text in {changer.folder.barcode(one.file), one.file}:
            return address
    raise ConfigurationError(
        f"{text[:60]!r} is neither an element nor a cartridge in one",
        hint="slot:1, drive:0, import-export:1, or a barcode",
    )


def _reached(changer: ChangerState, address: int, *, force: bool) -> ElementType:
    kind = changer.layout.kind_of(address)
    if kind not in REACHED:
        raise ConfigurationError(
            f"{changer.layout.name(address)} cannot be reached by hand",
            hint="move the cartridge to slot:N or import-export:N first",
        )
    if changer.removal.preventing and not force:
        raise DeviceBusyError(
            f"changer:{changer.folder.path}: a guest prevents the removal of media",
            hint="end what uses the changer there, or force it",
        )
    return kind


async def _carry_out(changer: ChangerState, planned: Contents | Refused) -> None:
    refused = planned
    if isinstance(planned, Contents):
        carried = await moving.carry_out(changer, planned)
        if carried is None:
            return
        refused = carried
    assert isinstance(refused, Refused)
    raise _error(refused)


def _error(refused: Refused) -> DeviceError:
    return DeviceError(refused.reason, hint=refused.hint)
