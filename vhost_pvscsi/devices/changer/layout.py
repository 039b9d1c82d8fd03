"""The elements of a changer: how many there are of each kind, and what each is called."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.scsi.medium_changer import ElementType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vhost_pvscsi.identity import Address

#: The first address of each kind, where libraries of tapes have them.
_FIRST = {
    ElementType.MEDIUM_TRANSPORT: 1,
    ElementType.IMPORT_EXPORT: 16,
    ElementType.DATA_TRANSFER: 256,
    ElementType.STORAGE: 1024,
}
#: Most elements of each kind: the next one begins behind them.
MOST = {
    ElementType.MEDIUM_TRANSPORT: 15,
    ElementType.IMPORT_EXPORT: 240,
    ElementType.DATA_TRANSFER: 768,
    # What a guest asks of all elements is answered before anybody else's commands are.
    ElementType.STORAGE: 4096,
}

#: What people call them. Slots count from 1 and drives from 0, as mtx has it.
_WORDS = {
    ElementType.MEDIUM_TRANSPORT: ("pick", 1),
    ElementType.IMPORT_EXPORT: ("import-export", 1),
    ElementType.DATA_TRANSFER: ("drive", 0),
    ElementType.STORAGE: ("slot", 1),
}
_KINDS = {word: kind for kind, (word, _) in _WORDS.items()}


@dataclass(frozen=True, slots=True)
class Layout:
    """How many elements of each kind a changer has, and where its drives are."""

    slots: int
    import_export: int = 1
    picks: int = 1
    drives: tuple[Address, ...] = ()  #: LUNs that are `tape:`
    #: The element addresses of each kind, in their order.
    ranges: Mapping[ElementType, range] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        numbers = {
            ElementType.MEDIUM_TRANSPORT: self.picks,
            ElementType.IMPORT_EXPORT: self.import_export,
            ElementType.DATA_TRANSFER: len(self.drives),
            ElementType.STORAGE: self.slots,
        }
        ranges = {kind: range(first, first + numbers[kind]) for kind, first in _FIRST.items()}
        object.__setattr__(self, "ranges", ranges)

    def kind_of(self, address: int) -> ElementType | None:
        """What kind of element has an address; None: there is none."""
        return next((kind for kind, those in self.ranges.items() if address in those), None)

    def stores(self, address: int) -> bool:
        """Whether a cartridge can lie at an address."""
        return self.kind_of(address) not in {None, ElementType.MEDIUM_TRANSPORT}

    def drive(self, address: int) -> Address | None:
        """Where the drive of an element is attached; None: the element is no drive."""
        those = self.ranges[ElementType.DATA_TRANSFER]
        return self.drives[address - those.start] if address in those else None

    def name(self, address: int) -> str:
        """What people call an element."""
        kind = self.kind_of(address)
        if kind is None:
            return f"element {address}"
        word, first = _WORDS[kind]
        return f"{word}:{address - _FIRST[kind] + first}"

    def parse(self, text: str) -> int:
        """The address of an element that people call so.

        Raises:
            ConfigurationError: there is no such element.
        """
        found = parse_element(text)
        if found is None:
            raise ConfigurationError(f"{text!r} is no element", hint=ELEMENT_HINT)
        kind, number = found
        those = self.ranges[kind]
        word, first = _WORDS[kind]
        address = _FIRST[kind] + number - first
        if address not in those:
            last = first + len(those) - 1
            there = f"{word}:{first} to {word}:{last}" if those else f"it has no {word}"
            raise ConfigurationError(f"the changer has no {text}", hint=there)
        return address


#: How an element is called.
ELEMENT_HINT = "slot:1, drive:0 or import-export:1"


def parse_element(text: str) -> tuple[ElementType, int] | None:
    """Read `slot:3`; None: it has not that form."""
    match = re.fullmatch(r"([a-z-]+):([0-9]{1,5})", text, re.ASCII)
    if match is None or match[1] not in _KINDS:
        return None
    return _KINDS[match[1]], int(match[2])
