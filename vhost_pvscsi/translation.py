"""From a guest's target and LUN to what is there: one immutable table per virtual host.

A table is never changed. `attach` and `detach` make the next one, with the next generation,
and the adapter swaps it whole, in Python and in the engine alike. Look-up is total: where
nothing is attached there is a unit that says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from .devices.absent import ABSENT_TARGET, ABSENT_UNIT
from .devices.presentation import PLAIN, Presentation
from .devices.well_known import WELL_KNOWN_UNIT
from .errors import ConfigurationError
from .identity import Address
from .scsi.luns import WELL_KNOWN_LUN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Mapping as ReadOnly

    from .devices.unit import LogicalUnit

#: The mapping id of an address at which nothing is attached; the engine uses it too.
NO_MAPPING = 0

#: Addresses named in a hint.
_HINTS = 5


@dataclass(frozen=True, slots=True)
class Mapping:
    """One address as a table has it: the unit there, and the LUNs beside it."""

    id: int  #: unique in the process; `NO_MAPPING` where nothing is attached
    generation: int  #: of the table that this was taken from
    address: Address
    unit: LogicalUnit
    siblings: tuple[int, ...]  #: LUNs of the same target, its own too, sorted
    presentation: Presentation = PLAIN  #: how the unit is shown here


@dataclass(frozen=True, slots=True)
class _Entry:
    id: int
    address: Address
    unit: LogicalUnit
    presentation: Presentation


@dataclass(frozen=True, slots=True)
class _Target:
    entries: ReadOnly[int, _Entry]  # by LUN
    luns: tuple[int, ...]  # sorted


_NO_TARGET = _Target(MappingProxyType({}), ())


@dataclass(frozen=True, slots=True)
class Table:
    """What is attached to one virtual host."""

    host: int
    generation: int = 1
    _targets: ReadOnly[int, _Target] = field(default_factory=dict)
    _by_id: ReadOnly[int, _Entry] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Mapping]:
        """All that is attached, by target and LUN."""
        for number in sorted(self._targets):
            target = self._targets[number]
            for lun in target.luns:
                yield self._mapping(target.entries[lun], target)

    def __len__(self) -> int:
        return len(self._by_id)

    def check_free(self, address: Address) -> None:
        """Check that a unit can be attached at an address.

        Raises:
            ConfigurationError: the address is another host's, or taken.
        """
        self._check_host(address)
        target = self._targets.get(address.target, _NO_TARGET)
        if address.lun in target.entries:
            raise ConfigurationError(
                f"virtual host {self.host} has {address} already: "
                f"{target.entries[address.lun].unit.name}",
                hint=f"detach it first, or attach at another LUN: {self._free(address, target)}",
            )

    def attach(
        self,
        address: Address,
        unit: LogicalUnit,
        mapping_id: int,
        presentation: Presentation = PLAIN,
    ) -> Table:
        """Make the table that has a unit at an address besides.

        Raises:
            ConfigurationError: as `check_free`.
        """
        self.check_free(address)
        target = self._targets.get(address.target, _NO_TARGET)
        if mapping_id == NO_MAPPING or mapping_id in self._by_id:
            msg = f"mapping id {mapping_id} is not new"
            raise ValueError(msg)
        entry = _Entry(mapping_id, address, unit, presentation)
        return self._with(
            address.target,
            _Target({**target.entries, address.lun: entry}, _inserted(target.luns, address.lun)),
            {**self._by_id, mapping_id: entry},
        )

    def find(self, address: Address) -> Mapping:
        """Look up what an operator means by an address.

        Raises:
            ConfigurationError: nothing is attached there, or the address is another host's.
        """
        self._check_host(address)
        target = self._targets.get(address.target, _NO_TARGET)
        entry = target.entries.get(address.lun)
        if entry is None:
            near = [str(Address(*_place(address), lun)) for lun in target.luns[:_HINTS]]
            raise ConfigurationError(
                f"virtual host {self.host} has nothing at {address}",
                hint=f"target {address.target} has {', '.join(near) or 'nothing at all'}"
                + (", ..." if len(target.luns) > _HINTS else ""),
            )
        return self._mapping(entry, target)

    def detach(self, address: Address) -> Table:
        """Make the table that has nothing at an address.

        Raises:
            ConfigurationError: as `find`.
        """
        gone = self.find(address)
        target = self._targets[address.target]
        return self._with(
            address.target,
            _Target(
                {lun: entry for lun, entry in target.entries.items() if lun != address.lun},
                tuple(lun for lun in target.luns if lun != address.lun),
            ),
            {key: entry for key, entry in self._by_id.items() if key != gone.id},
        )

    def resolve(self, target: int, lun: int) -> Mapping:
        """Look up what a guest sees at a target and LUN (SAM-5 4.7; virtio 1.2, 5.6.6.1)."""
        known = self._targets.get(target, _NO_TARGET)
        entry = known.entries.get(lun)
        if entry is None:
            return self._absent(target, lun, known)
        return self._mapping(entry, known)

    def by_id(self, mapping_id: int, target: int, lun: int) -> Mapping:
        """Look up the mapping that the engine resolved a request to.

        A mapping that has been detached since gives an absent unit, also where another unit
        has come to its address: a request does not change units on its way.
        """
        entry = self._by_id.get(mapping_id)
        if entry is None:
            return self._absent(target, lun, self._targets.get(target, _NO_TARGET))
        return self._mapping(entry, self._targets[entry.address.target])

    def _mapping(self, entry: _Entry, target: _Target) -> Mapping:
        return Mapping(
            entry.id,
            self.generation,
            entry.address,
            entry.unit,
            target.luns,
            entry.presentation,
        )

    def _absent(self, target: int, lun: int, known: _Target) -> Mapping:
        unit: LogicalUnit = ABSENT_UNIT if known.luns else ABSENT_TARGET
        if known.luns and lun == WELL_KNOWN_LUN:
            unit = WELL_KNOWN_UNIT
        address = Address(self.host, 0, target, lun)
        return Mapping(NO_MAPPING, self.generation, address, unit, known.luns)

    def _with(self, number: int, target: _Target, by_id: ReadOnly[int, _Entry]) -> Table:
        targets = {known: value for known, value in self._targets.items() if known != number}
        if target.luns:
            targets[number] = target
        return Table(self.host, self.generation + 1, targets, by_id)

    def _check_host(self, address: Address) -> None:
        if address.host != self.host:
            raise ConfigurationError(
                f"{address} is not of virtual host {self.host}",
                hint=f"its addresses begin with {self.host}:",
            )

    def _free(self, address: Address, target: _Target) -> Address:
        lun = next(lun for lun in range(len(target.luns) + 1) if lun not in target.entries)
        return Address(*_place(address), lun)


def _place(address: Address) -> tuple[int, int, int]:
    return address.host, address.channel, address.target


def _inserted(luns: tuple[int, ...], lun: int) -> tuple[int, ...]:
    return tuple(sorted((*luns, lun)))
