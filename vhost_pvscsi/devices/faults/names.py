"""What rules call sense data, statuses and ends of a delivery; commands are in `scsi/names.py`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.names import plain
from vhost_pvscsi.scsi.request import Service, Status
from vhost_pvscsi.scsi.sense import SenseCode, SenseKey

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Sense data that drivers must cope with and that nothing of ours says by itself (SPC-5,
#: annex "Numeric order codes"); those that something says are in `scsi/sense.py`.
_MORE_SENSE = {
    "becoming-ready": SenseCode(SenseKey.NOT_READY, 0x04, 0x01),
    "recovered-data": SenseCode(SenseKey.RECOVERED_ERROR, 0x17, 0x00),
    "failure-prediction-threshold-exceeded": SenseCode(SenseKey.RECOVERED_ERROR, 0x5D, 0x00),
    "guard-check-failed": SenseCode(SenseKey.ABORTED_COMMAND, 0x10, 0x01),
    "command-timeout": SenseCode(SenseKey.ABORTED_COMMAND, 0x2E, 0x02),
    "data-phase-error": SenseCode(SenseKey.ABORTED_COMMAND, 0x4B, 0x00),
}


SENSES: Mapping[str, SenseCode] = {
    **{plain(name): code for name, code in vars(sense).items() if isinstance(code, SenseCode)},
    **_MORE_SENSE,
}

STATUSES: Mapping[str, Status] = {plain(status.name): status for status in Status}

#: How a delivery can end otherwise than with a status.
TRANSPORTS: Mapping[str, Service] = {
    plain(service.name): service for service in Service if service is not Service.COMPLETE
}


def parse_sense(text: str) -> SenseCode:
    """Read sense data: a name, or KEY/ASC/ASCQ in hexadecimal.

    Raises:
        ConfigurationError: it is neither.
    """
    if known := SENSES.get(plain(text)):
        return known
    number = re.fullmatch(r"([0-9a-f])/([0-9a-f]{1,2})/([0-9a-f]{1,2})", text.lower(), re.ASCII)
    if number is None:
        raise ConfigurationError(
            f"{text!r} is no sense data",
            hint="KEY/ASC/ASCQ in hexadecimal, like 3/11/00, or a name, like write-error",
        )
    key, asc, ascq = (int(digits, 16) for digits in number.groups())
    if key not in set(SenseKey):
        known_keys = ", ".join(f"{known:x}" for known in SenseKey)
        raise ConfigurationError(f"{key:x} is no sense key", hint=f"one of {known_keys}")
    return SenseCode(SenseKey(key), asc, ascq)


def parse_status(text: str) -> Status:
    """Read a status by its name.

    Raises:
        ConfigurationError: it is none.
    """
    if plain(text) not in STATUSES:
        raise ConfigurationError(f"{text!r} is no status", hint=f"one of {', '.join(STATUSES)}")
    return STATUSES[plain(text)]


def parse_transport(text: str) -> Service:
    """Read how a delivery shall end.

    Raises:
        ConfigurationError: it cannot end so.
    """
    if plain(text) not in TRANSPORTS:
        raise ConfigurationError(
            f"{text!r} is no end of a delivery", hint=f"one of {', '.join(TRANSPORTS)}"
        )
    return TRANSPORTS[plain(text)]
