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
#: Most bytes of a list with TransportIDs that is looked at.
MOST_LIST_LENGTH = 4096
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


#: Where the flags of REGISTER AND MOVE are, and which bits they are.
MOVE_FLAGS_BYTE, UNREG, MOVE_APTPL = 17, 1, 0

_MOVE = struct.Struct(">QQxBHI")


@dataclass(frozen=True, slots=True)
class MoveList:
    """What REGISTER AND MOVE is given (SPC-5, "REGISTER AND MOVE parameter list")."""

    key: int  #: RESERVATION KEY: the sender's own
    action_key: int  #: SERVICE ACTION RESERVATION KEY: the other nexus' key to be
    flags: int
    port: int  #: RELATIVE TARGET PORT IDENTIFIER
    transport_id: bytes  #: names the other nexus' initiator port

    @classmethod
    def parse(cls, data: bytes) -> MoveList | None:
        """Take it out of the bytes; None: they are not as many as they say."""
        key, action_key, flags, port, length = _MOVE.unpack(data[:LIST_LENGTH])
        if len(data) != LIST_LENGTH + length:
            return None
        return cls(key, action_key, flags, port, data[LIST_LENGTH:])

    def has(self, flag: int) -> bool:
        """Whether a bit of the flags is set."""
        return bool(self.flags >> flag & 1)


#: Bytes of a TransportID of the kind that `transport_id` makes.
TRANSPORT_ID_LENGTH = 24

#: RELATIVE TARGET PORT IDENTIFIER of the one target port, and where a MoveList has it.
TARGET_PORT, PORT_BYTE = 1, 18


def listed_ports(data: bytes) -> list[bytes] | None:
    """Take the TransportIDs out of what follows REGISTER's list; None: lengths do not agree."""
    if len(data) < 4 or len(data) - 4 != int.from_bytes(data[:4], "big"):
        return None
    names = data[4:]
    if len(names) % TRANSPORT_ID_LENGTH:
        return None
    return [
        names[at : at + TRANSPORT_ID_LENGTH] for at in range(0, len(names), TRANSPORT_ID_LENGTH)
    ]


def key_list(generation: int, keys: Sequence[int]) -> bytes:
    """Build the data of READ KEYS."""
    return struct.pack(f">II{len(keys)}Q", generation, 8 * len(keys), *keys)


def parsed_key_list(data: bytes) -> tuple[int, tuple[int, ...]] | None:
    """Read PRGENERATION and the keys that READ KEYS tells; None: it is shorter than it says."""
    if len(data) < 8:
        return None
    generation, length = struct.unpack_from(">II", data)
    if len(data) < 8 + length or length % 8:
        return None
    return generation, struct.unpack_from(f">{length // 8}Q", data, 8)


def parsed_reservation(data: bytes) -> tuple[int, ReservationType] | None:
    """Read the holder's key and the type that READ RESERVATION tells; None: there is none."""
    if len(data) < 24 or int.from_bytes(data[4:8], "big") < 16:
        return None
    key, type_ = struct.unpack_from(">Q5xB", data, 8)
    known = type_ & 0x0F
    return (key, ReservationType(known)) if known in set(ReservationType) else None


def reservation(generation: int, type_: ReservationType | None, key: int) -> bytes:
    """Build the data of READ RESERVATION; `key` is 0 where all registrants hold it."""
    if type_ is None:
        return struct.pack(">II", generation, 0)
    return struct.pack(">IIQ5xB2x", generation, 16, key, type_)


def capabilities(*, can_persist: bool, persists: bool) -> bytes:
    """Build the data of REPORT CAPABILITIES.

    CRH: RESERVE and RELEASE of a holder end with GOOD and do nothing. SIP_C, ATP_C: SPEC_I_PT
    and ALL_TG_PT are understood. PTPL_C, PTPL_A: reservations can be, and are, kept over a loss
    of power. TMV: the mask of types is valid, all six are there.
    """
    mask = sum(1 << (type_ + 8 if type_ < 8 else type_ - 8) for type_ in ReservationType)
    return struct.pack(">HBBHxx", 8, 0x1C | can_persist, 0x80 | persists, mask)


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
        return struct.pack(">Q4xBB4xHI", self.key, holder, type_, TARGET_PORT, len(name)) + name


def status_rows(data: bytes) -> list[bytes]:
    """Take the descriptors out of the data of READ FULL STATUS, as far as they are whole."""
    rows, at = [], 8
    end = min(len(data), 8 + int.from_bytes(data[4:8], "big"))
    while at + 24 <= end:
        length = 24 + int.from_bytes(data[at + 20 : at + 24], "big")
        if at + length > end:
            break
        rows.append(data[at : at + length])
        at += length
    return rows


def full_status(
    generation: int, registrations: Iterable[Registration], others: Iterable[bytes] = ()
) -> bytes:
    """Build the data of READ FULL STATUS; `others` are descriptors as another device made them."""
    rows = b"".join((*(one.pack() for one in registrations), *others))
    return struct.pack(">II", generation, len(rows)) + rows


def transport_id(nexus: str) -> bytes:
    """Name an initiator port (SPC-5 7.6.4.7).

    No protocol identifier stands for virtio or pvSCSI. A SAS address is what emulated hosts
    show elsewhere; this one is locally assigned (NAA 3h) and made of the nexus' name.
    """
    digits = hashlib.sha256(nexus.encode()).digest()[:8]
    return struct.pack(">B3x8s12x", 0x06, bytes((0x30 | digits[0] & 0x0F, *digits[1:])))
