"""What should be there: what is configured, and what operators did since; and what is.

docs/config.md, "Who wins", has the rules in an operator's words.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from vhost_pvscsi.errors import ConfigurationError, DeviceError
from vhost_pvscsi.identity import Address
from vhost_pvscsi.state import Record, Records, Store

from .plan import Plan, PlannedHost, PlannedLun, plan_host, plan_lun

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from .following.rules import Rule

log = logging.getLogger(__name__)

_Key = TypeVar("_Key", int, Address)


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that should be there and is not."""

    wanted: str  #: what it was asked for as
    problem: str


@dataclass(frozen=True, slots=True)
class Automatic:
    """A LUN that a rule has attached."""

    rule: Rule
    lun: PlannedLun


class Roster:
    """Keeps it, in the store too. Who changes anything holds `changing`."""

    def __init__(self, configured: Plan, store: Store, *, read_only: bool = False) -> None:
        self.changing = asyncio.Lock()
        self.configured = configured
        self.hosts: dict[int, PlannedHost] = {}  #: those that are there
        self.luns: dict[Address, PlannedLun] = {}  #: those that are attached
        self.missing_hosts: dict[int, Missing] = {}
        self.missing: dict[Address, Missing] = {}
        self.automatic: dict[Address, Automatic] = {}  #: of `luns`, those that rules have made
        self._store = store
        self._transient = Records({}, {})  # as records, for this daemon alone
        self._read_only = read_only

    def plan_lun(self, address: Address, text: str) -> PlannedLun:
        """Make a LUN of what an operator asked for.

        Raises:
            ConfigurationError: it cannot be used.
        """
        lun = plan_lun(address, text, Path.cwd())
        return Plan(luns={address: lun}).read_only().luns[address] if self._read_only else lun

    def wanted(self) -> Plan:
        """What should be there; what makes no sense any more is entered as missing."""
        hosts = dict(self.configured.hosts)
        luns = {address: made.lun for address, made in self.automatic.items()}
        luns.update(self.configured.luns)
        for records in (self._store.records, self._transient):
            for number, host_record in records.hosts.items():
                hosts.pop(number, None)
                if host_record.wanted is not None:
                    with self._entering(self.missing_hosts, number, host_record):
                        value = cast("Mapping[str, object]", host_record.wanted)
                        hosts[number] = plan_host(number, value)
            for address, record in records.luns.items():
                luns.pop(address, None)
                if record.wanted is not None:
                    with self._entering(self.missing, address, record):
                        luns[address] = self.plan_lun(address, str(record.wanted))
        for address, lun in luns.items():
            if address.host in self.missing_hosts:
                problem = f"virtual host {address.host} is missing"
                self.missing[address] = Missing(lun.text, problem)
        there = {at: lun for at, lun in luns.items() if at.host in hosts}
        plan = Plan(hosts, there, self.configured.rules)
        return plan.read_only() if self._read_only else plan

    async def settle(self, configured: Plan, *, forget: bool = False) -> None:
        """Go by a new configuration: what operators did to what has changed in it is void.

        With `forget` all of it is.

        Raises:
            DeviceError: it cannot be kept so; nothing has changed.
        """
        nothing = Records({}, {})
        passing = nothing if forget else _valid(self._transient, configured)
        lasting = nothing if forget else _valid(self._store.records, configured)
        await self._keep(lasting)
        self.configured, self._transient = configured, passing
        self.automatic = {
            address: made
            for address, made in self.automatic.items()
            if made.rule in configured.rules
        }

    @contextlib.asynccontextmanager
    async def host_change(
        self, number: int, host: PlannedHost | None, *, transient: bool = False
    ) -> AsyncIterator[None]:
        """Remember that a host shall be so, or be gone with its LUNs, if what is done here works.

        Raises:
            DeviceError: it cannot be kept.
        """
        configured = self.configured.hosts.get(number)
        record = _record(
            host.value if host else None, configured.value if configured else None, always=transient
        )
        gone = {} if host else self._gone(number)
        async with self._remembering({number: record}, gone, transient=transient):
            yield

    @contextlib.asynccontextmanager
    async def lun_change(
        self, address: Address, lun: PlannedLun | None, *, transient: bool = False
    ) -> AsyncIterator[None]:
        """Remember that a LUN shall be so, or be gone, if what is done here works.

        Raises:
            DeviceError: it cannot be kept.
        """
        configured = self.configured.luns.get(address)
        record = _record(
            lun.text if lun else None, configured.text if configured else None, always=transient
        )
        async with self._remembering({}, {address: record}, transient=transient):
            yield

    def _gone(self, number: int) -> dict[Address, Record | None]:
        """What is to be remembered of the LUNs of a host that goes: that they went with it."""
        gone: dict[Address, Record | None] = {
            address: None
            for address in {**self._store.records.luns, **self._transient.luns}
            if address.host == number
        }
        for address, lun in self.configured.luns.items():
            if address.host == number:
                gone[address] = Record(None, lun.text)
        return gone

    @contextlib.asynccontextmanager
    async def _remembering(
        self,
        hosts: Mapping[int, Record | None],
        luns: Mapping[Address, Record | None],
        *,
        transient: bool,
    ) -> AsyncIterator[None]:
        lasting, passing = self._store.records, self._transient
        if transient:
            # Over what is kept, even where that is as configured.
            self._transient = _changed(passing, hosts, luns)
        else:
            # Kept before it is in force: who was told that it is done finds it so again.
            await self._keep(_changed(lasting, hosts, luns))
            self._transient = _changed(passing, dict.fromkeys(hosts), dict.fromkeys(luns))
        try:
            yield
        except BaseException:
            self._transient = passing
            try:
                await self._keep(lasting)
            except DeviceError as error:
                log.error("%s", error)  # noqa: TRY400 -- what went wrong first is raised
            raise

    async def _keep(self, records: Records) -> None:
        try:
            await asyncio.to_thread(self._store.keep, records)
        except OSError as error:
            raise DeviceError(
                f"what is attached cannot be kept: {error.strerror or error}",
                hint="make room in the state directory, or ask for it with --transient",
            ) from error

    @contextlib.contextmanager
    def _entering(self, missing: dict[_Key, Missing], key: _Key, record: Record) -> Iterator[None]:
        try:
            yield
        except ConfigurationError as error:
            missing[key] = Missing(str(record.wanted), str(error))


