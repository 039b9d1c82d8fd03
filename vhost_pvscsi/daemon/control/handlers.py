"""What carries out each command of the control socket; a test holds them against the rows."""

from __future__ import annotations

import importlib.metadata
import re
import time
from typing import TYPE_CHECKING, Any

from vhost_pvscsi.control.commands import COMMANDS
from vhost_pvscsi.control.schema import describe
from vhost_pvscsi.devices.pdev import sent_descriptor
from vhost_pvscsi.engine import LATENCY_BOUNDS
from vhost_pvscsi.munge.table import REGISTRY

from . import changers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from vhost_pvscsi.identity import Address

    from .descriptors import ClientDescriptors
    from .operator import LunStatistics, LunStatus, Operator
    from .session import Call

    Handler = Callable[..., Awaitable[object]]

#: By name of command; each takes the operator, and the arguments by name.
HANDLERS: dict[str, Handler] = {**changers.HANDLERS}
#: Of them those that take the client's descriptors, too.
_WITH_DESCRIPTORS: set[str] = set()


async def carry_out(operator: Operator, call: Call, descriptors: ClientDescriptors) -> object:
    """Do what a client asked; what it is told, as JSON.

    Raises:
        VhostPvscsiError: it cannot be done.
    """
    name, arguments = call.command.name, call.arguments
    if name in _WITH_DESCRIPTORS:
        return await HANDLERS[name](operator, descriptors=descriptors, **arguments)
    return await HANDLERS[name](operator, **arguments)


def version() -> dict[str, object]:
    """Tell our version as QEMU tells its own: clients read `qemu` and know of no other name."""
    release = importlib.metadata.version("vhost-pvscsi")
    numbers = [int(number) for number in re.findall(r"\d+", release)]
    major, minor, micro = (*numbers, 0, 0, 0)[:3]
    return {
        "qemu": {"major": major, "minor": minor, "micro": micro},
        "package": f"vhost-pvscsi {release}",
    }


def _carries_out(name: str, *, descriptors: bool = False) -> Callable[[Handler], Handler]:
    def enter(handler: Handler) -> Handler:
        HANDLERS[name] = handler
        if descriptors:
            _WITH_DESCRIPTORS.add(name)
        return handler

    return enter


@_carries_out("host-attach")
async def _host_attach(
    operator: Operator, host: int, transient: bool, **options: object
) -> dict[str, Any]:
    await operator.attach_host(host, options, transient=transient)
    return {}


@_carries_out("host-detach")
async def _host_detach(
    operator: Operator,
    host: int,
    force: bool,
    timeout: float,  # noqa: ASYNC109 -- named as in its row
) -> dict[str, Any]:
    await operator.detach_host(host, force=force, patience=timeout)
    return {}


@_carries_out("query-hosts")
async def _query_hosts(operator: Operator) -> list[dict[str, Any]]:
    return [
        {
            "host": host.number,
            "socket-path": host.socket,
            "connected": host.connected,
            "luns": host.luns,
            "problem": host.problem,
        }
        for host in operator.hosts()
    ]


@_carries_out("getfd", descriptors=True)
async def _getfd(
    _operator: Operator, fdname: str, descriptors: ClientDescriptors
) -> dict[str, Any]:
    descriptors.name(fdname)
    return {}


@_carries_out("closefd", descriptors=True)
async def _closefd(
    _operator: Operator, fdname: str, descriptors: ClientDescriptors
) -> dict[str, Any]:
    descriptors.take(fdname).close()
    return {}


@_carries_out("scsi-attach", descriptors=True)
async def _scsi_attach(
    operator: Operator, pdev: str, vdev: Address, transient: bool, descriptors: ClientDescriptors
) -> dict[str, Any]:
    name = sent_descriptor(pdev)
    if name is None:
        await operator.attach(vdev, pdev, transient=transient)
        return {}
    # It has gone from here whatever becomes of it, as QEMU has it.
    with descriptors.take(name) as taken:
        [number] = taken.peek()
        await operator.attach(vdev, pdev, transient=True, passed=number)
    return {}


@_carries_out("scsi-detach")
async def _scsi_detach(
    operator: Operator,
    vdev: Address,
    force: bool,
    timeout: float,  # noqa: ASYNC109 -- named as in its row
) -> dict[str, Any]:
    await operator.detach(vdev, force=force, patience=timeout)
    return {}


@_carries_out("scsi-resize")
async def _scsi_resize(operator: Operator, vdev: Address) -> dict[str, Any]:
    size = await operator.resize(vdev)
    return {"blocks": size.blocks, "block-size": size.block_size}


