"""A front-end's table of memory regions, as its messages change it. A machine: no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ProtocolError

if TYPE_CHECKING:
    from vhost_pvscsi.wire.vhost_user import MemoryRegion

#: Regions that ADD_MEM_REG may build up. It must never become less: a front-end that connects
#: again relies on it (vhost-user.rst, GET_MAX_MEM_SLOTS).
MAX_MEMORY_SLOTS = 509

#: In place of a descriptor where there is none.
NO_FD = -1

#: Each region with the descriptor of the file it is in.
Memory = tuple[tuple["MemoryRegion", int], ...]


@dataclass(frozen=True, slots=True)
class MapMemory:
    """Guest memory is these regions from now on, each with the descriptor of its file."""

    regions: Memory


@dataclass(frozen=True, slots=True)
class Release:
    """Close these when all other actions of the list are done, whether they worked or not."""

    descriptors: tuple[int, ...]


Change = tuple[Memory, list[MapMemory | Release]]


def exchange(old: Memory, new: Memory) -> Change:
    """Replace all of it (vhost-user.rst, VHOST_USER_SET_MEM_TABLE)."""
    return new, [MapMemory(new), *_release(old)]


def add(memory: Memory, region: MemoryRegion, fd: int) -> Change:
    """Add one region (vhost-user.rst, VHOST_USER_ADD_MEM_REG).

    Raises:
        ProtocolError: there are as many as we said there can be.
    """
    if len(memory) >= MAX_MEMORY_SLOTS:
        raise ProtocolError(f"ADD_MEM_REG: all {MAX_MEMORY_SLOTS} memory slots are taken")
    new = (*memory, (region, fd))
    return new, [MapMemory(new)]


def remove(memory: Memory, region: MemoryRegion) -> Change:
    """Take one region away (vhost-user.rst, VHOST_USER_REM_MEM_REG).

    Raises:
        ProtocolError: there is none at that place.
    """
    for position, entry in enumerate(memory):
        if _place(entry[0]) == _place(region):
            new = memory[:position] + memory[position + 1 :]
            return new, [MapMemory(new), *_release((entry,))]
    raise ProtocolError(
        f"REM_MEM_REG: no region of {region.size:#x} bytes at guest address"
        f" {region.guest_address:#x}, user address {region.user_address:#x}"
    )


def _place(region: MemoryRegion) -> tuple[int, int, int]:
    # Not the file offset, which a front-end need not repeat when it takes a region away.
    return region.guest_address, region.size, region.user_address


def _release(memory: Memory) -> list[MapMemory | Release]:
    return [Release(tuple(fd for _, fd in memory))] if memory else []
