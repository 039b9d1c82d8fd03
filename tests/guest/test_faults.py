"""What Linux does with disks that fail on purpose: errors, resets, retries that come to an end.

Aborts are not among it: Linux's virtio_scsi gives the host all the time it wants, so nothing
times out (`virtscsi_eh_timed_out` resets the timer), and what a program can ask for is the
reset of a unit.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.harness import disks

if TYPE_CHECKING:
    from tests.harness.machine import Machine

pytestmark = pytest.mark.guest

BAD_BLOCKS, HANGS, HANGS_ONCE, TRANSIENT = 0, 1, 2, 3
BAD, HUNG = 1000, 2000
#: Linux's REQ_RAHEAD among the flags that it tells with an error (hexadecimal).
READ_AHEAD = 0x80000


@pytest.fixture(scope="module")
def qemu_version() -> str:
    """Dimension: which QEMU it is does not matter here."""
    return "10"


@pytest.fixture(scope="module")
def luns() -> list[str]:
    return [
        f"0:0:{BAD_BLOCKS}:0=ram:16M,fault=opcode=read:lba={BAD}-{BAD + 7}:sense=3/11/00",
        f"0:0:{HANGS}:0=ram:16M,fault=opcode=read:lba={HUNG}:hang",
        # Not times=1, which the first of several guests would spend.
        f"0:0:{HANGS_ONCE}:0=ram:16M,fault=opcode=read:lba={HUNG}:nth=1:every=2:hang",
        f"0:0:{TRANSIENT}:0=ram:32M,fault=opcode=write:every=7:status=busy,"
        "fault=opcode=read:every=11:transport=failure,fault=opcode=read:every=13:short=4096,"
        "fault=opcode=write:every=17:sense=b/2e/02,fault=opcode=read+write:every=5:delay=2ms",
    ]


def test_a_bad_block_is_an_error_and_its_neighbours_are_not(guest: Machine) -> None:
    disk = disks.find(guest, BAD_BLOCKS)
    told = guest.console.run(disk.reading(BAD)).output
    assert "Medium Error" in told
    assert "Unrecovered read error" in told
    # One physical block is 4096 bytes, and so is a page: these are all that fails.
    around = (BAD * 512 - 4096) // 4096
    for page, status in ((around, 0), (around + 1, 1), (around + 2, 0)):
        read = f"dd if={disk.node} of=/dev/null bs=4096 skip={page} count=1 iflag=direct"
        assert guest.console.run(read).status == status, page
    assert f"critical medium error, dev {disk.name}, sector {BAD} " in guest.console.check("dmesg")


def test_a_reset_ends_a_read_that_hangs(guest: Machine) -> None:
    disks.find(guest, HANGS).check_reset(HUNG, timeout=30)


def test_what_a_reset_ended_is_sent_again(guest: Machine) -> None:
    disk = disks.find(guest, HANGS_ONCE)
    reading = f"dd if={disk.node} of=/tmp/page bs=4096 skip={HUNG // 8} count=1 iflag=direct"
    guest.console.check(disk.reset_while(reading), timeout=30)
    guest.console.check("cmp -n 4096 /tmp/page /dev/zero")


def test_io_gets_through_faults_that_pass(guest: Machine) -> None:
    """BUSY, aborted commands, lost deliveries, short transfers: Linux tries again."""
    disk = disks.find(guest, TRANSIENT)
    guest.console.check(
        f"fio --name=v --filename={disk.node} --rw=randwrite --bs=4k-64k --bs_unaligned=0"
        " --iodepth=8 --ioengine=io_uring --direct=1 --size=16m --verify=crc32c --do_verify=1"
        " --verify_fatal=1 --verify_dump=0",
        timeout=120,
    )
    disk.make_file_system(4)
    disk.verify_file_system()
    # Only what it reads ahead of need Linux does not try again.
    failed = re.findall(
        rf"error, dev {disk.name}, .* flags 0x([0-9a-f]+)", guest.console.check("dmesg")
    )
    assert [flags for flags in failed if not int(flags, 16) & READ_AHEAD] == []
