"""A million READs and WRITEs seen from outside: no lock is waited for, no memory is asked for.

strace watches the daemon from its start; only the named system calls stop it, so the rest runs
at full speed. (That nothing is allocated in between is counted in engine/core/tests.)
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness import driver
from tests.harness.daemon import Daemon

if TYPE_CHECKING:
    from tests.harness.evidence import Collector

WATCHED = ("futex", "mmap", "munmap", "brk", "mremap", "madvise")
REQUESTS = 500_000


def test_engine_threads_neither_lock_nor_allocate(folder: Path, evidence: Collector) -> None:
    trace = folder / "trace"
    # -D: the daemon stays the process we started, and strace goes with it.
    strace = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", str(trace)]
    daemon = Daemon(
        folder,
        sockets=[folder / "s"],
        luns=["0:0:0:0=ram:64M"],
        options=["--threads", "1"],
        launcher=[*strace, "-e", f"trace={','.join(WATCHED)}"],
    )
    with daemon, evidence.watch(daemon):
        for rw in ("randread", "randwrite"):
            # What each connection costs (set-up, its end) is counted apart, by a short one.
            short, long = (
                _calls_of_engine_threads(daemon, trace, folder / "s", rw, requests)
                for requests in (1000, REQUESTS)
            )
            extra = long - short
            assert sum(extra.values()) < REQUESTS / 10_000, f"{rw}: {dict(extra)}"


def _calls_of_engine_threads(
    daemon: Daemon, trace: Path, socket: Path, rw: str, requests: int
) -> Counter[str]:
    engine = _engine_thread(daemon)
    before = len(trace.read_text().splitlines())
    load = driver.start(
        socket, "--rw", rw, "--iodepth", "32", "--queues", "2", "--requests", str(requests)
    )
    _, complaint = load.communicate(timeout=120)
    assert load.returncode == 0, complaint.decode()
    lines = trace.read_text().splitlines()[before:]
    mine = [line for line in lines if line.startswith(f"{engine} ")]
    return Counter(found[1] for line in mine if (found := re.match(r"\d+\s+(\w+)\(", line)))


def _engine_thread(daemon: Daemon) -> int:
    for task in Path(f"/proc/{daemon.pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "engine-0":
            return int(task.name)
    raise AssertionError("the daemon has no thread engine-0")
