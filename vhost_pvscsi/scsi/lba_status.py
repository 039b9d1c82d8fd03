"""GET LBA STATUS parameter data (SBC-4, "GET LBA STATUS (16) command")."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER_LENGTH, DESCRIPTOR_LENGTH = 8, 16

#: What a descriptor's NUMBER OF LOGICAL BLOCKS can say.
MOST_BLOCKS = 0xFFFFFFFF


class ProvisioningStatus(enum.IntEnum):
    """PROVISIONING STATUS values; MAPPED is also said where it is not known."""

    MAPPED = 0
    DEALLOCATED = 1
    ANCHORED = 2


class Completion(enum.IntEnum):
    """COMPLETION CONDITION: why there are no more descriptors."""

    NOT_INDICATED = 0
    ALLOCATION_LENGTH = 1
    SCAN_LENGTH = 2
    CAPACITY = 3


#: REPORT TYPE -> the statuses that are told. Those with an error to come (10h) are not known
#: here beforehand: there are none to tell.
REPORT_TYPES: dict[int, frozenset[ProvisioningStatus]] = {
    0x00: frozenset(ProvisioningStatus),
    0x01: frozenset({ProvisioningStatus.DEALLOCATED, ProvisioningStatus.ANCHORED}),
    0x02: frozenset({ProvisioningStatus.MAPPED}),
    0x03: frozenset({ProvisioningStatus.DEALLOCATED}),
    0x04: frozenset({ProvisioningStatus.ANCHORED}),
    0x10: frozenset(),
}


@dataclass(frozen=True, slots=True)
class LbaStatus:
    """Consecutive blocks with the same status."""

    lba: int
    blocks: int
    status: ProvisioningStatus

    def split(self) -> Iterator[LbaStatus]:
        """Cut it into pieces that a descriptor can describe."""
        for done in range(0, self.blocks, MOST_BLOCKS):
            yield LbaStatus(self.lba + done, min(self.blocks - done, MOST_BLOCKS), self.status)

    def pack(self) -> bytes:
        """Build the LBA status descriptor, 16 bytes; ADDITIONAL STATUS says nothing."""
        return struct.pack(">QIBxxx", self.lba, self.blocks, self.status)


def room(allocation_length: int) -> int:
    """How many descriptors an allocation length shows, in part at least; no less than one."""
    return max(1, -(-(allocation_length - HEADER_LENGTH) // DESCRIPTOR_LENGTH))


def parameter_data(
    statuses: Iterable[LbaStatus], completion: Completion, *, by_type: bool
) -> bytes:
    """Build the parameter data; `by_type` is RTP: the report type decided what is in it."""
    body = b"".join(status.pack() for status in statuses)
    return struct.pack(">IxxxB", len(body) + 4, completion << 1 | by_type) + body
