"""Generated calls: CDBs of known commands and of none, with data that may or may not fit them.

Hypothesis draws; what is drawn here is what a guest may send, right or wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from vhost_pvscsi.scsi.codes import Opcode
from vhost_pvscsi.scsi.opcodes import MEDIUM_OPCODES, TABLE

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Field
    from vhost_pvscsi.scsi.command import Command

#: What virtio-scsi carries (virtio 1.2, 5.6.4: cdb_size).
CDB_SIZE = 32

#: Fields that say where on the medium, how much of it, and how much of a list.
_PLACES = frozenset({"lba", "starting_lba"})
_COUNTS = frozenset({"transfer_length", "number_of_blocks"})
_LENGTHS = frozenset({"allocation_length", "parameter_list_length"})


def examples(count: int) -> settings:
    """Settings for that many examples against something real, which is as slow as it is.

    Module-wide fixtures are on purpose: each example begins by making the state it needs.
    """
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def some_cdb(command: Command, values: list[int], masked: bool) -> bytes:
    """A CDB of a command; `masked`: with no bit that means nothing."""
    raw = bytes((command.opcode, *values))[: command.length]
    if masked:
        raw = bytes(value & mask for value, mask in zip(raw, command.usage, strict=True))
    if command.service_action is not None:
        raw = bytes((raw[0], raw[1] & 0xE0 | command.service_action, *raw[2:]))
    return raw


@dataclass(frozen=True, slots=True)
class Shape:
    """What a generated call needs to know of a disk; sizes in bytes."""

    blocks: int
    block_size: int


@dataclass(frozen=True, slots=True)
class Call:
    """One command with its buffers."""

    cdb: bytes
    data_out: bytes = b""
    room: int = 0  #: for data-in, bytes

    def __repr__(self) -> str:
        shown = self.data_out[:96].hex()
        out = f"{len(self.data_out)} bytes {shown}" if self.data_out else "nothing"
        return f"<CDB {self.cdb.hex()}, data-out {out}, room for {self.room}>"

    def _repr_pretty_(self, printer: Any, _cycle: object) -> None:
        # Hypothesis would print every byte of the data.
        printer.text(repr(self))


def _field(name: str, field: Field, shape: Shape) -> st.SearchStrategy[int]:
    most = (1 << field.width) - 1
    whatever = st.integers(0, most)
    if name in _PLACES:
        near = [0, 1, 7, 8, shape.blocks - 1, shape.blocks, shape.blocks + 1, most]
        chosen = st.one_of(st.integers(0, shape.blocks), st.sampled_from(near), whatever)
    elif name in _COUNTS:
        near = [0, 1, 2, 8, shape.blocks, shape.blocks + 1, most]
        chosen = st.one_of(st.integers(0, 16), st.sampled_from(near), whatever)
    elif name in _LENGTHS:
        chosen = st.one_of(st.integers(0, 64), st.sampled_from([24, 40, 255, most]), whatever)
    else:
        chosen = st.one_of(st.just(0), whatever)
    return chosen.map(lambda value: min(value, most))


@st.composite
def cdb_of(draw: st.DrawFn, command: Command, shape: Shape) -> bytes:
    """A CDB of that command: any values, and now and then a bit that means nothing."""
    chosen = {name: draw(_field(name, field, shape)) for name, field in command.fields.items()}
    if draw(st.booleans()):  # within the medium, where it is about blocks
        chosen |= {name: draw(st.integers(0, shape.blocks - 16)) for name in _PLACES & {*chosen}}
        chosen |= {name: draw(st.integers(0, 16)) for name in _COUNTS & {*chosen}}
    if command.service_action is not None:
        chosen["service_action"] = command.service_action
    value = int.from_bytes(bytes((command.opcode,)).ljust(command.length, b"\0"), "big")
    for name, number in chosen.items():
        value |= int.from_bytes(command.fields[name].place(number, command.length), "big")
    if draw(st.integers(0, 5)) == 5:
        value ^= 1 << draw(st.integers(0, 8 * (command.length - 1) - 1))
    cdb = value.to_bytes(command.length, "big")
    # What follows a short CDB in its 32 bytes means nothing.
    tail = draw(st.sampled_from([b"\0", b"\xff"]))
    return cdb + tail * (CDB_SIZE - len(cdb))


def noise() -> st.SearchStrategy[bytes]:
    """Any bytes, as many as a CDB has here, or half of them."""
    sixteen = st.binary(min_size=16, max_size=16).map(lambda data: data.ljust(CDB_SIZE, b"\0"))
    return st.one_of(sixteen, st.binary(min_size=CDB_SIZE, max_size=CDB_SIZE))


def known_cdbs(shape: Shape, opcodes: frozenset[int] | None = None) -> st.SearchStrategy[bytes]:
    """CDBs of the table's commands, or of those with these operation codes."""
    chosen = [c for c in TABLE if opcodes is None or int(c.opcode) in opcodes]
    return st.sampled_from(chosen).flatmap(lambda command: cdb_of(command, shape))