def _record(wanted: object | None, configured: object | None, *, always: bool) -> Record | None:
    """What is to be remembered; nothing, where it is as configured."""
    return Record(wanted, configured) if always or wanted != configured else None


def _changed(
    records: Records,
    hosts: Mapping[int, Record | None],
    luns: Mapping[Address, Record | None],
) -> Records:
    return Records(_laid_over(records.hosts, hosts), _laid_over(records.luns, luns))


def _laid_over(
    records: Mapping[_Key, Record], changes: Mapping[_Key, Record | None]
) -> dict[_Key, Record]:
    laid = {**records, **changes}
    return {key: record for key, record in laid.items() if record is not None}


def _valid(records: Records, configured: Plan) -> Records:
    hosts = {number: host.value for number, host in configured.hosts.items()}
    luns = {address: lun.text for address, lun in configured.luns.items()}
    return Records(_still(records.hosts, hosts, "host"), _still(records.luns, luns, "LUN"))


def _still(
    records: Mapping[_Key, Record], configured: Mapping[_Key, object], what: str
) -> dict[_Key, Record]:
    valid = {}
    for key, record in records.items():
        if record.configured == configured.get(key):
            valid[key] = record
        else:
            log.warning(
                "%s %s: its configuration has changed since an operator %s it: the configuration"
                " holds",
                what,
                key,
                "attached" if record.wanted is not None else "detached",
            )
    return valid
