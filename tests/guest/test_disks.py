"""What Linux does with our disks: one guest, several LUNs, several queues."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.harness import disks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.machine import Machine

pytestmark = pytest.mark.guest

MIB = 1 << 20
FILE, RAM, READ_ONLY, BIG_BLOCKS = 0, 1, 2, 3
FILE_SIZE = 256 * MIB


@pytest.fixture(scope="module")
def machine_config() -> str:
    return "q35-vhost-user-scsi-multiqueue"


@pytest.fixture(scope="module")
def image(short_folder: Path) -> Path:
    path = short_folder / "disk.img"
    path.touch()
    os.truncate(path, FILE_SIZE)
    return path


@pytest.fixture(scope="module")
def fixed_image(short_folder: Path) -> Path:
    path = short_folder / "fixed.img"
    path.write_bytes(b"never to be changed\n" + bytes(4 * MIB - 20))
    return path


@pytest.fixture(scope="module")
def luns(image: Path, fixed_image: Path) -> list[str]:
    return [
        f"0:0:{FILE}:0={image},serial=FILE0001",
        f"0:0:{FILE}:5=ram:16M",
        f"0:0:{RAM}:0=ram:64M",
        f"0:0:{READ_ONLY}:0={fixed_image},ro",
        f"0:0:{BIG_BLOCKS}:0=ram:64M,block-size=4096",
    ]


def test_lsscsi_lists_what_is_attached_and_no_more(guest: Machine) -> None:
    listed = guest.console.check("lsscsi")
    assert re.findall(r"^\[\d+:(\S+)\]\s+disk", listed, re.MULTILINE) == [
        "0:0:0",
        "0:0:5",
        "0:1:0",
        "0:2:0",
        "0:3:0",
    ]


def test_report_luns(guest: Machine) -> None:
    listed = guest.console.check(f"sg_luns {disks.find(guest, FILE).node}")
    assert re.findall(r"^\s+(\w{16})$", listed, re.MULTILINE) == [
        "0000000000000000",
        "0005000000000000",
    ]


def test_inquiry_and_vital_product_data(guest: Machine) -> None:
    node = disks.find(guest, FILE).node
    assert "Peripheral device type: disk" in guest.console.check(f"sg_inq {node}")
    pages = guest.console.check(f"sg_vpd {node}")
    for page in ("Unit serial number", "Device identification", "Block limits"):
        assert page in pages
    assert "FILE0001" in guest.console.check(f"sg_vpd -p sn {node}")
    assert re.search(r"\b0x3[0-9a-f]{15}\b", guest.console.check(f"sg_vpd -p di {node}"))
    assert "Block device characteristics" in guest.console.check(f"sg_vpd -p bdc {node}")
    assert "Unmap command supported (LBPU): 1" in guest.console.check(f"sg_vpd -p lbpv {node}")


def test_each_unit_has_an_identity_of_its_own(guest: Machine) -> None:
    names = [
        disks.find(guest, target, lun).attribute("device/wwid")
        for target, lun in ((FILE, 0), (FILE, 5), (RAM, 0), (READ_ONLY, 0), (BIG_BLOCKS, 0))
    ]
    assert len(set(names)) == len(names), names


@pytest.mark.parametrize(
    ("target", "blocks", "length"),
    [(FILE, FILE_SIZE // 512, 512), (RAM, 64 * MIB // 512, 512), (BIG_BLOCKS, 16384, 4096)],
)
def test_capacity(guest: Machine, target: int, blocks: int, length: int) -> None:
    for option in ("", "--16"):
        text = guest.console.check(f"sg_readcap {option} {disks.find(guest, target).node}")
        assert re.search(rf"Number of logical blocks={blocks}\b", text), text
        assert re.search(rf"Logical block length={length} bytes", text), text


@pytest.mark.parametrize(
    "command",
    [
        "sg_turs {}",
        "sg_requests {}",
        "sg_modes -a {}",
        "sg_modes -6 -a {}",
        "sg_opcodes {}",
        "sg_sync {}",
        "sg_verify --count=8 {}",
        "sg_verify --16 --count=8 {}",
    ],
)
def test_commands_that_a_disk_answers(guest: Machine, command: str) -> None:
    text = guest.console.check(command.format(disks.find(guest, RAM).node))
    # Some of sg3_utils end with 0 after an error in the transport.
    assert "DID_" not in text


def test_wrong_commands_get_sense_data(guest: Machine) -> None:
    node = disks.find(guest, RAM).node
    unknown = guest.console.run(f"sg_raw {node} c1 00 00 00 00 00 00 00 00 00")
    assert "Invalid command operation code" in unknown.output
    beyond = guest.console.run(f"sg_raw -r 512 {node} 28 00 7f ff ff ff 00 00 01 00")
    assert "Logical block address out of range" in beyond.output


def test_unmap_punches_holes_into_the_file(guest: Machine, image: Path) -> None:
    node = disks.find(guest, FILE).node
    guest.console.check(
        f"fio --name=fill --filename={node} --rw=write --bs=256k --size=8m --direct=1 --end_fsync=1"
    )
    filled = image.stat().st_blocks * 512
    assert filled >= 8 * MIB
    guest.console.check(f"sg_unmap --force --lba=0 --num=8192 {node}")
    after_unmap = image.stat().st_blocks * 512
    assert after_unmap <= filled - 4 * MIB
    guest.console.check(f"sg_write_same --16 --unmap --lba=8192 --num=8192 --xferlen=512 {node}")
    assert image.stat().st_blocks * 512 <= after_unmap - 4 * MIB
    guest.console.check(f"dd if={node} bs=1M count=8 2>/dev/null | cmp -n {8 * MIB} - /dev/zero")


@pytest.mark.parametrize("target", [FILE, BIG_BLOCKS])
def test_file_system(guest: Machine, target: int) -> None:
    disk = disks.find(guest, target)
    disk.make_file_system(8)
    disk.verify_file_system()


def test_deleted_files_give_their_blocks_back(guest: Machine, image: Path) -> None:
    node = disks.find(guest, FILE).node
    guest.console.check(
        f"set -e; mkfs.ext4 -q -F {node}; mount -t ext4 {node} /mnt;"
        "dd if=/dev/urandom of=/mnt/x bs=1M count=16 2>/dev/null; sync"
    )
    used = image.stat().st_blocks * 512
    guest.console.check("set -e; rm /mnt/x; sync; fstrim /mnt; umount /mnt")
    assert image.stat().st_blocks * 512 <= used - 8 * MIB


def test_verify_on_two_targets_over_several_queues(guest: Machine) -> None:
    one, two = disks.find(guest, FILE), disks.find(guest, RAM)
    before = disks.queue_interrupts(guest)
    job = "--rw=randwrite --bs=4k-64k --bs_unaligned=0 --iodepth=16 --ioengine=io_uring --direct=1"
    guest.console.check(
        f"fio {job} --size=12m --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_dump=0"
        f" --name=a --filename={one.node} --cpus_allowed=0"
        f" --name=b --filename={one.node} --offset=16m --cpus_allowed=1"
        f" --name=c --filename={two.node} --cpus_allowed=0"
        f" --name=d --filename={two.node} --offset=16m --cpus_allowed=1",
        timeout=180,
    )
    busy = [
        queue for queue, count in disks.queue_interrupts(guest).items() if count > before[queue]
    ]
    assert len(busy) >= 2, before
    assert "I/O error" not in guest.console.check("dmesg")


def test_read_only_unit_cannot_be_written(guest: Machine, fixed_image: Path) -> None:
    disk = disks.find(guest, READ_ONLY)
    assert disk.attribute("ro") == "1"
    assert guest.console.check(f"head -n 1 {disk.node}") == "never to be changed\n"
    # Past the block layer, which would refuse by itself.
    written = guest.console.run(
        f"sg_raw -s 512 -i /dev/zero {disk.generic} 2a 00 00 00 00 00 00 00 01 00"
    )
    assert "Write protected" in written.output
    assert fixed_image.read_bytes().startswith(b"never to be changed\n")


def test_block_size_is_the_guests_too(guest: Machine) -> None:
    assert disks.find(guest, BIG_BLOCKS).queue_attribute("logical_block_size") == "4096"
    assert disks.find(guest, RAM).queue_attribute("logical_block_size") == "512"


def test_unit_reset_is_carried_out(guest: Machine) -> None:
    disk = disks.find(guest, RAM)
    guest.console.check(f"sg_reset -N -d {disk.node}")
    guest.console.check(f"dd if={disk.node} of=/dev/null bs=1M count=4")
