"""Command descriptor blocks: layouts declared field by field, and their values by name.

A layout is the one source of a command's length, of its usage mask (what REPORT SUPPORTED
OPERATION CODES shows, and what decides which bits are reserved) and of its values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

#: Operation codes whose commands differ by a service action (SPC-5, annex "Numeric order
#: codes"): five bits in byte 1, but for 7Fh, which has two bytes.
SERVICE_ACTION_OPCODES = frozenset(
    {0x5E, 0x5F, 0x7F, 0x83, 0x84, 0x9D, 0x9E, 0x9F, 0xA3, 0xA4, 0xA9, 0xAB}
)


@dataclass(frozen=True, slots=True)
class Field:
    """Some consecutive bits of a CDB, big-endian.

    `bit` is the field's lowest bit in its last byte: the LBA of READ(6), 21 bits that begin
    in byte 1, is `Field(1, 0, 21)`.
    """

    byte: int
    bit: int
    width: int

    @property
    def size(self) -> int:
        """How many bytes the field touches."""
        return (self.bit + self.width + 7) // 8

    @property
    def top_bit(self) -> int | None:
        """The highest bit in the first byte, as a field pointer wants it; None: all of it."""
        top = (self.bit + self.width - 1) % 8
        return None if self.bit == 0 and self.width % 8 == 0 else top

    def read(self, cdb: bytes) -> int:
        """Take the field's value out of a CDB that is long enough."""
        value = int.from_bytes(cdb[self.byte : self.byte + self.size], "big")
        return value >> self.bit & (1 << self.width) - 1

    def place(self, value: int, length: int) -> bytes:
        """Make a CDB of `length` zero bytes but for the value in this field."""
        shift = 8 * (length - self.byte - self.size) + self.bit
        return (value << shift).to_bytes(length, "big")


class Cdb(Mapping[str, int]):
    """A CDB's values by field name; `raw` is as long as the layout."""

    __slots__ = ("_fields", "raw")

    def __init__(self, fields: Mapping[str, Field], raw: bytes) -> None:
        self._fields = fields
        self.raw = raw

    def __getitem__(self, name: str) -> int:
        return self._fields[name].read(self.raw)

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def field(self, name: str) -> Field:
        """Where a value stands, to point at it."""
        return self._fields[name]


def usage_mask(fields: Mapping[str, Field], length: int) -> bytes:
    """Make the mask of bits that a layout gives a meaning (the operation code's byte: all)."""
    mask = 0xFF << 8 * (length - 1)
    for field in fields.values():
        mask |= int.from_bytes(field.place((1 << field.width) - 1, length), "big")
    return mask.to_bytes(length, "big")


def service_action_field(opcode: int) -> Field | None:
    """Where commands of that operation code have their service action; None: they have none."""
    if opcode not in SERVICE_ACTION_OPCODES:
        return None
    return Field(8, 0, 16) if opcode == 0x7F else Field(1, 0, 5)


def service_action(cdb: bytes) -> int | None:
    """Take the service action out of a CDB; None where its operation code has none."""
    field = service_action_field(cdb[0])
    return None if field is None else field.read(cdb)
