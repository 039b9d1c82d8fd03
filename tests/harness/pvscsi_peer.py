"""The smallest back-end that speaks docs/pvscsi-socket.md: disks of memory, one thread, no engine.

`python -m tests.harness.pvscsi_peer SOCKET CONTROL` serves one LUN at target 0. Lines on the
pipe CONTROL add and remove others: `add ID TARGET NAME`, `remove ID`. It tries the QEMU device
without the engine's ring, and shows what another back-end has to do.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import struct
import sys
from dataclasses import dataclass, field

from vhost_pvscsi.wire import pvscsi_socket as wire
from vhost_pvscsi.wire import vhost_user

_PAGE = 4096
_SLOTS, _SLOT_SIZE, _FIRST_SLOT = 16, 252, 64
_REQUEST = struct.Struct("<HBB16sHHHHHBB")
_RESPONSE = struct.Struct("<HBB96siI")
_SEGMENT = struct.Struct("<IHH")
_SG_GRANT = 0x80
_BLOCK, _BLOCKS = 512, 16384
_DID_ERROR, _DID_NO_CONNECT = 7 << 16, 1 << 16
_PINS_AT = 8192
_INVALID_COMMAND = bytes.fromhex("70 00 05 00000000 0a 00000000 20 00 00000000")


@dataclass(slots=True)
class Guest:
    """What the front-end has handed over."""

    memory: list[tuple[wire.MemoryTable, mmap.mmap]] = field(default_factory=list)
    grants: mmap.mmap | None = None
    inflight: mmap.mmap | None = None
    ring_ref: int = 0
    kick: int = -1
    call: int = -1

    def page(self, ref):
        """The page that a grant reference names, as region and offset."""
        flags, domid, frame = struct.unpack_from("<HHI", self.grants, ref * 8)
        if flags & 3 != 1 or domid != 0:
            raise LookupError(f"grant {ref}: flags {flags:#x}, domid {domid}")
        at = frame * _PAGE
        for region, mapped in self.memory:
            if region.guest_address <= at < region.guest_address + region.size:
                return mapped, at - region.guest_address
        raise LookupError(f"grant {ref}: frame {frame:#x} is nowhere")


@dataclass(slots=True)
class Disk:
    """A disk of memory."""

    lun: wire.Lun
    data: bytearray = field(default_factory=lambda: bytearray(_BLOCK * _BLOCKS))

    def execute(self, cdb, data_out):
        """Return data-in, or None for CHECK CONDITION."""
        match cdb[0]:
            case 0x12 if not cdb[1] & 1:
                text = b"PEER    PVSCSI PEER     0001"
                return (bytes((0, 0, 5, 2, 31, 0, 0, 2)) + text)[: cdb[3] << 8 | cdb[4]]
            case 0x00 | 0x1B | 0x1E | 0x35:
                return b""
            case 0x25:
                return struct.pack(">II", _BLOCKS - 1, _BLOCK)
            case 0x1A:
                return bytes((3, 0, 0, 0))[: cdb[4]]
            case 0xA0:
                return struct.pack(">II", 8, 0) + bytes(8)
            case 0x28:
                at, count = struct.unpack(">I", cdb[2:6])[0], cdb[7] << 8 | cdb[8]
                return bytes(self.data[at * _BLOCK : (at + count) * _BLOCK])
            case 0x2A:
                at, count = struct.unpack(">I", cdb[2:6])[0], cdb[7] << 8 | cdb[8]
                self.data[at * _BLOCK : (at + count) * _BLOCK] = data_out[: count * _BLOCK]
                return b""
        return None


class Peer:
    """One front-end at a time."""

    def __init__(self, disks):
        self.disks = {disk.lun.id: disk for disk in disks}
        self.guest = Guest()
        self.notices = None
        self.running = False
        self.consumed = 0

    def serve(self, connection, control):
        while True:
            watched = [connection, control]
            if self.running:
                watched.append(self.guest.kick)
            ready, _, _ = select.select(watched, [], [])
            if connection in ready and not self._message(connection):
                return
            if control in ready:
                self._order(control)
            if self.running and self.guest.kick in ready:
                os.eventfd_read(self.guest.kick)
                self.drain()

    def _message(self, connection):
        head, fds, _, _ = socket.recv_fds(connection, 12, 8)
        if not head:
            return False
        size = struct.unpack("<III", head)[2]
        payload = b""
        while len(payload) < size:
            payload += connection.recv(size - len(payload))
        message = wire.parse(vhost_user.parse_header(head), payload)
        wire.check_descriptors(message, len(fds))
        answer = self._do(message, fds)
        if answer is None and message.need_reply:
            answer = vhost_user.Number(0)
        if answer is not None:
            connection.sendall(wire.encode(wire.Message(message.kind, answer, reply=True)))
        return True

    def _do(self, message, fds):
        """Carry a request out; return its reply, or None."""
        body, kind = message.body, wire.Kind
        match message.kind:
            case kind.HELLO:
                return wire.Hello(1, wire.Ability.GRANT_TABLE | wire.Ability.INFLIGHT)
            case kind.GET_FEATURES:
                return vhost_user.Number(wire.Feature.SG_GRANT | 128 << wire.SEGMENTS_SHIFT)
            case kind.GET_PROTOCOL_FEATURES:
                feature = vhost_user.ProtocolFeature
                return vhost_user.Number(
                    feature.REPLY_ACK | feature.BACKEND_REQ | feature.RESET_DEVICE
                )
            case kind.SET_BACKEND_REQ_FD:
                self.notices = socket.socket(fileno=fds[0])
            case kind.GET_LUNS:
                disks = self.disks.values()
                luns = tuple(disk.lun for disk in disks if disk.lun.id >= body.first)
                return wire.Luns(luns, 0)
            case kind.SET_MEM_TABLE:
                self.guest.memory = [
                    (region, mmap.mmap(fd, region.size, offset=region.offset))
                    for region, fd in zip(body.regions, fds, strict=True)
                ]
            case kind.SET_GRANT_TABLE:
                self.guest.grants = mmap.mmap(fds[0], body.size, offset=body.offset)
            case kind.SET_INFLIGHT:
                self.guest.inflight = mmap.mmap(fds[0], body.size, offset=body.offset)
            case kind.SET_RING:
                self.guest.ring_ref = body.where
            case kind.SET_VRING_KICK:
                self.guest.kick = fds[0]
            case kind.SET_VRING_CALL:
                self.guest.call = fds[0]
            case kind.SET_VRING_ENABLE:
                self._start()
            case kind.RESET_DEVICE | kind.GET_VRING_BASE:
                self.running = False
                print("peer: stopped", flush=True)
                if message.kind is kind.GET_VRING_BASE:
                    return vhost_user.VringState(0, self.consumed)
            case kind.LUN_STATE:
                print(f"peer: LUN {body.id}: {body.state.name}", flush=True)
        return None

    def _start(self):
        mapped, at = self.guest.page(self.guest.ring_ref)
        self.pin(self.guest.ring_ref)
        (self.consumed,) = struct.unpack_from("<I", mapped, at + 8)
        self.running = True
        print(f"peer: running from {self.consumed}", flush=True)
        self.drain()

    def pin(self, ref):
        """Note a grant in the in-flight area, as in use and for writing, and mark it so."""
        self.guest.inflight[_PINS_AT + ref] = 3
        (flags,) = struct.unpack_from("<H", self.guest.grants, ref * 8)
        struct.pack_into("<H", self.guest.grants, ref * 8, flags | 0x18)

    def drain(self):
        """Answer all that is in the ring."""
        mapped, base = self.guest.page(self.guest.ring_ref)
        while True:
            (produced,) = struct.unpack_from("<I", mapped, base)
            while self.consumed != produced:
                at = base + _FIRST_SLOT + self.consumed % _SLOTS * _SLOT_SIZE
                mapped[at : at + _SLOT_SIZE] = self._answer(mapped[at : at + _SLOT_SIZE])
                self.consumed += 1
            struct.pack_into("<I", mapped, base + 8, self.consumed)
            # More notifications than are asked for do no harm.
            os.eventfd_write(self.guest.call, 1)
            struct.pack_into("<I", mapped, base + 4, self.consumed + 1)
            if struct.unpack_from("<I", mapped, base)[0] == self.consumed:
                return

    def _answer(self, slot):
        rqid, act, length, cdb, _, channel, target, lun, _, way, segments = _REQUEST.unpack_from(
            slot
        )
        result, sense, residual = 0, b"", 0
        try:
            disk = next(
                each
                for each in self.disks.values()
                if (each.lun.channel, each.lun.target, each.lun.lun) == (channel, target, lun)
            )
            places = self._places(slot, segments)
            out = b"".join(m[a : a + n] for m, a, n in places) if way == 1 else b""
            data = disk.execute(cdb[:length], out)
            if act != 1:
                result = 0x2002
            elif data is None:
                result, sense = (
                    2,
                    bytes((0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0)),
                )
            elif way == 2:
                residual = self._give(places, data)
        except StopIteration:
            result = _DID_NO_CONNECT
        except LookupError as error:
            print(f"peer: {error}", flush=True)
            result = _DID_ERROR
        answer = _RESPONSE.pack(rqid, 0, len(sense), sense, result, residual)
        return answer.ljust(_SLOT_SIZE, b"\0")

    def _places(self, slot, segments):
        """Where a request's data is: mapping, offset, length of each piece."""
        count = segments & ~_SG_GRANT
        found = [_SEGMENT.unpack_from(slot, 32 + 8 * number) for number in range(count)]
        if segments & _SG_GRANT:
            pages = [(self.guest.page(ref), offset, size) for ref, offset, size in found]
            found = [
                each
                for (mapped, at), offset, size in pages
                for each in _SEGMENT.iter_unpack(mapped[at + offset : at + offset + size])
            ]
        return [
            (mapped, at + offset, size)
            for ref, offset, size in found
            for mapped, at in [self.guest.page(ref)]
        ]

    def _give(self, places, data):
        room = sum(size for _, _, size in places)
        done = 0
        for mapped, at, size in places:
            piece = data[done : done + size]
            mapped[at : at + len(piece)] = piece
            done += len(piece)
        return room - min(room, len(data))

    def _order(self, control):
        for line in os.read(control, 4096).decode().splitlines():
            word, number, *rest = line.split()
            if word == "add":
                disk = Disk(wire.Lun(int(number), 0, 0, int(rest[0]), 0, rest[1]))
                self.disks[disk.lun.id] = disk
                self._tell(wire.BackEndKind.LUN_ADD, disk.lun)
            else:
                self._tell(wire.BackEndKind.LUN_REMOVE, wire.LunName(int(number)))
                del self.disks[int(number)]

    def _tell(self, kind, body):
        if self.notices is not None:
            self.notices.sendall(wire.encode_notice(kind, body))


def main():
    path, control_path = sys.argv[1:]
    peer = Peer([Disk(wire.Lun(1, 0, 0, 0, 0, "peer:0"))])
    control = os.open(control_path, os.O_RDWR)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("peer: listening", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                peer.serve(connection, control)
            peer.running = False
            print("peer: the front-end has left", flush=True)


if __name__ == "__main__":
    main()
