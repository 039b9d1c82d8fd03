"""What lies where in a changer, and what a move makes of that: values, no file is touched."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.medium_changer import ElementType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhost_pvscsi.scsi.sense import SenseCode

    from .layout import Layout


@dataclass(frozen=True, slots=True)
class Lying:
    """A cartridge in an element."""

    file: str  #: its name in the changer's folder
    source: int | None = None  #: the slot that it was last in
    by_operator: bool = False  #: it was put there by hand


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a cartridge cannot be moved."""

    code: SenseCode  #: to a guest
    reason: str  #: to a person
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies in which element, by its address, and which cartridges lie in none."""

    lying: Mapping[int, Lying] = field(default_factory=dict)
    shelf: frozenset[str] = frozenset()

    def empty(self, those: range) -> int | None:
        """The first empty element of some."""
        return next((at for at in those if at not in self.lying), None)

    def without(self, address: int) -> Contents:
        """The same with an element empty, and its cartridge nowhere."""
        return replace(self, lying={at: one for at, one in self.lying.items() if at != address})

    def with_lying(self, address: int, one: Lying) -> Contents:
        """The same with a cartridge in an element, that lay on the shelf or nowhere."""
        return Contents({**self.lying, address: one}, self.shelf - {one.file})

    def shelved(self, address: int) -> Contents:
        """The same with the cartridge of an element on the shelf."""
        file = self.lying[address].file
        return replace(self.without(address), shelf=self.shelf | {file})


def move(
    layout: Layout, now: Contents, source: int, destination: int, *, by_operator: bool = False
) -> Contents | Refused:
    """Move what lies in `source` to `destination` (SMC-3, "MOVE MEDIUM command")."""
    refused = _unknown(layout, source, destination) or _empty(layout, now, source)
    if refused is not None:
        return refused
    if destination in now.lying:
        return full(layout, now, destination)
    moved = _moved(layout, now, source, destination, by_operator=by_operator)
    return now.without(source).with_lying(destination, moved)


def exchange(
    layout: Layout, now: Contents, source: int, first: int, second: int
) -> Contents | Refused:
    """Move what lies in `first` to `second`, and what lies in `source` to `first`.

    `second` may be `source`: the two change places (SMC-3, "EXCHANGE MEDIUM command").
    """
    refused = _unknown(layout, source, first, second)
    refused = refused or _empty(layout, now, source) or _empty(layout, now, first)
    if refused is not None:
        return refused
    if source == first or (second in now.lying and second != source):
        return full(layout, now, second if source != first else first)
    to_first = _moved(layout, now, source, first)
    to_second = _moved(layout, now, first, second)
    rest = now.without(source).without(first)
    return rest.with_lying(first, to_first).with_lying(second, to_second)


def _moved(
    layout: Layout, now: Contents, source: int, destination: int, *, by_operator: bool = False
) -> Lying:
    one = now.lying[source]
    from_slot = layout.kind_of(source) is ElementType.STORAGE
    to_portal = layout.kind_of(destination) is ElementType.IMPORT_EXPORT
    return replace(
        one, source=source if from_slot else one.source, by_operator=by_operator and to_portal
    )


def _empty(layout: Layout, now: Contents, address: int) -> Refused | None:
    return None if address in now.lying else empty(layout, address)


def _unknown(layout: Layout, *addresses: int) -> Refused | None:
    for address in addresses:
        if not layout.stores(address):
            return Refused(
                sense.INVALID_ELEMENT_ADDRESS, f"{layout.name(address)}: no cartridge can lie there"
            )
    return None


def empty(layout: Layout, address: int) -> Refused:
    """Refuse to move a cartridge that is not there."""
    return Refused(
        sense.MEDIUM_SOURCE_ELEMENT_EMPTY,
        f"{layout.name(address)} is empty",
        "vhost-pvscsi changer status shows what lies where",
    )


def full(layout: Layout, now: Contents, address: int) -> Refused:
    """Refuse to move a cartridge where another one lies."""
    return Refused(
        sense.MEDIUM_DESTINATION_ELEMENT_FULL,
        f"{layout.name(address)} is full: {now.lying[address].file} lies there",
        "vhost-pvscsi changer status shows what lies where",
    )
