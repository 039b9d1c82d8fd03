"""A tape in a stock Linux guest: st, sg, and Debian's mt, tar and cpio on it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.machine import Machine

pytestmark = pytest.mark.guest

TAPE, SMALL, PROTECTED = 1, 2, 3


@pytest.fixture(scope="module")
def qemu_version() -> str:
    return "7.2"


@pytest.fixture(scope="module")
def luns(short_folder: Path) -> list[str]:
    protected = short_folder / "protected.tap"
    protected.write_bytes(b"\x04\0\0\0kept\x04\0\0\0" + bytes(4))
    return [
        "0:0:0:0=ram:16M",
        f"0:0:{TAPE}:0=tape:{short_folder}/t.tap,create",
        f"0:0:{SMALL}:0=tape:{short_folder}/small.tap,create,capacity=2M",
        f"0:0:{PROTECTED}:0=tape:{protected},ro",
    ]


@pytest.fixture(scope="module")
def tape(guest: Machine) -> Machine:
    """The guest, with the names of the drives in /dev as nst0, nst1 and nst2."""
    found = guest.console.check("modprobe st; modprobe sg; lsscsi")
    assert len(re.findall(r"tape +VHPVSCSI VIRTUAL TAPE", found)) == 3, found
    return guest


def mt(guest: Machine, words: str, drive: int = 0) -> str:
    return guest.console.check(f"mt -f /dev/nst{drive} {words}")


def generic(guest: Machine) -> str:
    """The node of the first drive for plain SCSI commands."""
    name = guest.console.check("ls /sys/class/scsi_tape/nst0/device/scsi_generic").strip()
    return f"/dev/{name}"


def position(guest: Machine, drive: int = 0) -> tuple[int, int]:
    """File and block number as mt has them."""
    found = re.search(r"File number=(-?\d+), block number=(-?\d+)", mt(guest, "status", drive))
    assert found
    return int(found[1]), int(found[2])


def write(guest: Machine, text: str, *, drive: int = 0, size: int = 512) -> None:
    """Write one file of blocks of `size` bytes, with its filemark."""
    guest.console.check(
        f"printf %s '{text}' | dd of=/dev/nst{drive} bs={size} conv=sync iflag=fullblock"
        " 2>/dev/null"
    )


def test_mt_knows_the_drive(tape: Machine) -> None:
    text = mt(tape, "status")
    assert "SCSI 2 tape drive" in text
    assert "Tape block size 0 bytes" in text
    assert "BOT ONLINE IM_REP_EN" in text
    assert "WR_PROT" in mt(tape, "status", drive=2)


def test_files_are_found_forwards_and_backwards(tape: Machine) -> None:
    mt(tape, "rewind")
    for number in range(5):
        write(tape, f"file {number}", size=512 * (number + 1))
    read = "dd if=/dev/nst0 bs=64k 2>/dev/null | tr -d '\\0'"
    for words, expected in [
        ("rewind", "file 0"),
        ("fsf 1", "file 2"),
        ("asf 1", "file 1"),
        ("asf 4", "file 4"),
        ("bsfm 2", "file 4"),
        ("bsf 3", None),
    ]:
        mt(tape, words)
        if expected is not None:
            assert tape.console.check(read).strip() == expected, words
    mt(tape, "rewind")
    mt(tape, "eod")
    assert position(tape)[0] == 5
    assert "EOD" in mt(tape, "status")
    mt(tape, "bsf 1")
    mt(tape, "bsr 1")
    assert mt(tape, "tell").strip() == "At block 8."
    mt(tape, "seek 4")
    assert tape.console.check(read).strip() == "file 2"


def test_blocks_of_a_set_length(tape: Machine) -> None:
    mt(tape, "rewind")
    mt(tape, "setblk 1024")
    assert "Tape block size 1024 bytes" in mt(tape, "status")
    tape.console.check(
        "dd if=/dev/urandom of=/tmp/in bs=1k count=200 2>/dev/null;"
        "dd if=/tmp/in of=/dev/nst0 bs=10k 2>/dev/null; mt -f /dev/nst0 rewind;"
        "dd if=/dev/nst0 of=/tmp/out bs=10k 2>/dev/null; cmp /tmp/in /tmp/out"
    )
    mt(tape, "rewind")
    mt(tape, "fsr 150")
    mt(tape, "bsr 50")
    assert mt(tape, "tell").strip() == "At block 100."
    mt(tape, "setblk 0")


def test_filemarks_erase_and_the_rest_of_mt(tape: Machine) -> None:
    mt(tape, "rewind")
    write(tape, "first")
    mt(tape, "weof 3")
    mt(tape, "rewind")
    mt(tape, "seod")
    assert position(tape)[0] == 4
    mt(tape, "rewind")
    mt(tape, "fsf 1")
    mt(tape, "erase")
    mt(tape, "rewind")
    mt(tape, "eod")
    assert mt(tape, "tell").strip() == "At block 2."
    for words in (
        "retension", "lock", "unlock", "load", "drvbuffer 0", "drvbuffer 1", "setdensity 0x80",
        "stoptions buffer-writes", "stsetoptions can-bsr", "stclearoptions can-bsr",
        "stwrthreshold 32", "defblksize 0", "defdensity 0x80", "defdrvbuffer 1", "sttimeout 900",
        "stlongtimeout 14000", "stshowoptions", "densities", "compression 1", "compression 0",
    ):  # fmt: skip
        mt(tape, words)
    # What an image does not have, and is refused: setmarks, a second partition.
    for words in ("wset 1", "fss 1", "bss 1", "setpartition 1", "mkpartition 9"):
        assert tape.console.run(f"mt -f /dev/nst0 {words}").status != 0, words
    mt(tape, "offline")
    # st itself would wait two minutes for a tape that comes.
    assert tape.console.run(f"sg_turs {generic(tape)}").status == 2  # sg3_utils: not ready
    mt(tape, "load")
    assert mt(tape, "tell").strip() == "At block 0."


def test_tar_writes_appends_restores_and_compares(tape: Machine) -> None:
    tape.console.check(
        "set -e; rm -rf /tmp/a /tmp/b; mkdir -p /tmp/a /tmp/b; mt -f /dev/nst0 rewind;"
        "for n in 1 2 3 4 5; do dd if=/dev/urandom of=/tmp/a/$n bs=70k count=$n 2>/dev/null; done;"
        "cd /tmp/a; tar -cf /dev/st0 1 2 3; tar -df /dev/st0;"
        "tar -b 20 -rf /dev/nst0 4 5 2>/dev/null || true;"
        "mt -f /dev/nst0 rewind; mt -f /dev/nst0 eod; tar -b 128 -cf /dev/nst0 4 5;"
        "cd /tmp/b; mt -f /dev/nst0 rewind; tar -xf /dev/nst0; mt -f /dev/nst0 fsf 1;"
        "tar -b 128 -xf /dev/nst0; cd /tmp; for n in 1 2 3 4 5; do cmp a/$n b/$n; done",
        timeout=180,
    )


def test_cpio_and_sg_utilities_find_their_way(tape: Machine) -> None:
    tape.console.check(
        "set -e; cd /tmp/a; mt -f /dev/nst0 rewind; ls | cpio -o -C 32768 -O /dev/nst0 2>/dev/null;"
        "rm -rf /tmp/c; mkdir /tmp/c; cd /tmp/c; mt -f /dev/nst0 rewind;"
        "cpio -i -C 32768 -I /dev/nst0 2>/dev/null; cmp /tmp/a/5 /tmp/c/5",
        timeout=120,
    )
    node = generic(tape)
    text = tape.console.check(
        f"sg_inq {node}; sg_logs -a {node}; sg_opcodes {node};"
        f"sg_modes -a {node}; sg_vpd -p di {node}; sg_turs {node}"
    )
    for part in ("VIRTUAL TAPE", "Sequential access device page", "Tape alert page", "Locate(16)"):
        assert part.lower() in text.lower(), text


def test_a_full_tape_is_told_in_time(tape: Machine) -> None:
    tape.console.check("mt -f /dev/nst1 rewind")
    done = tape.console.run(
        "dd if=/dev/zero of=/dev/nst1 bs=64k count=100 2>&1; mt -f /dev/nst1 status"
    )
    assert "No space left on device" in done.output
    mt(tape, "rewind", drive=1)
    counted = tape.console.check("dd if=/dev/nst1 bs=64k of=/dev/null 2>&1")
    assert re.search(r"^(2[5-9]|3[01])\+0 records in", counted, re.MULTILINE), counted


def test_stinit_sets_compression_and_the_image_is_small(tape: Machine, short_folder: Path) -> None:
    definition = (
        'manufacturer="VHPVSCSI" model="VIRTUAL TAPE" {\\n'
        "scsi2logical=1 can-bsr=1\\nmode1 blocksize=0 compression=1\\n}\\n"
    )
    tape.console.check(
        f"printf '{definition}' >/etc/stinit.def; stinit;"
        "mt -f /dev/nst0 offline; mt -f /dev/nst0 load;"
        "seq 1 300000 >/tmp/text; tar -b 128 -cf /dev/nst0 -C /tmp text; mt -f /dev/nst0 rewind;"
        "tar -b 128 -df /dev/nst0 -C /tmp"
    )
    text = tape.console.check(f"sg_logs -p 0x17 {generic(tape)}; sg_logs -p 0x1b {generic(tape)}")
    assert "Data compression enabled: 0x1" in text
    assert int(re.findall(r"Last load write compression ratio: (\d+)", text)[0]) > 200
    size, plain = (short_folder / "t.tap").stat().st_size, 1_988_895
    assert size < plain / 2
    tape.console.check(
        "mt -f /dev/nst0 compression 0; mt -f /dev/nst0 rewind; tar -df /dev/nst0 -b 128 -C /tmp"
    )


def test_a_cartridge_remembers_what_it_is_told(tape: Machine) -> None:
    node = generic(tape)
    # WRITE ATTRIBUTE: a barcode.
    value = r"\0\0\0\045\010\006\001\0\040" + "VT0001L8".ljust(32)
    tape.console.check(
        f"printf '{value}' >/tmp/list; sg_raw -s 41 -i /tmp/list {node}"
        " 8d 00 00 00 00 00 00 00 00 00 00 00 00 29 00 00"
    )
    told = tape.console.check(f"sg_read_attr {node}")
    for part in ("Barcode: VT0001L8", "Volume identifier: VT0001L8", "Load count: "):
        assert part in told, told
    assert "Barcode" in tape.console.check(f"sg_read_attr --sa=1 {node}")
    text = tape.console.check(f"sg_logs -p 0x17 {node}; sg_logs -p 0x2e {node}")
    assert "Volume barcode: VT0001L8" in text
    assert "Hard error: 0" in text
    limits = tape.console.check(f"sg_read_block_limits {node}")
    assert "Maximum block size: 8388608" in limits


def test_archives_go_on_with_the_next_tape(tape: Machine) -> None:
    """The small tape ends; tar is told of both, cpio takes it out and asks at its terminal."""
    tape.console.check(
        "set -e; rm -rf /tmp/m; mkdir /tmp/m; cd /tmp/m; head -c 3000000 /dev/urandom >big;"
        "cp big was; small=/dev/nst1; large=/dev/nst0; again() { mt -f $small load;"
        " mt -f $large load; };"
        "again; tar -M -cf $small -f $large big; rm big; again; tar -M -xf $small -f $large;"
        "cmp big was; rm big; ln was big;"
        "again; rm /dev/tty; mkfifo /dev/tty; exec 3<>/dev/tty; echo $large >&3;"
        "echo big | cpio -o -C 65536 >$small; exec 3<&-; rm big; again;"
        "exec 3<>/dev/tty; echo $large >&3; cpio -i -C 65536 <$small; exec 3<&-;"
        "rm /dev/tty; mknod /dev/tty c 5 0; cmp big was",
        timeout=240,
    )


def test_a_protected_tape_is_read_and_not_written(tape: Machine) -> None:
    assert tape.console.check("dd if=/dev/nst2 bs=64k 2>/dev/null").strip() == "kept"
    done = tape.console.run("echo no | dd of=/dev/nst2 bs=512 conv=sync 2>&1")
    assert done.status != 0
    assert "Read-only file system" in done.output or "Permission denied" in done.output
