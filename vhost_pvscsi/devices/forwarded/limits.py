"""What the host carries in one command, told to guests beforehand.

A device speaks of itself only; between it and the guest are our host's adapter and kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.codes import Opcode
from vhost_pvscsi.scsi.opcodes import command
from vhost_pvscsi.scsi.pages import DeviceType, Vpd, limit_transfers
from vhost_pvscsi.scsi.request import Reply, Request, Service, Status
from vhost_pvscsi.scsi.sense import SenseKey, parsed
from vhost_pvscsi.scsi.sequential import limit_blocks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_INQUIRY = command(Opcode.INQUIRY)
#: SSC-5 7.4.
_READ_BLOCK_LIMITS = 0x05

#: The pages are shorter; the upper byte of the allocation length is reserved in SPC-2.
_ROOM = 0xFC
_BLOCK_LIMITS_BYTES = 64

_DISKS = frozenset({DeviceType.DISK, DeviceType.ZONED_DISK})
#: Types of devices whose READ and WRITE are about blocks with addresses.
HAVE_BLOCKS = _DISKS | {DeviceType.OPTICAL, DeviceType.CD}
#: What a block is taken for where the kernel does not know: the smallest makes the limit largest,
#: and a longer command is refused all the same.
_USUAL_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Limits:
    """What the host carries to one device."""

    device_type: DeviceType
    max_transfer: int  #: bytes
    block_size: int  #: bytes; 0: unknown

    @property
    def opcodes(self) -> frozenset[int]:
        """Commands whose replies `told` may change."""
        if self.device_type in _DISKS:
            return frozenset({int(Opcode.INQUIRY)})
        is_tape = self.device_type is DeviceType.TAPE
        return frozenset({_READ_BLOCK_LIMITS}) if is_tape else frozenset()

    async def told(self, request: Request, ask: Callable[[Request], Awaitable[Reply]]) -> Reply:
        """Have the device answer, and put the host's limits in its answer."""
        if request.opcode == _READ_BLOCK_LIMITS and request.opcode in self.opcodes:
            return self._block_lengths(await ask(request))
        page = self._page(request)
        if page is None:
            return await ask(request)
        length = int.from_bytes(request.cdb[3:5], "big")
        room = max(length, _ROOM)
        cdb = request.cdb[:3] + room.to_bytes(2, "big") + request.cdb[5:]
        reply = await ask(replace(request, cdb=cdb, data_in_length=room))
        if page is Vpd.SUPPORTED_PAGES:
            return _with_page(reply, length)
        return self._limited(reply, length)

    def _page(self, request: Request) -> Vpd | None:
        if request.opcode != Opcode.INQUIRY or request.opcode not in self.opcodes:
            return None
        cdb = _INQUIRY.parse(request.cdb)
        if isinstance(cdb, Reply) or not cdb["evpd"]:
            return None
        page = cdb["page_code"]
        wanted = {Vpd.SUPPORTED_PAGES, Vpd.BLOCK_LIMITS}
        return Vpd(page) if page in wanted else None

    def _limited(self, reply: Reply, length: int) -> Reply:
        data = reply.data
        if _lacks_page(reply):
            # The rest of it says nothing: 0 is "not reported" (SBC-4 6.6.4).
            head = bytes((self.device_type, Vpd.BLOCK_LIMITS, 0, _BLOCK_LIMITS_BYTES - 4))
            data = head.ljust(_BLOCK_LIMITS_BYTES, b"\0")
            reply = Reply()
        most = self.max_transfer // (self.block_size or _USUAL_BLOCK)
        return replace(reply, data=limit_transfers(data, most)[:length])

    def _block_lengths(self, reply: Reply) -> Reply:
        return replace(reply, data=limit_blocks(reply.data, self.max_transfer))


def _lacks_page(reply: Reply) -> bool:
    code = parsed(reply.sense)
    return code is not None and code.key is SenseKey.ILLEGAL_REQUEST


def _with_page(reply: Reply, length: int) -> Reply:
    data = reply.data
    if reply.service is not Service.COMPLETE or reply.status is not Status.GOOD or len(data) < 4:
        return replace(reply, data=data[:length])
    pages = data[4 : 4 + int.from_bytes(data[2:4], "big")]
    if Vpd.BLOCK_LIMITS not in pages:
        pages = bytes(sorted((*pages, Vpd.BLOCK_LIMITS)))
    told = data[:2] + len(pages).to_bytes(2, "big") + pages
    return replace(reply, data=told[:length])
