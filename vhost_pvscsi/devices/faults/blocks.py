"""Medium commands made short, and blocks made corrupt."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from vhost_pvscsi.scsi.codes import Opcode
from vhost_pvscsi.scsi.request import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from vhost_pvscsi.medium import Medium

    from .rule import Extent
    from .subject import Subject

_Result = TypeVar("_Result")

#: What a 6-byte CDB becomes that shall move no block: in it, 0 would be 256.
_TEN_BYTE = {Opcode.READ_6: Opcode.READ_10, Opcode.WRITE_6: Opcode.WRITE_10}


class Geometry(Protocol):
    """A unit's blocks, as they are at the time."""

    @property
    def blocks(self) -> int:
        """How many."""

    @property
    def block_size(self) -> int:
        """Bytes in each."""

    @property
    def transport_limit(self) -> int:
        """Bytes that one command may move, 0: no limit."""


def sound(subject: Subject, request: Request, geometry: Geometry) -> bool:
    """Whether the executor would take the command as it stands.

    One that it would refuse has to be refused: neither shortened until it fits, nor answered
    with data.
    """
    if subject.command is None or isinstance(subject.command.parse(request.cdb), Reply):
        return False
    length = subject.blocks * geometry.block_size
    room = request.data_out_length if subject.outgoing else request.data_in_length
    limit = geometry.transport_limit or length
    return subject.lba + subject.blocks <= geometry.blocks and length <= min(room, limit)


def shortened(subject: Subject, request: Request, blocks: int) -> Request:
    """Make the request one for its first `blocks` blocks only."""
    command = subject.command
    assert command is not None  # `sound` has said so
    if blocks == 0 and subject.opcode in _TEN_BYTE:
        code = _TEN_BYTE[Opcode(subject.opcode)]
        cdb = struct.pack(">BxIxHx", code, subject.lba, 0)
        return replace(request, cdb=cdb.ljust(len(request.cdb), b"\0"))
    field = command.fields["transfer_length"]
    length = command.length
    mask = int.from_bytes(field.place((1 << field.width) - 1, length), "big")
    number = int.from_bytes(request.cdb[:length], "big") & ~mask
    number |= int.from_bytes(field.place(blocks, length), "big")
    return replace(request, cdb=number.to_bytes(length, "big") + request.cdb[length:])


def flipped(data: bytes, start: int, count: int) -> bytes:
    """Data with all bits of some bytes turned round."""
    end = min(start + count, len(data))
    return data[:start] + bytes(byte ^ 0xFF for byte in data[start:end]) + data[end:]


async def read_corrupt(
    medium: Medium, wanted: Extent, block_size: int, start: int, count: int
) -> bytes:
    """Read blocks, and flip `count` bytes from byte `start` of the medium on.

    Raises:
        OSError: the host refused.
    """
    assert wanted.last is not None
    offset = wanted.first * block_size
    length = (wanted.last - wanted.first + 1) * block_size
    data = await asyncio.to_thread(medium.read, offset, length)
    return flipped(data, start - offset, count)


async def corrupt_stored(medium: Medium, stored: Extent, block_size: int, count: int) -> None:
    """Flip the first `count` bytes of blocks that a command has just written.

    It ends before a cancellation takes effect: a command that was aborted writes no more.

    Raises:
        OSError: the host refused.
    """
    assert stored.last is not None
    offset = stored.first * block_size
    blocks = min(-(-count // block_size), stored.last - stored.first + 1)

    def corrupt() -> None:
        data = medium.read(offset, blocks * block_size)
        medium.write(offset, flipped(data, 0, count))

    await _to_its_end(asyncio.to_thread(corrupt))


async def _to_its_end(work: Awaitable[_Result]) -> _Result:
    """Await work that a cancellation must not leave running behind it."""
    future = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        future.exception()  # seen; the command's own end is another
        raise cancelled
    return future.result()
