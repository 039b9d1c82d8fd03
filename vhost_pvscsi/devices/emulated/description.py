"""What an emulated disk is: its names, its blocks, its limits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.scsi.pages import (
    RATE_NOT_REPORTED,
    RATE_SOLID_STATE,
    BlockLimits,
    Designator,
    DesignatorType,
    text_field,
)

VENDOR = "VHPVSCSI"
PRODUCT = "VIRTUAL DISK"
REVISION = "0.1"

#: VPD page 80h and a T10 designator hold more, but initiators keep buffers of about this.
MAX_SERIAL = 36

#: NAA identifiers by their first digit: its length in hexadecimal digits (SPC-5 7.7.6.6).
_NAA_DIGITS = {"2": 16, "3": 16, "5": 16, "6": 32}

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
class DiskIdentity:
    """The names a disk goes by in INQUIRY data and VPD pages."""

    serial: str
    naa: bytes  #: 8 or 16 bytes
    vendor: str = VENDOR
    product: str = PRODUCT
    revision: str = REVISION

    @property
    def designators(self) -> tuple[Designator, ...]:
        """VPD page 83h: the NAA id, and vendor, product and serial for those who want text."""
        text = text_field(self.vendor, 8) + text_field(self.product, 16)
        return (
            Designator(DesignatorType.NAA, self.naa),
            Designator(
                DesignatorType.T10_VENDOR,
                text + self.serial.encode("ascii", "replace"),
                ascii=True,
            ),
        )


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


def derive_identity(
    source: str, *, serial: str | None = None, wwn: str | None = None, product: str = PRODUCT
) -> DiskIdentity:
    """Make the stable names of a disk (SPC-5 7.7.6.6.4, "NAA Locally Assigned").

    Args:
        source: what the unit is, the same in every run: `file:` and an image's canonical path,
            `device:` and a block device's own id, `ram:` or `null:` and HOST:VDEV.
        serial: the operator's own, else a part of the hash.
        product: what INQUIRY calls it.
        wwn: an NAA identifier of the operator's in hexadecimal, else 3h and a part of the hash.

    Raises:
        ConfigurationError: `serial` or `wwn` cannot be used.
    """
    digest = hashlib.sha256(source.encode("utf-8", "surrogateescape")).digest()
    naa = bytes([0x30 | digest[0] & 0x0F]) + digest[1:8]
    if serial is None:
        serial = digest[8:18].hex()
    chosen = naa if wwn is None else parse_wwn(wwn)
    return DiskIdentity(check_serial(serial), chosen, product=product)


def check_serial(text: str) -> str:
    """Check a serial number that a person gave (SPC-5 7.7.20: ASCII, printable).

    Raises:
        ConfigurationError: it is empty, too long or has other characters.
    """
    if not text or len(text) > MAX_SERIAL or not (text.isascii() and text.isprintable()):
        raise ConfigurationError(
            f"serial number {text!r} cannot be used",
            hint=f"1 to {MAX_SERIAL} printable ASCII characters",
        )
    return text


def parse_wwn(text: str) -> bytes:
    """Read an NAA identifier that a person gave, with or without 0x, naa. or colons.

    Raises:
        ConfigurationError: it is none.
    """
    digits = text.lower().removeprefix("naa.").removeprefix("0x").replace(":", "")
    length = _NAA_DIGITS.get(digits[:1])
    if length != len(digits) or not set(digits) <= set("0123456789abcdef"):
        raise ConfigurationError(
            f"wwn {text!r} is not an NAA identifier",
            hint="16 hexadecimal digits that begin with 2, 3 or 5, or 32 that begin with 6",
        )
    return bytes.fromhex(digits)
