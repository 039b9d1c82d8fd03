"""Tapes at pvSCSI in a stock guest of emulated Xen: mt, tar, mtx, what its ring cannot carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.xen_daemon import (
    CARTRIDGE,
    CHANGER,
    LIBRARY_DRIVE,
    PATIENCE,
    SMALL_TAPE,
    TAPE,
    TAPES,
)

if TYPE_CHECKING:
    from tests.harness.inner_guest import InnerGuest

pytestmark = [pytest.mark.guest, pytest.mark.xen]


@pytest.fixture(scope="module")
def tape(xen_guest: InnerGuest) -> InnerGuest:
    """The guest, with its drives' nodes."""
    found = xen_guest.console.check("modprobe st; modprobe sg; lsscsi")
    assert found.count("VIRTUAL TAPE") == len(TAPES) + 1, found
    assert "VIRTUAL CHANGER" in found
    return xen_guest


def node(guest: InnerGuest, target: int) -> str:
    """The node of a drive that is not rewound when it is closed."""
    name = guest.console.check(
        f"basename -a /sys/bus/scsi/devices/*:0:{target}:0/scsi_tape/nst? | head -n1"
    )
    return f"/dev/{name.strip()}"


def test_mt_moves_a_tape_of_pvscsi(tape: InnerGuest) -> None:
    drive = node(tape, TAPE)
    tape.console.check(
        f"set -e; mt -f {drive} rewind;"
        "for n in 1 2 3; do"
        f" head -c $((n * 512)) /dev/zero | dd of={drive} bs=512 2>/dev/null; done",
        timeout=PATIENCE,
    )
    for words, block in (
        ("rewind", 0), ("fsf 2", 5), ("eod", 9), ("bsf 1", 8), ("bsr 1", 7), ("seek 4", 4),
        ("asf 1", 2),
    ):  # fmt: skip
        said = tape.console.check(f"mt -f {drive} {words} && mt -f {drive} tell")
        assert said.strip() == f"At block {block}.", words
    assert "ONLINE" in tape.console.check(f"mt -f {drive} status")
    tape.console.check(f"mt -f {drive} offline; mt -f {drive} load; mt -f {drive} setblk 0")


def test_tar_restores_what_it_wrote(tape: InnerGuest) -> None:
    drive = node(tape, TAPE)
    tape.console.check(
        f"set -e; export TAPE={drive}; rm -rf /tmp/a /tmp/b; mkdir /tmp/a /tmp/b; cd /tmp/a;"
        "for n in 1 2 3; do head -c $((n * 70000)) /dev/urandom >$n; done; mt rewind;"
        "tar -cf $TAPE 1 2; tar -b 128 -cf $TAPE 3; mt rewind;"
        "cd /tmp/b; tar -xf $TAPE; mt asf 1; tar -b 128 -xf $TAPE;"
        "for n in 1 2 3; do cmp /tmp/a/$n $n; done",
        timeout=PATIENCE,
    )


def test_longer_blocks_than_the_ring_carries_are_refused_by_st(tape: InnerGuest) -> None:
    """READ BLOCK LIMITS says 508 KiB, so that nothing is tried that cannot be done."""
    drive = node(tape, TAPE)
    tape.console.check(f"mt -f {drive} rewind; mt -f {drive} setblk 0")
    assert "Block limits 1 - 520192 bytes" in tape.console.check("dmesg")
    for blocks in (512, 1016):  # 256 KiB, 508 KiB
        tape.console.check(
            f"set -e; cd /bin; mt -f {drive} rewind; tar -b {blocks} -cf {drive} bash busybox;"
            f"mt -f {drive} rewind; tar -b {blocks} -df {drive}",
            timeout=PATIENCE,
        )
    told = tape.console.run(f"mt -f {drive} rewind; cd /bin; tar -b 1017 -cf {drive} bash busybox")
    assert told.status != 0
    assert "Cannot write: Invalid argument" in told.output, told.output


def test_a_volume_ends_and_tar_goes_on_with_the_next(tape: InnerGuest) -> None:
    """The early warning of a tape of 1 MiB; the rest goes to the other one, and comes back."""
    first, second = node(tape, SMALL_TAPE), node(tape, TAPE)
    tape.console.check(
        "set -e; rm -rf /tmp/m; mkdir /tmp/m; cd /tmp/m; head -c 1500000 /dev/urandom >big;"
        f"mt -f {first} rewind; mt -f {second} rewind;"
        f"tar -M -cf {first} -f {second} big; mt -f {first} rewind; mt -f {second} rewind;"
        f"mv big was; tar -M -xf {first} -f {second}; cmp big was",
        timeout=PATIENCE,
    )


def test_a_tape_is_loaded_from_a_library_and_put_back(tape: InnerGuest) -> None:
    drive = node(tape, LIBRARY_DRIVE)
    mtx = "mtx -f /dev/" + tape.console.check(
        f"ls /sys/bus/scsi/devices/*:0:{CHANGER}:0/scsi_generic"
    )
    mtx = mtx.strip()
    lies_in_slot = f":VolumeTag={CARTRIDGE}"
    said = tape.console.check(
        f"set -e; {mtx} status; {mtx} load 1 0; cd /bin; tar -cf {drive} busybox;"
        f"{mtx} unload 1 0; {mtx} load 1 0; tar -df {drive}; {mtx} status; {mtx} unload 1 0",
        timeout=PATIENCE,
    )
    assert "1 Drives, 3 Slots ( 1 Import/Export )" in said
    slot, loaded = f"Storage Element 1:Full {lies_in_slot}", f"VolumeTag = {CARTRIDGE}"
    assert said.index(slot) < said.index("Data Transfer Element 0:Full") < said.index(loaded)
    assert slot in tape.console.check(f"{mtx} status")
