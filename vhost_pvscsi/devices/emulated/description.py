"""What an emulated disk is: its blocks, its limits."""

from __future__ import annotations

from dataclasses import dataclass

from vhost_pvscsi.scsi.pages import (
    RATE_NOT_REPORTED,
    RATE_SOLID_STATE,
    BlockLimits,
)

#: 65535 sectors of 512 bytes: what QEMU's vhost-user-scsi tells the guest (`max_sectors`), and
#: what Linux would send at most. Windows goes by VPD page B0h alone.
TRANSPORT_LIMIT = 0xFFFF * 512
#: What the medium executor takes in one descriptor of UNMAP, and in one WRITE SAME.
MAX_UNMAP_BLOCKS = 1 << 20
MAX_WRITE_SAME_BLOCKS = 0x3FFFFF
MAX_UNMAP_DESCRIPTORS = 255
#: What COMPARE AND WRITE's one byte can say.
MAX_COMPARE_WRITE = 255
#: A hole in a file is a page or more.
HOLE = 4096


@dataclass(frozen=True, slots=True)
class DiskGeometry:
    """A disk's blocks and what can be done with them."""

    blocks: int
    block_size: int = 512
    read_only: bool = False
    write_cache: bool = True  #: WCE: a write is stable only after SYNCHRONIZE CACHE or FUA
    write_cache_switchable: bool = False  #: WCE can be changed by MODE SELECT
    solid_state: bool = True
    removable: bool = False  #: the medium can be ejected
    unmap: bool = True  #: blocks can be given back
    unmap_zeros: bool = True  #: and read as zeros then
    physical_block_size: int = 4096
    transport_limit: int = TRANSPORT_LIMIT  #: bytes in one command, 0: no limit

    @property
    def last_lba(self) -> int:
        """The address of the last block."""
        return self.blocks - 1

    @property
    def physical_exponent(self) -> int:
        """A physical block is 2 to that power logical blocks."""
        return max(self.physical_block_size // self.block_size, 1).bit_length() - 1

    @property
    def rotation_rate(self) -> int:
        """VPD page B1h's MEDIUM ROTATION RATE; how fast the host's disk turns is not known."""
        return RATE_SOLID_STATE if self.solid_state else RATE_NOT_REPORTED

    @property
    def limits(self) -> BlockLimits:
        """VPD page B0h."""
        return BlockLimits(
            max_transfer=self.transport_limit // self.block_size,
            optimal_granularity=1 << self.physical_exponent,
            max_unmap_blocks=MAX_UNMAP_BLOCKS if self.unmap else 0,
            max_unmap_descriptors=MAX_UNMAP_DESCRIPTORS if self.unmap else 0,
            unmap_granularity=max(HOLE // self.block_size, 1) if self.unmap else 0,
            max_write_same=MAX_WRITE_SAME_BLOCKS,
            max_compare_write=MAX_COMPARE_WRITE,
        )
