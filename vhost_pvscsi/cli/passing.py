"""`scsi-attach --pass`: the verb opens the device, and sends it to a daemon that could not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vhost_pvscsi.devices.forwarded.opening import node_of, open_sg
from vhost_pvscsi.devices.pdev import join_commas, parse_pdev, split_commas
from vhost_pvscsi.discovery.device import MULTIPATH
from vhost_pvscsi.discovery.listing import locate, number_of
from vhost_pvscsi.discovery.names import By
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import Address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .client import Client

#: Types of which SG itself keeps others out; of disks the daemon does, by their block nodes.
_KEPT_BY_SG = frozenset({"tape", "changer"})


async def attach(client: Client, arguments: Mapping[str, Any]) -> Any:
    """Have `scsi-attach` carried out with these arguments, its device as a descriptor.

    Raises:
        ConfigurationError: PDEV is no SCSI device.
        DeviceError: there is no such device, or it cannot be opened.
        DeviceBusyError: somebody else has it.
        ControlError: the daemon refused it, or went away.
    """
    pdev, *options = split_commas(arguments["pdev"])
    spec = parse_pdev(Address(0, 0, 0, 0), arguments["pdev"])
    if spec.device is None:
        raise ConfigurationError(
            f"{pdev}: --pass is for SCSI devices of the host",
            hint="h:c:t:l, /dev/sgN, wwn:NAA, serial:TEXT; the daemon opens files by itself",
        )
    device = locate(spec.device)
    if device.type == MULTIPATH:
        raise ConfigurationError(
            f"{pdev}: --pass is for SG nodes, and a multipath device has none",
            hint="have the daemon open it: leave out --pass",
        )
    node = node_of(device)
    ours = number_of(spec.device, None) if spec.device.by is By.DESCRIPTOR else None
    with open_sg(
        node, lock=spec.options.lock and device.type in _KEPT_BY_SG, passed=ours
    ) as opened:
        client.send_descriptor(opened.fd)
        await client.execute("getfd", {"fdname": node.name})
        named = join_commas((f"fd:{node.name}", *options))
        return await client.execute("scsi-attach", {**arguments, "pdev": named})
