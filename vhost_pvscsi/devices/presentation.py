"""How a unit is shown at one address: what a guest is told of it there, and what it may do."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from vhost_pvscsi.errors import ConfigurationError

from .policy.policy import DEFAULT, Policy

#: Widths of the fields of standard INQUIRY data (SPC-5 6.6.2).
VENDOR_WIDTH, PRODUCT_WIDTH, REVISION_WIDTH = 8, 16, 4


class Hidden(enum.Flag):
    """Names that a guest is not told."""

    NOTHING = 0
    SERIAL = enum.auto()  #: the unit serial number, and text that holds it
    WWN = enum.auto()  #: identifiers that are unique in the world: NAA, EUI-64, SCSI name


@dataclass(frozen=True, slots=True)
class Presentation:
    """What differs from the unit's own account; None: it is as the unit says."""

    vendor: str | None = None
    product: str | None = None
    revision: str | None = None
    serial: str | None = None
    naa: bytes | None = None
    hidden: Hidden = Hidden.NOTHING
    #: MAXIMUM TRANSFER LENGTH in bytes, whatever the guest's driver is said to get through.
    max_transfer: int | None = None
    #: Writes are refused here, whatever the unit lets others do.
    protected: bool = False
    policy: Policy = DEFAULT

    @property
    def renames(self) -> bool:
        """Whether any name is not the unit's own."""
        names = (self.vendor, self.product, self.revision, self.serial, self.naa)
        return bool(self.hidden) or any(name is not None for name in names)


#: As the unit is.
PLAIN = Presentation()


def check_text(name: str, text: str, width: int) -> str:
    """Check a field of INQUIRY data that a person gave (SPC-5 4.3.1: ASCII, printable).

    Raises:
        ConfigurationError: it is empty, too long or has other characters.
    """
    if not text.strip() or len(text) > width or not (text.isascii() and text.isprintable()):
        raise ConfigurationError(
            f"{name}={text}: {text!r} cannot be used",
            hint=f"1 to {width} printable ASCII characters",
        )
    return text


def parse_hidden(name: str, text: str) -> Hidden:
    """Read what a guest shall not be told: `serial`, `wwn`, or both with + in between.

    Raises:
        ConfigurationError: it is neither.
    """
    known = {"serial": Hidden.SERIAL, "wwn": Hidden.WWN}
    hidden = Hidden.NOTHING
    for word in text.split("+"):
        if word not in known:
            raise ConfigurationError(
                f"{name}={text}: {word!r} cannot be hidden", hint="serial, wwn or serial+wwn"
            )
        hidden |= known[word]
    return hidden