def fill(blocks: int, block_size: int, seed: int = 0) -> bytes:
    """What a medium is filled with: no two blocks are alike."""
    words = block_size // 8
    return b"".join(
        (seed << 56 | block << 8 | 0x5A).to_bytes(8, "big") * words for block in range(blocks)
    )


def extent(cdb: bytes) -> tuple[int, int]:
    """LBA and number of blocks of a medium command, by the length of its CDB (SPC-5, "CDB")."""
    match cdb[0] >> 5:
        case 0:
            return int.from_bytes(cdb[1:4], "big") & 0x1FFFFF, cdb[4] or 256
        case 1 | 2:
            return int.from_bytes(cdb[2:6], "big"), int.from_bytes(cdb[7:9], "big")
        case 5:
            return int.from_bytes(cdb[2:6], "big"), int.from_bytes(cdb[6:10], "big")
        case _ if cdb[0] == 0x89:
            return int.from_bytes(cdb[2:10], "big"), cdb[13]
        case _:
            return int.from_bytes(cdb[2:10], "big"), int.from_bytes(cdb[10:14], "big")


@st.composite
def unmap_lists(draw: st.DrawFn, shape: Shape) -> bytes:
    """A parameter list of UNMAP; its lengths are right, or nearly (SBC-4, "UNMAP")."""
    place = st.one_of(st.integers(0, shape.blocks), st.sampled_from([2**64 - 1, 2**63]))
    count = st.one_of(st.integers(0, 16), st.sampled_from([shape.blocks, 2**32 - 1]))
    extents = draw(st.lists(st.tuples(place, count), max_size=4))
    descriptors = b"".join(
        lba.to_bytes(8, "big") + number.to_bytes(4, "big") + bytes(4) for lba, number in extents
    )
    wrong = draw(st.sampled_from([0, 0, 0, 1, 8, 16, 0xFF00]))
    lengths = (len(descriptors) + 6, (len(descriptors) + wrong) & 0xFFFF)
    return b"".join(n.to_bytes(2, "big") for n in lengths) + bytes(4) + descriptors


