"""What operators are told of what guests and devices do, as events of the control socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .io_errors import IoErrors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vhost_pvscsi.adapter import Adapter
    from vhost_pvscsi.denials import Denial
    from vhost_pvscsi.devices.changer.state import Moved
    from vhost_pvscsi.devices.media import TakesMedia
    from vhost_pvscsi.identity import Address

    from .control.publisher import Publisher


class Announcements:
    """Turns what has happened into events, from wherever it is noticed."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._io_errors = IoErrors(publisher)

    def front_end(self, host: int, came: bool) -> None:
        """A front-end of a virtual host has come, or gone."""
        self._publisher.publish("FRONTEND_CONNECTED" if came else "FRONTEND_LOST", host=host)

    def denied(self, denial: Denial) -> None:
        """The policy of a LUN has refused a command."""
        self._publisher.publish(
            "COMMAND_DENIED",
            vdev=str(denial.address),
            command=denial.command,
            rule=denial.rule,
            unsaid=denial.unsaid,
        )

    def failed(self, adapter: Adapter, mapping: int) -> None:
        """The host's I/O has failed at a mapping; told until no more does."""
        self._io_errors.begin(adapter, mapping)

    def cartridge_moved(self, changer: Address, moved: Moved) -> None:
        """A changer has moved a cartridge."""
        self._publisher.publish(
            "CARTRIDGE_MOVED",
            vdev=str(changer),
            cartridge=moved.cartridge,
            barcode=moved.barcode,
            source=moved.source,
            destination=moved.destination,
            by="guest" if moved.by_guest else "operator",
        )

    def medium_changed(self, places: Sequence[Address], unit: TakesMedia, by: str) -> None:
        """A medium was put in, taken out, loaded or ejected, `by` "guest" or "operator"."""
        for address in places:
            self._publisher.publish(
                "MEDIUM_CHANGED",
                vdev=str(address),
                medium=str(unit.medium_path) if unit.medium_path else None,
                loaded=unit.loaded,
                by=by,
            )
