"""The head of a pvSCSI request (Xen's public header io/vscsiif.h), as far as Python reads it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from construct import Bytes, Int8ul, Int16ul, Struct

#: Bytes that the engine hands up of a request that is task management.
HEAD_SIZE = 32

#: Most segments of a request whose segments are in granted pages: 26 pages of 512.
MAX_SEGMENTS = 13312


class Action(enum.IntEnum):
    """What a request asks for; 4, SG_PRESET, is reserved and refused by the engine."""

    CDB = 1
    ABORT = 2  #: the request that `ref_rqid` names
    RESET = 3  #: the logical unit


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request without its segments."""

    rqid: int
    action: int
    channel: int
    target: int
    lun: int
    ref_rqid: int


_HEAD = Struct(
    "rqid" / Int16ul,
    "act" / Int8ul,
    "cmd_len" / Int8ul,
    "cmnd" / Bytes(16),
    "timeout_per_command" / Int16ul,
    "channel" / Int16ul,
    "id" / Int16ul,
    "lun" / Int16ul,
    "ref_rqid" / Int16ul,
    "sc_data_direction" / Int8ul,
    "nr_segments" / Int8ul,
)


def parse_head(data: bytes) -> RequestHead:
    """Read the first 32 bytes of a slot; every value of theirs is one."""
    fields = _HEAD.parse(data)
    return RequestHead(
        fields.rqid, fields.act, fields.channel, fields.id, fields.lun, fields.ref_rqid
    )
