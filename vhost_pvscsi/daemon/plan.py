"""What should be there: virtual hosts by number, LUNs by address, rules that make more."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vhost_pvscsi.control.commands import HOST_OPTIONS
from vhost_pvscsi.devices.pdev import LunSpec, absolute_pdev, parse_pdev
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import MAX_REQUEST_QUEUES

from .sockets import SocketSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vhost_pvscsi.identity import Address

    from .following.rules import Rule


@dataclass(frozen=True, slots=True)
class PlannedHost:
    """A virtual host that should be there."""

    spec: SocketSpec
    value: Mapping[str, object]  #: as kept: the arguments of host-attach, as JSON
    place: str = field(default="", compare=False)  #: where it was asked for, for messages


@dataclass(frozen=True, slots=True)
class PlannedLun:
    """A LUN that should be there."""

    spec: LunSpec
    text: str  #: `PDEV[,option...]` with absolute paths: as kept
    place: str = field(default="", compare=False)  #: where it was asked for, for messages


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it."""

    hosts: Mapping[int, PlannedHost] = field(default_factory=dict)
    luns: Mapping[Address, PlannedLun] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()  #: by which devices of the host are attached, the first that fits

    def under(self, other: Plan) -> Plan:
        """Lay another plan over this one: where both name a host or an address, `other` wins."""
        return Plan(
            {**self.hosts, **other.hosts},
            {**self.luns, **other.luns},
            (*self.rules, *other.rules),
        )

    def read_only(self) -> Plan:
        """Make every LUN of it read-only."""
        return Plan(
            self.hosts,
            {
                address: dataclasses.replace(lun, spec=read_only(lun.spec))
                for address, lun in self.luns.items()
            },
            self.rules,
        )


def read_only(spec: LunSpec) -> LunSpec:
    """Make a LUN read-only."""
    return dataclasses.replace(spec, options=dataclasses.replace(spec.options, read_only=True))


def plan_host(number: int, value: Mapping[str, object], place: str = "") -> PlannedHost:
    """Make a virtual host of the arguments of host-attach, as JSON or TOML has them.

    Raises:
        ConfigurationError: one of them is missing or cannot be used.
    """
    known = {option.name: option for option in HOST_OPTIONS}
    for option in HOST_OPTIONS:
        if option.required and option.name not in value:
            raise ConfigurationError(f"{option.name} is missing", hint=option.kind.right)
    read: dict[str, Any] = {
        known[name].member: known[name].read(given) for name, given in value.items()
    }
    return dataclasses.replace(of_options(number, read), place=place)


def _spec(
    number: int,
    *,
    socket_path: Path,
    socket_group: int | None = None,
    socket_mode: int | None = None,
    queues: int | None = None,
) -> SocketSpec:
    return SocketSpec(
        number,
        path=socket_path,
        group=socket_group,
        mode=socket_mode,
        queues=queues or MAX_REQUEST_QUEUES,
    )


def of_options(number: int, options: Mapping[str, Any]) -> PlannedHost:
    """Make a virtual host of the arguments of host-attach, read, by `Parameter.member`."""
    return plan_socket(_spec(number, **options))


def plan_socket(spec: SocketSpec) -> PlannedHost:
    """Make a virtual host of its socket."""
    if spec.path is None:
        return PlannedHost(spec, {"fd": spec.fd})
    value: dict[str, object] = {"socket-path": str(spec.path.absolute())}
    if spec.group is not None:
        value["socket-group"] = str(spec.group)
    if spec.mode is not None:
        value["socket-mode"] = f"{spec.mode:03o}"
    if spec.queues != MAX_REQUEST_QUEUES:
        value["queues"] = spec.queues
    return PlannedHost(spec, value)


def plan_lun(address: Address, text: str, folder: Path, place: str = "") -> PlannedLun:
    """Make a LUN of `PDEV[,option...]`, whose relative paths are so to `folder`.

    Raises:
        ConfigurationError: any part of it cannot be used.
    """
    absolute = absolute_pdev(text, folder)
    return PlannedLun(parse_pdev(address, absolute), absolute, place)