@st.composite
def buffers(draw: st.DrawFn, cdb: bytes, shape: Shape) -> Call:
    """That CDB with data-out and room for data-in that may fit it."""
    size = shape.block_size
    lba, blocks = extent(cdb)
    near = min(blocks, shape.blocks) * size
    start = min(lba, shape.blocks) * size
    same, other = (fill(shape.blocks, size, seed)[start:][:near] for seed in (0, 1))
    if draw(st.integers(0, 2)):
        return draw(_fitting(cdb, same, other, shape))
    content = draw(
        st.one_of(
            st.sampled_from([b"", same, other, same[:size], same + other, bytes(near)]),
            unmap_lists(shape),
            st.binary(max_size=96),
        )
    )
    surplus = draw(st.sampled_from([0, -1, 1, size, -size]))
    content = content[: len(content) + surplus] if surplus < 0 else content + bytes(surplus)
    rooms = st.sampled_from([0, near, max(near - 1, 0), near + 1, near // 2])
    room = draw(st.one_of(rooms, st.integers(0, 4 * size)))
    # Commands have data one way; a driver that gives buffers for both is answered too.
    ways = draw(st.sampled_from(["out", "out", "in", "in", "both"]))
    return Call(cdb, content if ways != "in" else b"", room if ways != "out" else 0)


def _fitting(cdb: bytes, same: bytes, other: bytes, shape: Shape) -> st.SearchStrategy[Call]:
    """Buffers as the command wants them; what is on the medium there, or something else."""
    size = shape.block_size
    match cdb[0]:
        case Opcode.COMPARE_AND_WRITE:
            contents = [same + other, other + same]
        case Opcode.WRITE_SAME_10 | Opcode.WRITE_SAME_16:
            contents = [b"", bytes(size), fill(1, size, 1)]
        case Opcode.VERIFY_10 | Opcode.VERIFY_12 | Opcode.VERIFY_16 if cdb[1] & 6 == 6:
            contents = [same[:size], other[:size]]
        case Opcode.UNMAP:
            return unmap_lists(shape).map(
                lambda data: Call(cdb[:7] + len(data).to_bytes(2, "big") + cdb[9:], data)
            )
        case Opcode.READ_6 | Opcode.READ_10 | Opcode.READ_12 | Opcode.READ_16:
            return st.just(Call(cdb, b"", len(same)))
        case opcode if opcode in MEDIUM_OPCODES:
            contents = [same, other]
        case _:
            return st.sampled_from([0, 8, 255, 4096]).map(lambda room: Call(cdb, b"", room))
    return st.sampled_from(contents).map(lambda content: Call(cdb, content))


def carried_out(call: Call, before: bytes, shape: Shape) -> bytes:
    """What a medium holds after a call that ended with GOOD (SBC-4 5)."""
    size = shape.block_size
    lba, blocks = extent(call.cdb)
    start, length, out = lba * size, blocks * size, call.data_out
    match call.cdb[0]:
        case Opcode.WRITE_6 | Opcode.WRITE_10 | Opcode.WRITE_12 | Opcode.WRITE_16:
            new = out[:length]
        case Opcode.WRITE_AND_VERIFY_10 | Opcode.WRITE_AND_VERIFY_12 | Opcode.WRITE_AND_VERIFY_16:
            new = out[:length]
        case Opcode.COMPARE_AND_WRITE:
            assert out[:length] == before[start : start + length]
            new = out[length : 2 * length]
        case Opcode.WRITE_SAME_10 | Opcode.WRITE_SAME_16:
            nothing = call.cdb[0] == Opcode.WRITE_SAME_16 and call.cdb[1] & 1
            new = (bytes(size) if nothing else out[:size]) * (blocks or shape.blocks - lba)
        case Opcode.UNMAP:
            return _unmapped(call, before, size)
        case _:
            return before
    return before[:start] + new + before[start + len(new) :]


def _unmapped(call: Call, before: bytes, size: int) -> bytes:
    # Blocks without a mapping read as zeros: LBPRZ.
    after = bytearray(before)
    length = min(int.from_bytes(call.cdb[7:9], "big"), len(call.data_out))
    count = min(int.from_bytes(call.data_out[2:4], "big"), max(length - 8, 0)) // 16
    for position in range(8, 8 + 16 * count, 16):
        entry = call.data_out[position : position + 16]
        lba, blocks = int.from_bytes(entry[:8], "big"), int.from_bytes(entry[8:12], "big")
        after[lba * size : (lba + blocks) * size] = bytes(blocks * size)
    return bytes(after)
