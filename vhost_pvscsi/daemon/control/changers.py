"""What carries out the commands of the control socket that are about changers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vhost_pvscsi.devices.changer import by_hand, reports
from vhost_pvscsi.scsi import sense

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vhost_pvscsi.devices.changer.state import ChangerState
    from vhost_pvscsi.identity import Address
    from vhost_pvscsi.scsi.medium_changer import Element

    from .operator import Operator

#: Why a drive cannot be used, by additional sense code and qualifier.
_PROBLEMS = {
    (code.asc, code.ascq): text
    for code, text in (
        (sense.DATA_TRANSFER_DEVICE_REMOVED, "there is no tape: at its address"),
        (sense.MEDIA_LOAD_OR_EJECT_FAILED, "the cartridge could not be loaded"),
    )
}


async def _status(operator: Operator, vdev: Address) -> dict[str, Any]:
    changer = operator.changer(vdev).state
    return {
        "elements": [_describe(changer, element) for element in reports.elements(changer)],
        "shelf": await by_hand.shelf(changer),
    }


def _describe(changer: ChangerState, element: Element) -> dict[str, Any]:
    layout = changer.layout
    problem = _PROBLEMS.get(element.exception) if element.exception is not None else None
    if element.address in changer.opened:
        problem = "a guest has opened it"
    lying = changer.contents.lying.get(element.address)
    drive = layout.drive(element.address)
    return {
        "element": layout.name(element.address),
        "address": element.address,
        "cartridge": lying.file if lying is not None else None,
        "barcode": element.volume,
        "source": layout.name(element.source) if element.source is not None else None,
        "by-operator": element.by_operator,
        "vdev": str(drive) if drive is not None else None,
        "problem": problem,
    }


async def _import(
    operator: Operator, vdev: Address, cartridge: str, element: str | None, force: bool
) -> dict[str, Any]:
    changer = operator.changer(vdev).state
    at = await by_hand.put_in(changer, cartridge, element, force=force)
    return {"element": changer.layout.name(at)}


async def _export(operator: Operator, vdev: Address, source: str, force: bool) -> dict[str, Any]:
    return {"cartridge": await by_hand.take_out(operator.changer(vdev).state, source, force=force)}


async def _move(operator: Operator, vdev: Address, source: str, destination: str) -> dict[str, Any]:
    await by_hand.move(operator.changer(vdev).state, source, destination)
    return {}


#: By name of command; each takes the operator, and the arguments by name.
HANDLERS: dict[str, Callable[..., Awaitable[object]]] = {
    "query-changer": _status,
    "changer-import": _import,
    "changer-export": _export,
    "changer-move": _move,
}
