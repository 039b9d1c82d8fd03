"""How long it takes to find a place on a long tape, beside a command that finds none.

    python -m tests.bench.tape [--blocks N] [--rounds N] [FOLDER]

A daemon with a tape of N blocks, a filemark behind every thousandth, and a front-end of ours. One
line of JSON for each command: milliseconds, from before it is sent to its answer, the middle and
the most of all rounds. The daemon's first start reads the image from end to end (`attach scanned`),
its second has the index (`attach indexed`). It judges nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness import tape as ssc
from tests.harness.daemon import Daemon
from tests.harness.frontend import FrontEnd
from tests.harness.tape import Tape

from .backend import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK, _FILE = 512, 1000


def make_image(path: Path, blocks: int) -> None:
    """Write a tape as others would."""
    length = struct.pack("<I", _BLOCK)
    with path.open("wb") as file:
        for number in range(blocks):
            file.write(length + number.to_bytes(8, "big").ljust(_BLOCK, b"\0") + length)
            if number % _FILE == _FILE - 1:
                file.write(bytes(4))


def milliseconds(act: Callable[[], object]) -> float:
    """How long something takes."""
    begin = time.perf_counter()
    act()
    return (time.perf_counter() - begin) * 1000


def emit(what: str, taken: list[float]) -> None:
    """Print one line of the result."""
    middle, most = statistics.median(taken), max(taken)
    print(json.dumps({"what": what, "median_ms": round(middle, 3), "max_ms": round(most, 3)}))


def commands(end: int) -> dict[str, tuple[bytes, int]]:
    """What is measured, from the beginning on or backwards from the end, and where it leads."""
    files = end // (_FILE + 1)
    return {
        "TEST UNIT READY": (bytes(6), 0),
        "SPACE to the end of data": (ssc.space(ssc.END, 0), end),
        "SPACE over all filemarks": (ssc.space(ssc.MARKS, files), end),
        "SPACE one filemark back": (ssc.space(ssc.MARKS, -1), end - 1),
        "SPACE over 999 blocks": (ssc.space_16(ssc.BLOCKS, _FILE - 1), _FILE - 1),
        "LOCATE(10) the last block": (ssc.locate_10(end - 2), end - 2),
        "LOCATE(16) the last file": (ssc.locate_16(files - 1, kind=1), end - _FILE - 1),
        "LOCATE(10) the middle": (ssc.locate_10(end // 2 + 31), end // 2 + 31),
    }


def measure(folder: Path, blocks: int, rounds: int) -> None:
    """Measure in a folder."""
    image = folder / "long.tap"
    make_image(image, blocks)
    daemon = Daemon(folder, sockets=[folder / "s"], luns=[f"0:0:0:0=tape:{image}"])
    for what in ("attach scanned", "attach indexed"):
        emit(what, [milliseconds(daemon.start)])
        daemon.stop()
    end = blocks + blocks // _FILE
    with daemon, FrontEnd(daemon.socket) as guest:
        guest.ready()
        tape = Tape(guest)
        for what, (cdb, where) in commands(end).items():
            begin = ssc.space(ssc.END, 0) if "back" in what else ssc.REWIND
            taken = []
            for _ in range(rounds):
                tape.check(begin)
                taken.append(milliseconds(partial(tape.check, cdb)))
                if tape.position() != where:
                    raise BenchError(f"{what}: it stands at {tape.position()}, not at {where}")
            emit(what, taken)


def main() -> int:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description="How long it takes to find a place on a tape.")
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("folder", nargs="?", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vp-", dir=arguments.folder) as name:
        measure(Path(name), arguments.blocks, arguments.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
