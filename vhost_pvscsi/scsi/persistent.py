"""PERSISTENT RESERVE IN and OUT: types, parameter lists, parameter data (SPC-5 6.15, 6.16)."""

from __future__ import annotations

import enum
import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class ReservationType(enum.IntEnum):
    """Types of persistent reservation (SPC-5, "Persistent reservations type")."""

    WRITE_EXCLUSIVE = 1
    EXCLUSIVE_ACCESS = 3
    WRITE_EXCLUSIVE_REGISTRANTS = 5
    EXCLUSIVE_ACCESS_REGISTRANTS = 6
    WRITE_EXCLUSIVE_ALL = 7
    EXCLUSIVE_ACCESS_ALL = 8

    @property
    def all_hold(self) -> bool:
        """Whether every registered nexus is a holder ("all registrants")."""
        return self in {self.WRITE_EXCLUSIVE_ALL, self.EXCLUSIVE_ACCESS_ALL}

    @property
    def registered_may(self) -> bool:
        """Whether every registered nexus has access ("registrants only", "all registrants")."""
        return self >= self.WRITE_EXCLUSIVE_REGISTRANTS

    @property
    def others_may_read(self) -> bool:
        """Whether those without a part in it may still read."""
        return self in {
            self.WRITE_EXCLUSIVE,
            self.WRITE_EXCLUSIVE_REGISTRANTS,
            self.WRITE_EXCLUSIVE_ALL,
        }


#: Bytes of the parameter list, without TransportIDs.
LIST_LENGTH = 24
#: Where its flags are, and which bits they are.
FLAGS_BYTE, SPEC_I_PT, ALL_TG_PT, APTPL = 20, 3, 2, 0

_LIST = struct.Struct(">QQ4xB3x")


@dataclass(frozen=True, slots=True)
class ParameterList:
    """What PERSISTENT RESERVE OUT is given (SPC-5, "Basic parameter list")."""

    key: int  #: RESERVATION KEY: the sender's own
    action_key: int  #: SERVICE ACTION RESERVATION KEY: what is to become, or to be preempted
    flags: int

    @classmethod
    def parse(cls, data: bytes) -> ParameterList:
        """Take it out of `LIST_LENGTH` bytes."""
        return cls(*_LIST.unpack(data))

    def has(self, flag: int) -> bool:
        """Whether a bit of the flags is set."""
        return bool(self.flags >> flag & 1)


def key_list(generation: int, keys: Sequence[int]) -> bytes:
    """Build the data of READ KEYS."""
    return struct.pack(f">II{len(keys)}Q", generation, 8 * len(keys), *keys)


def reservation(generation: int, type_: ReservationType | None, key: int) -> bytes:
    """Build the data of READ RESERVATION; `key` is 0 where all registrants hold it."""
    if type_ is None:
        return struct.pack(">II", generation, 0)
    return struct.pack(">IIQ5xB2x", generation, 16, key, type_)


def capabilities() -> bytes:
    """Build the data of REPORT CAPABILITIES.

    CRH: RESERVE and RELEASE of a holder end with GOOD and do nothing. TMV: the mask of types
    is valid, all six are there. Nothing is kept over a loss of power.
    """
    mask = sum(1 << (type_ + 8 if type_ < 8 else type_ - 8) for type_ in ReservationType)
    return struct.pack(">HBBHxx", 8, 0x10, 0x80, mask)


@dataclass(frozen=True, slots=True)
class Registration:
    """One registered nexus, as READ FULL STATUS tells it."""

    nexus: str
    key: int
    held: ReservationType | None  #: set for a holder

    def pack(self) -> bytes:
        """Build its full status descriptor; there is one target port, number 1."""
        name = transport_id(self.nexus)
        holder, type_ = self.held is not None, self.held or 0
        return struct.pack(">Q4xBB4xHI", self.key, holder, type_, 1, len(name)) + name


def full_status(generation: int, registrations: Iterable[Registration]) -> bytes:
    """Build the data of READ FULL STATUS."""
    rows = b"".join(one.pack() for one in registrations)
    return struct.pack(">II", generation, len(rows)) + rows


def transport_id(nexus: str) -> bytes:
    """Name an initiator port (SPC-5 7.6.4.7).

    No protocol identifier stands for virtio or pvSCSI. A SAS address is what emulated hosts
    show elsewhere; this one is locally assigned (NAA 3h) and made of the nexus' name.
    """
    digits = hashlib.sha256(nexus.encode()).digest()[:8]
    return struct.pack(">B3x8s12x", 0x06, bytes((0x30 | digits[0] & 0x0F, *digits[1:])))
