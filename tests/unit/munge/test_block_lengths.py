"""READ BLOCK LIMITS of tapes, as far as rings and options have a say."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

import pytest

from vhost_pvscsi.devices.presentation import Presentation
from vhost_pvscsi.munge.block_lengths import as_carried
from vhost_pvscsi.scsi import sense
from vhost_pvscsi.scsi.request import Reply, Request

if TYPE_CHECKING:
    from vhost_pvscsi.translation import Mapping


class _Shown:
    def __init__(self, limit: int | None) -> None:
        self.presentation = Presentation(max_transfer=limit)


def told(reply: Reply, *, ring: int, option: int | None = None, flags: int = 0) -> Reply:
    cdb = bytes((0x05, flags, 0, 0, 0, 0))
    request = Request(nexus="a", target=0, lun=0, cdb=cdb, block_limit=ring)
    return as_carried(request, reply, cast("Mapping", _Shown(option)))


@pytest.mark.parametrize(("said", "ring", "option", "wanted"), [
    (8 << 20, 0, None, 8 << 20),
    (8 << 20, 508 << 10, None, 508 << 10),
    (8 << 20, 508 << 10, 64 << 10, 64 << 10),
    (8 << 20, 0, 64 << 10, 64 << 10),
    (4096, 508 << 10, None, 4096),
    (0, 508 << 10, None, 508 << 10),  # a device without a limit
    (8 << 20, 0, 32 << 20, 8 << 20),
])  # fmt: skip
def test_the_least_of_all_limits_is_told(
    said: int, ring: int, option: int | None, wanted: int
) -> None:
    reply = told(Reply(data=struct.pack(">IH", said, 1)), ring=ring, option=option)
    assert reply.data == struct.pack(">IH", wanted, 1)


def test_what_is_no_block_length_stays() -> None:
    identifiers = Reply(data=bytes(12) + b"\xff" * 8)
    assert told(identifiers, ring=4096, flags=1) == identifiers
    refused = sense.check_condition(sense.MEDIUM_NOT_PRESENT)
    assert told(refused, ring=4096) == refused
    assert told(Reply(data=b"\0"), ring=4096) == Reply(data=b"\0")
