"""Tapes, changer, CD and disk of the host, forwarded: the case of 2008.

The host is the guest in which QEMU emulates Xen, because there other guests are quick to start; its
devices are somebody else's (tests/harness/tgt.py). A stock guest has all but one tape drive by
vhost-user-scsi, a Xen guest has that one by pvSCSI.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.harness import bacula, tgt
from tests.harness.bacula import Bacula
from tests.harness.xen_daemon import PATIENCE
from tests.harness.xen_plugin import FORWARDED

if TYPE_CHECKING:
    from tests.harness.inner_guest import InnerGuest
    from tests.harness.nested import OuterHost

pytestmark = [pytest.mark.guest, pytest.mark.xen, pytest.mark.usefixtures("library")]

#: What each device is asked, on the host itself and in the guest.
QUESTIONS = (
    "sg_inq",
    *(f"sg_inq --hex --page={page:#x}" for page in (0x00, 0x80, 0x83, 0xB0)),
    "sg_vpd --all",
    "sg_requests",
    "sg_logs --all",
    "sg_modes --all",
    "sg_opcodes",
    "sg_persist --in --read-keys",
    "sg_persist --in --report-capabilities",
    "sg_readcap --long",
    "sg_ses",
    "sg_raw --request=20 34 00 00 00 00 00 00 00 00 00",
    "sg_raw --request=6 05 00 00 00 00 00",
)
OF_CHANGER = ("mtx status", "mtx inquiry")
#: Where guests are meant to be told something else (docs/forwarding.md): by LUN, question.
MUNGED = {
    # Our limit of transfers.
    (tgt.DISK, "sg_inq --hex --page=0xb0"),
    (tgt.DISK, "sg_vpd --all"),
    # FORMAT UNIT is what guests may not send.
    (tgt.DISK, "sg_opcodes"),
}


@pytest.fixture(scope="module")
def stock(virtio_guest: InnerGuest) -> InnerGuest:
    """The guest with the library."""
    virtio_guest.console.check("modprobe st; modprobe ch; modprobe sr_mod")
    return virtio_guest


def generic(guest: InnerGuest, lun: int) -> str:
    """The node of a forwarded device for plain SCSI commands."""
    path = f"/sys/class/scsi_device/*:0:{FORWARDED}:{lun}/device/scsi_generic"
    return f"/dev/{guest.console.check(f'ls {path}').strip()}"


def asked(question: str, node: str) -> str:
    program, *rest = question.split(" ", 1)
    if program == "mtx":
        return f"mtx -f {node} {rest[0]}"
    if program == "sg_raw":
        options, cdb = rest[0].split(" ", 1)
        return f"sg_raw {options} {node} {cdb}"
    return f"{question} {node}"


def answers(questions: tuple[str, ...], node: str) -> str:
    """Write a command that asks all of them, each answer after a line of its own."""
    each = (f"echo '@@ {q}'; {asked(q, node)} 2>&1; echo status $?" for q in questions)
    return "; ".join(each)


def told(text: str, node: str) -> dict[str, str]:
    """Answers by question, whatever the node is called."""
    found = text.replace(node, "NODE").split("@@ ")[1:]
    return dict(one.split("\n", 1) for one in found)


@pytest.mark.parametrize(
    "lun",
    [
        pytest.param(tgt.DISK, id="disk", marks=pytest.mark.long),
        pytest.param(tgt.CD, id="cd", marks=pytest.mark.long),
        pytest.param(tgt.TAPE, id="tape"),
        pytest.param(tgt.CHANGER, id="changer"),
    ],
)
def test_utilities_are_told_the_same_as_on_the_host(
    xen_host: OuterHost, library: tgt.Library, stock: InnerGuest, lun: int
) -> None:
    questions = QUESTIONS + (OF_CHANGER if lun == tgt.CHANGER else ())
    here, there = library.node(lun), generic(stock, lun)
    # What was to be told once has been told: to the guest by us, on the host to whom asked first.
    stock.console.run(f"for n in 1 2 3; do sg_turs {there}; done")
    straight = told(xen_host.shell(answers(questions, here), timeout=PATIENCE), here)
    through = told(stock.console.check(answers(questions, there), timeout=PATIENCE), there)
    assert list(straight) == list(questions)
    differ = {q: (straight[q], through[q]) for q in questions if straight[q] != through[q]}
    assert set(differ) == {q for of, q in MUNGED if of == lun}, differ


def test_a_cartridge_is_loaded_written_and_read_by_tar(stock: InnerGuest) -> None:
    changer = generic(stock, tgt.CHANGER)
    mtx, mt = f"mtx -f {changer}", "mt -f /dev/nst0"
    stock.console.check(
        "set -e; rm -rf /tmp/a /tmp/b; mkdir -p /tmp/a /tmp/b; cd /tmp/a;"
        "for n in 1 2 3 4 5; do head -c $((n * 70000)) /dev/urandom >$n; done"
    )
    stock.console.check(
        f"set -e; {mtx} load 1 0; {mtx} status | grep -q 'Element 0:Full.*{tgt.BARCODES[0]}';"
        f"cd /tmp/a; tar -cf /dev/nst0 1 2; {mt} weof 1; {mt} rewind",
        timeout=PATIENCE,
    )
    # Appended after what is there, on a tape that was away meanwhile.
    stock.console.check(
        f"set -e; {mtx} unload 1 0; {mtx} load 2 0; {mtx} unload 2 0; {mtx} load 1 0;"
        f"cd /tmp/a; {mt} rewind; {mt} fsf 2; tar -b 64 -cf /dev/nst0 3 4 5; {mt} rewind",
        timeout=PATIENCE,
    )
    said = stock.console.check(f"{mt} status")
    assert re.search(r"File number=0, block number=0", said)
    stock.console.check(
        f"set -e; cd /tmp/b; tar -xf /dev/nst0; {mt} rewind; {mt} fsf 2; tar -b 64 -xf /dev/nst0;"
        f"diff -r /tmp/a /tmp/b; {mt} rewind; cd /tmp/a; tar -df /dev/nst0 1 2",
        timeout=PATIENCE,
    )
    # A full drive takes no second one, and what is refused changes nothing.
    refused = stock.console.run(f"{mtx} load 2 0", timeout=PATIENCE)
    assert refused.status != 0
    status = stock.console.check(f"{mtx} unload 1 0; {mtx} status", timeout=PATIENCE)
    assert "Data Transfer Element 0:Empty" in status
    assert all(f"VolumeTag={barcode}" in status for barcode in tgt.BARCODES)


def test_a_read_of_more_than_there_is_room_for_fills_the_room(stock: InnerGuest) -> None:
    # iSCSI says how much more there was, and that is more than the room.
    disk = generic(stock, tgt.DISK)
    said = stock.console.check(f"sg_raw --request=512 {disk} 28 00 00 00 00 00 00 00 08 00 2>&1")
    assert "Received 512 bytes of data" in said


def test_a_read_at_the_end_of_data_ends_as_on_the_host(
    xen_host: OuterHost, library: tgt.Library, stock: InnerGuest
) -> None:
    changer = generic(stock, tgt.CHANGER)
    stock.console.check(f"mtx -f {changer} load 2 0", timeout=PATIENCE)

    def read(node: str) -> str:
        # Who asks first hears of the other cartridge.
        to_the_end = f"until sg_turs {node}; do :; done; sg_raw {node} 11 03 00 00 00 00"
        return f"{to_the_end}; sg_raw --request=512 {node} 08 00 00 02 00 00 2>&1; echo $?"

    straight = xen_host.shell(read(library.node(tgt.TAPE)), timeout=PATIENCE)
    through = stock.console.check(read(generic(stock, tgt.TAPE)), timeout=PATIENCE)
    assert "Blank Check" in straight
    assert through == straight
    stock.console.check(f"mtx -f {changer} unload 2 0", timeout=PATIENCE)


@pytest.mark.long
def test_bacula_labels_writes_and_restores_over_two_volumes(stock: InnerGuest) -> None:
    bacula.make_data(stock.console, mebibytes=4)
    changer = generic(stock, tgt.CHANGER)
    # What tgt's drive does otherwise than it should: see docs/rig.md.
    where = bacula.Library(["/dev/nst0"], changer, backspaces=False, ends=False)
    program = Bacula(stock.console, where)
    program.start()
    program.label(slots="3-4")
    # The first is full when the drive says so.
    volumes = program.backup()
    assert sorted(volumes) == list(tgt.BARCODES[2:])
    program.restore()
    program.stop()
    slot = tgt.BARCODES.index(volumes[-1]) + 1
    stock.console.check(f"mtx -f {changer} unload {slot} 0", timeout=PATIENCE)


def test_a_xen_guest_writes_and_reads_a_tape_of_the_host(xen_guest: InnerGuest) -> None:
    mt = "mt -f /dev/nst0"
    listed = xen_guest.console.check("modprobe st; lsscsi | grep tape")
    assert f":{FORWARDED}:{tgt.TAPE_BESIDE}]" in listed
    xen_guest.console.check(
        "set -e; rm -rf /tmp/a /tmp/b; mkdir -p /tmp/a /tmp/b; cd /tmp/a;"
        "for n in 1 2 3; do head -c $((n * 70000)) /dev/urandom >$n; done;"
        f"{mt} rewind; tar -cf /dev/nst0 1 2; {mt} weof 1; tar -b 40 -cf /dev/nst0 3; {mt} rewind;"
        f"cd /tmp/b; tar -xf /dev/nst0; {mt} rewind; {mt} fsf 2; tar -b 40 -xf /dev/nst0;"
        "diff -r /tmp/a /tmp/b",
        timeout=PATIENCE,
    )
    said = xen_guest.console.check(f"{mt} rewind; {mt} fsf 2; {mt} status")
    assert "File number=2, block number=0" in said
