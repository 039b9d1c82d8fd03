"""Log pages and their parameters (SPC-5 7.3)."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

#: The subpage that lists subpages: of a page, or with page 00h of all (SPC-5 7.3.17, 7.3.18).
ALL_SUBPAGES = 0xFF

#: Control byte of a parameter: FORMAT AND LINKING 11b, a list of binary values (SPC-5 7.3.2.2).
_BINARY_LIST = 0x03
#: The same of a list of ASCII characters: FORMAT AND LINKING 01b.
_TEXT_LIST = 0x01
#: The same of a bounded counter: FORMAT AND LINKING 00b.
_COUNTER = 0x00
#: MOST RECENT TEMPERATURE READING where there is none (SPC-5 7.3.8).
_NO_TEMPERATURE = 0xFF


class LogPage(enum.IntEnum):
    """Log page codes."""

    SUPPORTED_PAGES = 0x00
    WRITE_ERRORS = 0x02
    READ_ERRORS = 0x03
    SEQUENTIAL_ACCESS = 0x0C
    VOLUME_STATISTICS = 0x17
    DATA_COMPRESSION = 0x1B
    TAPE_ALERT = 0x2E
    INFORMATIONAL_EXCEPTIONS = 0x2F


@dataclass(frozen=True, slots=True)
class LogParameter:
    """One log parameter, a list of binary values unless it is a counter or text."""

    code: int
    value: bytes
    counter: bool = False
    text: bool = False

    def pack(self) -> bytes:
        """Build the parameter: code, control, length, value (SPC-5 7.3.2.2)."""
        control = _COUNTER if self.counter else _TEXT_LIST if self.text else _BINARY_LIST
        return struct.pack(">HBB", self.code, control, len(self.value)) + self.value


def page(code: int, subpage: int, body: bytes, *, parameters: bool) -> bytes:
    """Put the header before a page's body (SPC-5 7.3.2.1).

    DS is set where there are parameters, none of which is ever saved; SPF, where it is a subpage.
    """
    flags = (0x80 if parameters else 0) | (0x40 if subpage else 0)
    return struct.pack(">BBH", flags | code, subpage, len(body)) + body


def informational_exceptions() -> tuple[LogParameter, ...]:
    """Say that there is no exception, and that no temperature is known (SPC-5 7.3.8).

    What may follow is the vendor's, and tools read a threshold into it: there is none.
    """
    return (LogParameter(0, bytes([0, 0, _NO_TEMPERATURE])),)
