"""What has become of followed devices: those we know of beside those that there are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from vhost_pvscsi.discovery.device import HostDevice

_Who = TypeVar("_Who")


@dataclass(frozen=True, slots=True)
class Followed(Generic[_Who]):
    """Somebody who has a device, or waits for it to come back."""

    who: _Who
    device: HostDevice  #: as it was when it was had last
    lost: bool


@dataclass(frozen=True, slots=True)
class Lost(Generic[_Who]):
    """A device has gone."""

    who: _Who


@dataclass(frozen=True, slots=True)
class Returned(Generic[_Who]):
    """A device has come back, perhaps elsewhere."""

    who: _Who
    device: HostDevice


def compare(
    followed: Iterable[Followed[_Who]], there: Sequence[HostDevice]
) -> list[Lost[_Who] | Returned[_Who]]:
    """Find out who has lost a device, and whose has come back; both, if it went and came.

    Several who had the same device get the same one back; nobody gets one that another has.
    """
    present = {device.presence for device in there}
    followed = list(followed)
    taken = {
        one.device.presence for one in followed if not one.lost and one.device.presence in present
    }
    chosen: dict[object, HostDevice] = {}
    found: list[Lost[_Who] | Returned[_Who]] = []
    for one in followed:
        if one.device.presence in taken and not one.lost:
            continue
        if not one.lost:
            found.append(Lost(one.who))
        had = one.device.presence
        again = chosen.get(had) or _find(one.device, there, taken)
        if again is not None:
            chosen[had] = again
            taken.add(again.presence)
            found.append(Returned(one.who, again))
    return found


def _find(
    device: HostDevice, there: Sequence[HostDevice], taken: Container[object]
) -> HostDevice | None:
    return next(
        (
            each
            for each in there
            # Until it has its node it is not there yet.
            if each.nodes.sg and each.presence not in taken and each.is_again(device)
        ),
        None,
    )
