"""Disks at the edges: past 2 TiB, long blocks, high LUNs, eight queues with resets fired in."""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.harness import disks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.machine import Machine

pytestmark = pytest.mark.guest

MIB, TIB = 1 << 20, 1 << 40
SPARSE, LONG_BLOCKS, BUSY, HIGH = 0, 1, 2, 7
SPARSE_SIZE = 3 * TIB
#: The first byte that an LBA of 32 bits cannot name, in blocks of 512 bytes.
PAST_32_BITS = 2 * TIB
#: The same in blocks of 4096 bytes: more than most host file systems let a file have.
LONG_SIZE = 20 * TIB
HIGH_LUN = 300
#: What Linux makes of that LUN's flat space address (SAM-6 4.7.7.3: 01b, then 14 bits).
HIGH_IN_LINUX = 0x4000 | HIGH_LUN
QUEUES = 8
#: So many at least must have come while there was I/O.
RESETS = 5
DEADLINE = 120.0


@pytest.fixture(scope="module")
def qemu_version() -> str:
    """Dimension: which QEMU it is does not matter here."""
    return "10"


@pytest.fixture(scope="module")
def smp() -> int | None:
    # Linux uses no more queues than it has processors.
    return QUEUES


@pytest.fixture(scope="module")
def queues() -> int | None:
    return QUEUES


@pytest.fixture(scope="module")
def sparse(short_folder: Path) -> Path:
    path = short_folder / "sparse.img"
    path.touch()
    os.truncate(path, SPARSE_SIZE)
    return path


@pytest.fixture(scope="module")
def luns(sparse: Path) -> list[str]:
    return [
        f"0:0:{SPARSE}:0={sparse}",
        f"0:0:{LONG_BLOCKS}:0=null:{LONG_SIZE},block-size=4096",
        f"0:0:{BUSY}:0=ram:64M",
        f"0:0:{HIGH}:{HIGH_LUN}=ram:16M",
    ]


def test_capacity_past_2_tib_is_told(guest: Machine) -> None:
    node = disks.find(guest, SPARSE).node
    # READ CAPACITY(10) tells FFFFFFFFh, and sg_readcap goes on to the long one (SBC-4 5.20).
    text = guest.console.check(f"sg_readcap {node}")
    assert f"Number of logical blocks={SPARSE_SIZE // 512}" in text
    assert guest.console.check(f"blockdev --getsize64 {node}").strip() == str(SPARSE_SIZE)


def test_blocks_past_2_tib_are_written_and_read(guest: Machine, sparse: Path) -> None:
    disk = disks.find(guest, SPARSE)
    at = PAST_32_BITS + 5 * MIB
    guest.console.check(
        "set -e; dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null;"
        f"dd if=/tmp/data of={disk.node} bs=1M seek={at // MIB} oflag=direct conv=notrunc;"
        "echo 3 > /proc/sys/vm/drop_caches;"
        f"dd if={disk.node} bs=1M skip={at // MIB} count=4 iflag=direct | cmp - /tmp/data;"
        # Nothing of it at the address that is left when the upper half of the LBA is lost.
        f"dd if={disk.node} bs=1M skip={at % (2 * TIB) // MIB} count=4 iflag=direct"
        " | cmp -n 4194304 - /dev/zero"
    )
    digest = guest.console.check("md5sum < /tmp/data").split()[0]
    with sparse.open("rb") as file:
        file.seek(at)
        data = file.read(4 * MIB)
    assert data != bytes(4 * MIB)
    assert digest == hashlib.md5(data).hexdigest()
    assert sparse.stat().st_blocks * 512 < 64 * MIB


