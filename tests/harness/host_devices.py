"""Devices of a host that is not there, as values."""

from __future__ import annotations

from vhost_pvscsi.discovery.device import HostDevice, Nodes
from vhost_pvscsi.identity import HostAddress


def tape(
    address: str,
    incarnation: int,
    *,
    wwn: str = "",
    serial: str = "",
    sg: int | None = 0,
    kind: str = "tape",
    vendor: str = "HPE",
    product: str = "LTO-9",
    links: tuple[str, ...] = (),
) -> HostDevice:
    """Make a device; one of the same address and incarnation is the same."""
    found = HostAddress.match(address)
    assert found is not None
    return HostDevice(
        address=found,
        type=kind,
        vendor=vendor,
        product=product,
        revision="1",
        serial=serial,
        wwn=wwn,
        nodes=Nodes(sg=f"/dev/sg{sg}" if sg is not None else ""),
        links=links,
        incarnation=incarnation,
    )
