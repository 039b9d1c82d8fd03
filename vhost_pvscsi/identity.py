"""The names things go by: SCSI addresses, virtual ones and the host's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from .errors import AddressError

#: virtio 1.2, 5.6.4: max_target and max_lun as QEMU sets them for vhost-user-scsi.
MAX_TARGET = 255
MAX_LUN = 16383
#: Virtual hosts are the daemon's own; a number that fits a word is plenty.
MAX_HOST = 65535
#: Rings that a front-end may have, but for the two of control and events.
MAX_REQUEST_QUEUES = 254


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A virtual SCSI address, `host:channel:target:lun` (VDEV)."""

    host: int
    channel: int
    target: int
    lun: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `h:c:t:l`, decimal.

        Raises:
            AddressError: not four decimal numbers, or one is out of range.
        """
        fields = text.split(":")
        if len(fields) != 4 or not all(field.isascii() and field.isdigit() for field in fields):
            raise AddressError(
                f"address {text!r} is not host:channel:target:lun",
                hint="four decimal numbers, for example 0:0:1:0",
            )
        host, channel, target, lun = (int(field) for field in fields)
        for name, value, limit in (
            ("host", host, MAX_HOST),
            ("channel", channel, 0),
            ("target", target, MAX_TARGET),
            ("lun", lun, MAX_LUN),
        ):
            if value > limit:
                raise AddressError(
                    f"address {text!r}: {name} {value} is out of range",
                    hint=f"{name} is 0" if limit == 0 else f"{name} is 0 to {limit}",
                )
        return cls(host, channel, target, lun)

    def __str__(self) -> str:
        return f"{self.host}:{self.channel}:{self.target}:{self.lun}"


@dataclass(frozen=True, slots=True, order=True)
class HostAddress:
    """Where a SCSI device of the host is, `host:channel:target:lun` as Linux numbers them.

    Its LUN is Linux's number, up to 64 bits, not the eight bytes of SAM.
    """

    host: int
    channel: int
    target: int
    lun: int

    @classmethod
    def match(cls, text: str) -> Self | None:
        """Read `h:c:t:l`, decimal; None: it is something else."""
        if re.fullmatch(r"[0-9]{1,10}(:[0-9]{1,10}){2}:[0-9]{1,20}", text, re.ASCII) is None:
            return None
        return cls(*map(int, text.split(":")))

    def __str__(self) -> str:
        return f"{self.host}:{self.channel}:{self.target}:{self.lun}"