@_carries_out("medium-insert")
async def _medium_insert(
    operator: Operator, vdev: Address, file: Path, force: bool, transient: bool
) -> dict[str, Any]:
    await operator.insert_medium(vdev, file, force=force, transient=transient)
    return {}


@_carries_out("medium-eject")
async def _medium_eject(
    operator: Operator, vdev: Address, force: bool, transient: bool
) -> dict[str, Any]:
    await operator.eject_medium(vdev, force=force, transient=transient)
    return {}


@_carries_out("query-luns")
async def _query_luns(operator: Operator, host: int | None) -> list[dict[str, Any]]:
    connected = {known.number: known.connected for known in operator.hosts()}
    return [
        {**_describe(lun), "connected": connected.get(lun.address.host, False)}
        for lun in operator.luns(host)
    ]


def _describe(lun: LunStatus) -> dict[str, Any]:
    return {
        "vdev": str(lun.address),
        "pdev": lun.pdev,
        "type": lun.type,
        "blocks": lun.blocks,
        "block-size": lun.block_size,
        "read-only": lun.read_only,
        "serial": lun.serial,
        "naa": lun.naa,
        "state": lun.state,
        "faults": lun.faults,
        "denied": lun.denied,
        "problem": lun.problem,
        "device": lun.device,
        "guest-state": lun.guest_state,
        "medium": lun.medium,
        "loaded": lun.loaded,
    }


@_carries_out("fault-set")
async def _fault_set(operator: Operator, vdev: Address, rules: tuple[str, ...]) -> dict[str, Any]:
    await operator.set_faults(vdev, rules)
    return {}


@_carries_out("fault-list")
async def _fault_list(operator: Operator, vdev: Address) -> list[dict[str, Any]]:
    return operator.faults(vdev)


@_carries_out("fault-lift")
async def _fault_lift(operator: Operator, vdev: Address) -> dict[str, Any]:
    await operator.set_faults(vdev, ())
    return {}


@_carries_out("query-stats")
async def _query_stats(operator: Operator) -> list[dict[str, Any]]:
    return operator.stats()


@_carries_out("reload")
async def _reload(operator: Operator, forget: bool) -> list[dict[str, Any]]:
    return [
        {"what": change.what, "done": change.done, "problem": change.problem}
        for change in await operator.reload(forget=forget)
    ]


@_carries_out("query-lun-stats")
async def _query_lun_stats(operator: Operator, host: int | None) -> dict[str, Any]:
    luns = await operator.lun_stats(host)
    return {
        "time": time.monotonic(),
        "latency-bounds": list(LATENCY_BOUNDS),
        "luns": [_count(lun) for lun in luns],
    }


def _count(lun: LunStatistics) -> dict[str, Any]:
    counters = lun.counters
    return {
        "vdev": str(lun.address),
        "pdev": lun.pdev,
        "attachment": lun.attachment,
        "reads": counters.reads,
        "writes": counters.writes,
        "others": counters.others,
        "long-road": counters.long_road,
        "errors": counters.errors,
        "denied": lun.denied,
        "bytes-read": counters.bytes_read,
        "bytes-written": counters.bytes_written,
        "in-flight": counters.in_flight,
        "read-latency": _trimmed(counters.read_latency),
        "write-latency": _trimmed(counters.write_latency),
    }


def _trimmed(counts: tuple[int, ...]) -> list[int]:
    """Leave out buckets behind the last one that holds something: most LUNs are idle, or fast."""
    used = len(counts)
    while used and not counts[used - 1]:
        used -= 1
    return list(counts[:used])


@_carries_out("query-mungers")
async def _query_mungers(_operator: Operator) -> list[dict[str, Any]]:
    found = [munger for layer in REGISTRY.layers for munger in layer]
    # By command; a command's own in the order of the layers, from the guest to the unit.
    found.sort(key=lambda munger: (munger.opcode, munger.service_action or 0, munger.direction))
    return [
        {
            "command": munger.command,
            "opcode": munger.opcode,
            "service-action": munger.service_action,
            "direction": str(munger.direction),
            "function": munger.name,
            "origin": munger.origin,
        }
        for munger in found
    ]


@_carries_out("query-version")
async def _query_version(_operator: Operator) -> dict[str, Any]:
    return version()


@_carries_out("query-commands")
async def _query_commands(_operator: Operator) -> list[dict[str, Any]]:
    return [{"name": name} for name in COMMANDS]


@_carries_out("query-schema")
async def _query_schema(_operator: Operator) -> dict[str, Any]:
    return describe()


@_carries_out("quit")
async def _quit(operator: Operator) -> dict[str, Any]:
    operator.stop()
    return {}
