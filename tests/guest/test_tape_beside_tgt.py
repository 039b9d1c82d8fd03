"""Our tape drive beside one that somebody else wrote: reply by reply, each difference judged.

docs/tape-comparison.md says what differs and which of the two the standard is with; what it says
and what is so must agree. Both drives are asked through the back-end: what is forwarded comes
unchanged (test_xen_host_library.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.harness import images, inside, tape, tgt
from tests.harness.scsi_daemon import SOCKET, ScsiDaemon
from tests.harness.scsi_host import ScsiHost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.evidence import Collector
    from tests.harness.frontend import Response

pytestmark = [pytest.mark.guest, pytest.mark.long]

PAGE = Path(__file__).parents[2] / "docs" / "tape-comparison.md"
THEIRS, OURS = 1, 2  # targets
CAPACITY_MIB = 16

#: Name, CDB, data-out, room for data-in.
Step: TypeAlias = tuple[str, bytes, bytes, int]


def step(name: str, cdb: bytes | str, *, out: bytes = b"", room: int = 0) -> Step:
    return name, bytes.fromhex(cdb) if isinstance(cdb, str) else cdb, out, room


def write(name: str, length: int) -> Step:
    return step(name, tape.write_6(length), out=bytes([length & 0xFF]) * length)


def read(name: str, room: int, *, suppress: bool = False) -> Step:
    return step(name, tape.read_6(room, suppress=suppress), room=room)


REWIND = step("", tape.REWIND)
#: What has no name is not compared: it makes both stand at the same place.
WRITTEN = (
    REWIND,
    write("WRITE of 1000 bytes", 1000),
    write("WRITE of 2000 bytes", 2000),
    step("WRITE FILEMARKS", tape.write_filemarks(1)),
    write("", 500),
    step("", tape.write_filemarks(1)),
)
WRITTEN_AGAIN: tuple[Step, ...] = tuple(("", cdb, out, room) for _, cdb, out, room in WRITTEN)
FIXED, FIXED_LIST = tape.mode_select(512)
VARIABLE, VARIABLE_LIST = tape.mode_select(0)
STORY = (
    step("TEST UNIT READY", "000000000000"),
    step("INQUIRY", "12000000ff00", room=255),
    *(
        step(f"INQUIRY, page {page:02X}h", f"1201{page:02x}00ff00", room=255)
        for page in (0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2, 0x86)
    ),
    step("REQUEST SENSE", "03000000fc00", room=252),
    step("READ BLOCK LIMITS", "050000000000", room=6),
    step("MODE SENSE(6), header and block descriptor", "1a0000000c00", room=12),
    *(
        step(f"MODE SENSE(6), page {page:02X}h", f"1a08{page:02x}00ff00", room=255)
        for page in (0x02, 0x0A, 0x0F, 0x10, 0x11, 0x1C, 0x3F)
    ),
    step("REPORT DENSITY SUPPORT", "4400000000000001ff00", room=511),
    step("LOG SENSE, supported pages", "4d004000000000010000", room=256),
    step("LOG SENSE, TapeAlert", "4d006e00000000020000", room=512),
    step("REPORT LUNS", "a00000000000000001000000", room=256),
    step("PERSISTENT RESERVE IN, READ KEYS", "5e000000000000004000", room=64),
    step("an operation code of nobody's", "1f0000000000"),
    *WRITTEN,
    step("READ POSITION, short form", "34000000000000000000", room=20),
    step("READ POSITION, long form", "34060000000000000000", room=32),
    REWIND,
    step("READ POSITION at the beginning", "34000000000000000000", room=20),
    read("READ with more room than the block has", 4096),
    read("READ with less room than the block has", 512),
    read("READ of a filemark", 4096),
    read("READ with more room, SILI", 4096, suppress=True),
    read("", 4096),
    read("READ at the end of data", 4096),
    REWIND,
    step("READ of no bytes", tape.read_6(0)),
    REWIND,
    step("WRITE of no bytes", tape.write_6(0)),
    REWIND,
    read("READ after a WRITE of no bytes", 1000),
    *WRITTEN_AGAIN,
    REWIND,
    step("READ of fixed blocks in variable mode", tape.read_6(1, fixed=True), room=512),
    REWIND,
    step("SPACE over 2 blocks", tape.space(tape.BLOCKS, 2)),
    read("READ of a filemark after SPACE", 4096),
    REWIND,
    step("SPACE over more blocks than before the filemark", tape.space(tape.BLOCKS, 5)),
    REWIND,
    step("SPACE over 1 filemark", tape.space(tape.MARKS, 1)),
    read("READ of the block after it", 500),
    step("SPACE back over that block", tape.space(tape.BLOCKS, -1)),
    read("READ of it again", 500),
    REWIND,
    step("SPACE over more filemarks than there are", tape.space(tape.MARKS, 5)),
    REWIND,
    step("SPACE to the end of data", tape.space(tape.END, 0)),
    step("SPACE back over a filemark", tape.space(tape.MARKS, -1)),
    step("SPACE back over the block before the filemark", tape.space(tape.BLOCKS, -1)),
    read("READ of that block", 500),
    REWIND,
    step("SPACE back at the beginning", tape.space(tape.BLOCKS, -1)),
    REWIND,
    step("LOCATE(10) of block 1", tape.locate_10(1)),
    read("READ of block 1", 2000),
    step("LOCATE(16) of block 1", tape.locate_16(1)),
    step("LOCATE(10) beyond the end of data", tape.locate_10(100)),
    REWIND,
    step("MODE SELECT(6), blocks of 512 bytes", FIXED, out=FIXED_LIST),
    step("WRITE of 3 fixed blocks", tape.write_6(3, fixed=True), out=bytes(1536)),
    REWIND,
    step("READ of 2 fixed blocks", tape.read_6(2, fixed=True), room=1024),
    step("READ of more fixed blocks than there are", tape.read_6(4, fixed=True), room=2048),
    step("", VARIABLE, out=VARIABLE_LIST),
    REWIND,
    read("READ of a block after what was overwritten", 512),
    step("SPACE to the end of what is left", tape.space(tape.END, 0)),
    read("READ at the end of what is left", 4096),
    REWIND,
    step("ERASE, short", "190000000000"),
    read("READ of an erased tape", 4096),
    step("PREVENT ALLOW MEDIUM REMOVAL", "1e0000000100"),
    step("UNLOAD while it is prevented", tape.UNLOAD),
    step("", "1e0000000000"),
    step("UNLOAD", tape.UNLOAD),
    step("TEST UNIT READY when it is unloaded", "000000000000"),
    step("LOAD", tape.LOAD),
    step("TEST UNIT READY after LOAD", "000000000000"),
    step("TEST UNIT READY once more", "000000000000"),
)


@pytest.fixture(scope="module")
def host(evidence: Collector) -> Iterator[ScsiHost]:
    """The host with both drives at a front-end."""
    with ScsiHost(images.scsi_host()) as host, evidence.watch(host):
        host.boot()
        host.inside.start()
        library = tgt.start(host, tape_mib=CAPACITY_MIB)
        luns = [
            f"0:0:{THEIRS}:0={library.node(tgt.TAPE_BESIDE)}",
            f"0:0:{OURS}:0=tape:/run/ours.tap,create,capacity={CAPACITY_MIB}M",
        ]
        ScsiDaemon(host, luns).start()
        host.inside.call(inside.connect, str(SOCKET))
        for target in (THEIRS, OURS):
            for _ in range(6):
                host.inside.call(inside.scsi, target, 0, bytes(6))
        yield host


def said(answer: Response) -> str:
    """What a guest sees of an answer, to read and to compare."""
    words = []
    if answer.status != 0:
        sense = answer.sense
        key, code, qualifier = answer.sense_code
        flags = "".join(
            f" {name}"
            for name, bit in (("FM", tape.FILEMARK), ("EOM", tape.EOM), ("ILI", tape.ILI))
            if sense[2] & bit
        )
        left = f" information {tape.residual(answer)}" if sense[0] & 0x80 else ""
        words.append(f"{key:X}h/{code:02X}h/{qualifier:02X}h{flags}{left}")
    data = answer.data[: len(answer.data) - answer.resid]
    if data:
        short = f"{len(data)} bytes, {data[:4].hex()}..."
        words.append(data.hex(" ", -4) if len(data) < 256 else short)
    return "; ".join(words) or "good"


def play(host: ScsiHost, target: int) -> dict[str, str]:
    told = {}
    for name, cdb, out, room in STORY:
        answer = host.inside.call(inside.scsi, target, 0, cdb, data_out=out, data_in=room)
        if name:
            told[name] = said(answer)
    return told


def judged() -> set[str]:
    """What the page's table says that differs."""
    rows = re.findall(r"^\| (.+?) \|", PAGE.read_text(), re.MULTILINE)
    return {name for row in rows[1:] for name in row.split("; ")}


def test_each_difference_is_judged(host: ScsiHost) -> None:
    theirs, ours = play(host, THEIRS), play(host, OURS)
    differ = {name: (theirs[name], ours[name]) for name in theirs if theirs[name] != ours[name]}
    text = "\n".join(f"{name}\n  tgt:  {a}\n  ours: {b}" for name, (a, b) in differ.items())
    assert set(differ) == judged(), text
