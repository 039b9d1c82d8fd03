"""The names that a unit goes by, made of what is behind it or given by an operator."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.scsi.pages import Designator, DesignatorType, text_field

VENDOR = "VHPVSCSI"
PRODUCT = "VIRTUAL DISK"
REVISION = "0.1"

#: VPD page 80h and a T10 designator hold more, but initiators keep buffers of about this.
MAX_SERIAL = 36

#: NAA identifiers by their first digit: its length in hexadecimal digits (SPC-5 7.7.6.6).
_NAA_DIGITS = {"2": 16, "3": 16, "5": 16, "6": 32}


@dataclass(frozen=True, slots=True)
class UnitIdentity:
    """The names a unit goes by in INQUIRY data and VPD pages."""

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


def derive_identity(
    source: str, *, serial: str | None = None, wwn: str | None = None, product: str = PRODUCT
) -> UnitIdentity:
    """Make the stable names of a unit (SPC-5 7.7.6.6.4, "NAA Locally Assigned").

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
    return UnitIdentity(check_serial(serial), chosen, product=product)


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
