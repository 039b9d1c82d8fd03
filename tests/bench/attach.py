"""How long `scsi-attach` takes, by the number of LUNs that are there already.

    python -m tests.bench.attach [COUNT ...]

By QMP, with a front-end connected that hears the events and reads nothing; medians of 30 attaches.
All LUNs at one target, and spread over 200; with a state directory and without. It judges nothing.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.daemon import Daemon
from tests.harness.frontend import FrontEnd
from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTS = (1, 500, 2000)
TIMES = 30
_TARGETS = 200


def one_target(number: int) -> str:
    """The address of a LUN where all are at one target."""
    return f"0:0:0:{number}"


def spread(number: int) -> str:
    """The address of a LUN where targets have few each."""
    return f"0:0:{number % _TARGETS}:{number // _TARGETS}"


def measure(counts: tuple[int, ...], address: Callable[[int], str], *, kept: bool) -> list[float]:
    """The median time of an attach with so many LUNs there, in milliseconds, for each count."""
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        folder = Path(name)
        control = folder / "control"
        options = ["--control", str(control)]
        if kept:
            options += ["--state-directory", str(folder / "state")]
        daemon = Daemon(folder, sockets=[folder / "0.sock"], luns=[], options=options)
        with daemon, FrontEnd(daemon.socket), Verbs(control).client() as client:
            there, medians = 0, []
            for count in counts:
                while there < count:
                    client.execute("scsi-attach", pdev="null:1M", vdev=address(there))
                    there += 1
                took = []
                for _ in range(TIMES):
                    began = time.perf_counter()
                    client.execute("scsi-attach", pdev="null:1M", vdev=address(there))
                    took.append((time.perf_counter() - began) * 1000)
                    there += 1
                medians.append(statistics.median(took))
            return medians


def main() -> None:
    """Measure and print a table."""
    counts = tuple(map(int, sys.argv[1:])) or COUNTS
    print("| LUNs | " + " | ".join(f"{count} there, ms" for count in counts) + " |")
    print("|---|" + "---|" * len(counts))
    for what, address in (("one target", one_target), ("200 targets", spread)):
        for kept in (False, True):
            row = measure(counts, address, kept=kept)
            state = ", state directory" if kept else ""
            print(f"| {what}{state} | " + " | ".join(f"{ms:.2f}" for ms in row) + " |", flush=True)


if __name__ == "__main__":
    main()