def test_each_command_reaches_past_2_tib(guest: Machine, sparse: Path) -> None:
    """Past the block layer: what carries an LBA of 64 bits, at one of more than 32."""
    node = disks.find(guest, SPARSE).generic
    lba = 2**32 + 2**20
    guest.console.check(
        "set -e; head -c 4096 /dev/urandom > /tmp/a; head -c 4096 /dev/urandom > /tmp/b;"
        "cat /tmp/a /tmp/b > /tmp/pair; head -c 512 /dev/zero > /tmp/block;"
        f"sg_dd if=/tmp/a of={node} bs=512 seek={lba} count=8 cdbsz=16;"
        f"sg_verify --16 --lba={lba} --count=8 --ndo=4096 --in=/tmp/a {node};"
        f"sg_compare_and_write --lba={lba} --num=8 --xferlen=8192 --in=/tmp/pair {node};"
        f"sg_dd if={node} of=/tmp/back bs=512 skip={lba} count=8 cdbsz=16; cmp /tmp/back /tmp/b;"
        f"sg_write_verify --16 --bytchk=1 --lba={lba} --num=8 --in=/tmp/a {node};"
        f"sg_sync --16 --lba={lba} --count=8 {node};"
        f"sg_write_same --16 --lba={lba} --num=4 --xferlen=512 --in=/tmp/block {node};"
        f"sg_unmap --force --lba={lba} --num=8 {node}"
    )
    with sparse.open("rb") as file:
        file.seek(lba * 512)
        assert file.read(4096) == bytes(4096)
    past_the_end = guest.console.run(f"sg_verify --16 --lba={SPARSE_SIZE // 512} {node}")
    assert "LBA out of range" in past_the_end.output


def test_a_command_of_32_bits_cannot_reach_there(guest: Machine) -> None:
    node = disks.find(guest, SPARSE).generic
    # The last LBA of READ(10) and blocks behind it: a range beyond what the CDB can name,
    # but not beyond the disk.
    guest.console.check(f"sg_raw --request=1024 {node} 28 00 ff ff ff ff 00 00 02 00")


def test_long_blocks_past_32_bits(guest: Machine) -> None:
    disk = disks.find(guest, LONG_BLOCKS)
    text = guest.console.check(f"sg_readcap --long {disk.node}")
    assert f"Number of logical blocks={LONG_SIZE // 4096}" in text
    assert "Logical block length=4096 bytes" in text
    last = LONG_SIZE - MIB
    guest.console.check(
        f"dd if={disk.node} bs=1M skip={last // MIB} count=1 iflag=direct"
        " | cmp -n 1048576 - /dev/zero"
    )
    beyond = guest.console.run(f"sg_verify --16 --lba={LONG_SIZE // 4096} {disk.node}")
    assert "LBA out of range" in beyond.output


def test_a_high_lun_of_a_target_without_lun_0(guest: Machine) -> None:
    listed = guest.console.check("lsscsi")
    assert re.findall(rf"^\[\d+:0:{HIGH}:(\d+)\]", listed, re.MULTILINE) == [str(HIGH_IN_LINUX)]
    disk = disks.find(guest, HIGH, HIGH_IN_LINUX)
    told = guest.console.check(f"sg_luns --decode {disk.node}")
    assert re.search(rf"Flat space addressing: lun={HIGH_LUN}\b", told), told
    disk.make_file_system(2)
    disk.verify_file_system()


def test_verify_over_eight_queues_with_resets_fired_in(guest: Machine) -> None:
    """What a reset aborts Linux sends again, so that nothing is lost and nothing is torn.

    Of the resets that sg_reset has Linux's virtio_scsi carries out the unit's alone.
    """
    disk = disks.find(guest, BUSY)
    before = disks.queue_interrupts(guest)
    jobs = " ".join(
        f"--name=j{number} --filename={disk.node} --offset={number * 6}m --cpus_allowed={number}"
        for number in range(QUEUES)
    )
    # In the background, because the console runs one command at a time.
    guest.console.check(
        "(fio --rw=randwrite --bs=4k-32k --bs_unaligned=0 --iodepth=16 --ioengine=io_uring"
        " --direct=1 --size=6m --loops=16 --verify=crc32c --do_verify=1 --verify_fatal=1"
        f" --verify_dump=0 {jobs} > /tmp/fio.log 2>&1; echo $? > /tmp/fio.status)"
        " > /dev/null 2>&1 &"
    )
    resets = 0
    deadline = time.monotonic() + DEADLINE
    while guest.console.run("test -s /tmp/fio.status").status != 0:
        assert time.monotonic() < deadline, f"waited {DEADLINE:g} s for fio to end"
        guest.console.check(f"sg_reset --no-esc --device {disk.node}")
        resets += 1
    log = guest.console.check("tail -n 40 /tmp/fio.log")
    assert guest.console.check("cat /tmp/fio.status") == "0\n", log
    after = disks.queue_interrupts(guest)
    assert [count for queue, count in after.items() if count == before[queue]] == []
    assert len(after) == QUEUES
    messages = guest.console.check("dmesg")
    assert "I/O error" not in messages
    assert messages.count("device reset\n") == resets
    assert resets >= RESETS
