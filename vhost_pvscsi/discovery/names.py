"""What a person may call a device of the host: values, no I/O."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from vhost_pvscsi.control.parameter import DESCRIPTOR_NAME
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import HostAddress

from .facts import hex_name

#: Nodes and links by which nothing but a SCSI device can be meant. /dev/sd* and /dev/disk/by-*
#: are none of them: they are block devices, too.
_FORWARDED = re.compile(
    r"/dev/(sg[0-9]+|n?st[0-9]+[alm]?|sch[0-9]+|sr[0-9]+|scd[0-9]+|cdrom[0-9]*|bsg/[0-9:]+"
    r"|tape/by-[a-z]+/.+)",
    re.ASCII,
)

#: All forms, for messages.
FORMS = "h:c:t:l, a node below /dev, wwn:NAA, serial:TEXT, fd:N or fd:NAME"


class By(enum.Enum):
    """What kind of name it is."""

    ADDRESS = "address"
    WWN = "wwn"
    SERIAL = "serial"
    NODE = "node"
    DESCRIPTOR = "fd"  #: its SG node, opened by who started us, or who sent it


@dataclass(frozen=True, slots=True)
class DeviceName:
    """A name of a device."""

    by: By
    value: str  #: h:c:t:l, hexadecimal digits, a serial number, a path, a number, or getfd's name

    def __str__(self) -> str:
        if self.by in {By.WWN, By.SERIAL, By.DESCRIPTOR}:
            return f"{self.by.value}:{self.value}"
        return self.value


def match_name(text: str) -> DeviceName | None:
    """Read a name by which a SCSI device is meant; None: it is something else.

    Raises:
        ConfigurationError: it begins as one and is none.
    """
    if HostAddress.match(text) is not None:
        return DeviceName(By.ADDRESS, text)
    if _FORWARDED.fullmatch(text):
        return DeviceName(By.NODE, text)
    prefix, colon, rest = text.partition(":")
    if colon and prefix == By.SERIAL.value:
        if not rest.strip():
            raise ConfigurationError(f"PDEV {text!r} names nothing", hint="serial:TEXT")
        return DeviceName(By.SERIAL, rest.strip())
    if colon and prefix == By.DESCRIPTOR.value:
        return _descriptor(text, rest)
    if colon and prefix == By.WWN.value:
        digits = hex_name(rest)
        if not digits:
            raise ConfigurationError(
                f"PDEV {text!r}: {rest!r} is no WWN",
                hint="16 or 32 hexadecimal digits, as vhost-pvscsi devices shows them",
            )
        return DeviceName(By.WWN, digits)
    return None


def _descriptor(text: str, rest: str) -> DeviceName:
    if re.fullmatch(r"[0-9]{1,6}", rest, re.ASCII):
        return DeviceName(By.DESCRIPTOR, str(int(rest)))
    if DESCRIPTOR_NAME.fullmatch(rest):
        return DeviceName(By.DESCRIPTOR, rest)
    raise ConfigurationError(
        f"PDEV {text!r}: {rest!r} is no descriptor",
        hint="fd:N, a number, of an SG node that was opened before the daemon began; or fd:NAME"
        " that getfd has given one",
    )
