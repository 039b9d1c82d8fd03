"""A front-end's table of memory regions, as its messages change it. A machine: no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ProtocolError

from .actions import Action, MapMemory, Release
from .offers import MAX_MEMORY_SLOTS

if TYPE_CHECKING:
    from vhost_pvscsi.wire.vhost_user import MemoryRegion

#: Each region with the descriptor of the file it is in.
Memory = tuple[tuple["MemoryRegion", int], ...]


def exchange(old: Memory, new: Memory) -> tuple[Memory, list[Action]]:
    """Replace all of it (vhost-user.rst, VHOST_USER_SET_MEM_TABLE)."""
    return new, [MapMemory(new), *_release(old)]


def add(memory: Memory, region: MemoryRegion, fd: int) -> tuple[Memory, list[Action]]:
    """Add one region (vhost-user.rst, VHOST_USER_ADD_MEM_REG).

    Raises:
        ProtocolError: there are as many as we said there can be.
    """
    if len(memory) >= MAX_MEMORY_SLOTS:
        raise ProtocolError(f"ADD_MEM_REG: all {MAX_MEMORY_SLOTS} memory slots are taken")
    new = (*memory, (region, fd))
    return new, [MapMemory(new)]


def remove(memory: Memory, region: MemoryRegion) -> tuple[Memory, list[Action]]:
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


def _release(memory: Memory) -> list[Action]:
    return [Release(tuple(fd for _, fd in memory))] if memory else []
