"""WCE of the caching mode page decides how writes reach the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness.daemon import Daemon
from tests.harness.frontend import FrontEnd

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.evidence import Collector

BLOCK = 512


def select(guest: FrontEnd, *, write_cache: bool) -> None:
    page = bytes((0x08, 18, write_cache << 2)) + bytes(17)
    data = bytes(4) + page
    assert guest.scsi(0, 0, bytes((0x15, 0x10, 0, 0, len(data), 0)), data_out=data).good


@pytest.mark.parametrize("cache", ["writeback", "writethrough"])
def test_a_write_is_stable_when_there_is_no_cache(
    folder: Path, image: Path, evidence: Collector, cache: str
) -> None:
    trace = folder / "trace"
    # Without io_uring every write is a system call that strace sees, with its flags. A LUN that
    # began with a cache has one again when the guest wants it, and one without as well.
    daemon = Daemon(
        folder,
        sockets=[folder / "s"],
        luns=[f"0:0:0:0={image},cache={cache}"],
        options=["--threads", "1", "--no-io-uring"],
        launcher=["strace", "-D", "-f", "-qq", "-o", str(trace), "-e", "trace=pwritev2,fdatasync"],
    )

    def stable(guest: FrontEnd, lba: int) -> bool:
        """Write one block; whether the host was asked to make it stable."""
        seen = len(trace.read_text())
        data = lba.to_bytes(2, "big") * (BLOCK // 2)
        assert guest.scsi(0, 0, cdb.write_10(lba, 1), data_out=data).good
        calls = trace.read_text()[seen:]
        [write] = [line for line in calls.splitlines() if f", {lba * BLOCK}, " in line]
        return "RWF_DSYNC" in write or "fdatasync" in calls

    with daemon, evidence.watch(daemon), FrontEnd(folder / "s") as guest:
        guest.ready()
        assert stable(guest, 0x1001) is (cache == "writethrough")
        select(guest, write_cache=False)
        assert stable(guest, 0x1002)
        select(guest, write_cache=True)
        assert not stable(guest, 0x1003)
