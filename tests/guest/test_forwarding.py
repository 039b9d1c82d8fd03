"""Devices of the host, forwarded: what they answer through us, and what they answer without us.

The host is a guest (tests/harness/scsi_host.py); back-end and front-end run in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness import inside
from tests.harness.forwarding import Forwarding
from tests.harness.frontend import (
    ABORTED,
    BAD_TARGET,
    CHECK_CONDITION,
    FUNCTION_COMPLETE,
    GOOD,
    OK,
    RESET_RESPONSE,
    Response,
)
from tests.harness.images import scsi_host as image
from tests.harness.scsi_daemon import CONTROL, SOCKET, ScsiDaemon
from tests.harness.scsi_host import CD_BYTES, ScsiHost, cd_contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.evidence import Collector

DISK, CD, SIMULATED, TAPE, DELETED, BY_BLOCKS, PASSED_DISK, PASSED_TAPE = range(8)  # targets
SENT = 8  # of what comes while the back-end runs

#: What the kernel is told to carry to QEMU's disk in one command.
CARRIED = 128 << 10

ABORT_TASK, LOGICAL_UNIT_RESET = 0, 5  # task management functions

#: A tape is asked without us, too, as nobody should where its data counts.
OPTIONS = {
    SIMULATED: ",timeout=2s",
    TAPE: ",lock=off",
    DELETED: ",reset=lun,identity=own,ro",
    BY_BLOCKS: ",road=block",
}


#: Opened for the back-end by its parent, as descriptors of these numbers.
PASSED = {PASSED_DISK, PASSED_TAPE}


def luns(nodes: dict[int, str]) -> list[str]:
    """Say what the back-end is to forward."""
    names = {target: f"fd:{target}" if target in PASSED else node for target, node in nodes.items()}
    return [f"0:0:{target}:0={name}{OPTIONS.get(target, '')}" for target, name in names.items()]


@pytest.fixture(scope="module")
def forwarding(evidence: Collector) -> Iterator[Forwarding]:
    """The back-end in the host, with a front-end and eight devices."""
    with ScsiHost(image()) as host, evidence.watch(host):
        host.boot()
        host.inside.start()
        host.load_scsi_debug(dev_size_mb=8, delay=0)
        addresses = {DISK: "0:0:0:0", CD: "0:0:1:0"}
        disks, tapes = (SIMULATED, DELETED, BY_BLOCKS, PASSED_DISK), (TAPE, PASSED_TAPE)
        for target, kind in (*((disk, 0) for disk in disks), *((tape, 1) for tape in tapes)):
            addresses[target] = host.add_simulated(ptype=kind)
        host.set_simulated(ptype=0)
        disk = host.node(addresses[DISK], "sd").rpartition("/")[2]
        host.shell(f"echo {CARRIED >> 10} >/sys/block/{disk}/queue/max_sectors_kb")
        nodes = {target: host.node(address) for target, address in addresses.items()}
        opened = {target: nodes[target] for target in PASSED}
        daemon = ScsiDaemon(host, luns(nodes), opened=opened)
        daemon.start()
        made = Forwarding(host, daemon, addresses, nodes)
        made.connect()
        yield made


def seen(answer: Response | inside.Direct) -> tuple[int, bytes, bytes]:
    """What of an answer reaches a guest: status, sense, and data that was moved."""
    data = answer.data
    if isinstance(answer, Response):
        assert answer.response == OK, answer
        data = data[: len(data) - answer.resid]
    # Of a command that failed nobody looks at the data.
    return answer.status, answer.sense, data if answer.status == GOOD else b""


def inquiry(page: int, length: int = 0xFF) -> str:
    """Write the CDB of INQUIRY for a vital product data page."""
    return f"1201{page:02x}{length:04x}00"


MODE_SENSE = "1a003f00ff00"

COMMANDS = {
    "standard INQUIRY": ("12000000ff00", 255),
    "TEST UNIT READY": ("000000000000", 0),
    "REQUEST SENSE": ("030000006000", 96),
    "MODE SENSE(6), all pages": (MODE_SENSE, 255),
    "MODE SENSE(10), all pages": ("5a003f000000000100" + "00", 256),
    "LOG SENSE, supported pages": ("4d0040000000000100" + "00", 256),
    "LOG SENSE, temperature": ("4d004d000000000100" + "00", 256),
    "PERSISTENT RESERVE IN, READ KEYS": ("5e00000000000000" + "4000", 64),
    "an operation code of nobody's": ("1f0000000000", 0),
    "INQUIRY, a page of nobody's": (inquiry(0xEE), 255),
    "RECEIVE DIAGNOSTIC RESULTS": ("1c0100010000", 256),
}
OF_DISKS = {
    "READ CAPACITY(10)": ("25" + "00" * 9, 8),
    "READ CAPACITY(16)": ("9e10" + "00" * 11 + "200000", 32),
    "READ(10) beyond the end": ("28007fffffff00000100", 512),
}
OF_CD = {
    "READ CAPACITY(10)": ("25" + "00" * 9, 8),
    "READ TOC": ("43000000000000010000", 256),
    "GET CONFIGURATION": ("46000000000000010000", 256),
    "GET EVENT STATUS NOTIFICATION": ("4a010000100000000800", 8),
    "READ DISC INFORMATION": ("51000000000000002200", 34),
    "MECHANISM STATUS": ("bd0000000000000000080000", 8),
}
OF_TAPE = {"READ POSITION": ("34" + "00" * 9, 20)}


@pytest.mark.parametrize(
    ("target", "more"),
    [
        (DISK, OF_DISKS),
        (CD, OF_CD),
        (SIMULATED, OF_DISKS),
        (TAPE, OF_TAPE),
        (BY_BLOCKS, {}),
        (PASSED_DISK, OF_DISKS),
        (PASSED_TAPE, OF_TAPE),
    ],
    ids=["disk", "cd", "simulated-disk", "tape", "disk-by-blocks", "passed-disk", "passed-tape"],
)
def test_a_device_answers_through_us_as_without_us(
    forwarding: Forwarding, target: int, more: dict[str, tuple[str, int]]
) -> None:
    differ = {}
    for name, (cdb, length) in (COMMANDS | more).items():
        told = seen(forwarding.ask(target, cdb, data_in=length))
        straight = seen(forwarding.direct(target, cdb, data_in=length))
        if told != straight:
            differ[name] = (told, straight)
    assert not differ


@pytest.mark.parametrize("target", [DISK, CD, SIMULATED, TAPE])
def test_vital_product_data_is_the_devices_own(forwarding: Forwarding, target: int) -> None:
    pages = forwarding.direct(target, inquiry(0), data_in=255).data[4:]
    told = forwarding.ask(target, inquiry(0), data_in=255)
    if target in {DISK, SIMULATED}:
        assert told.data[4 : 4 + told.data[3]] == bytes(sorted({*pages, 0xB0}))
    else:
        assert seen(told)[2][4:] == pages
    for page in set(pages) - {0x00, 0xB0}:
        cdb = inquiry(page)
        assert seen(forwarding.ask(target, cdb, data_in=255)) == seen(
            forwarding.direct(target, cdb, data_in=255)
        ), f"page {page:02X}h"


def test_block_limits_are_the_hosts_where_those_are_less(forwarding: Forwarding) -> None:
    told = forwarding.ask(DISK, inquiry(0xB0), data_in=255)
    assert told.good
    assert int.from_bytes(told.data[8:12], "big") == CARRIED // 512
    straight = forwarding.direct(DISK, inquiry(0xB0), data_in=255)
    ours = told.data[: len(straight.data)]
    assert ours[:8] + ours[16:] == straight.data[:8] + straight.data[16:]


def test_report_luns_has_the_table_and_not_the_hosts_view(forwarding: Forwarding) -> None:
    told = forwarding.ask(SIMULATED, "a00000000000" + "00000010" + "0000", data_in=16)
    assert told.good
    assert told.data == bytes.fromhex("00000008" + "00" * 4 + "00" * 8)


def test_data_arrives_in_both_directions(forwarding: Forwarding) -> None:
    for target in (DISK, SIMULATED, BY_BLOCKS, PASSED_DISK):
        data = bytes(range(256)) * 64
        for cdb in ("0a000a002000", "2a000000020000002000", "8a00" + "00" * 6 + "0400000000200000"):
            assert forwarding.ask(target, cdb, data_out=data, piece=1000).good
        for lba in ("00000a00", "00000200", "00000400"):
            read = forwarding.direct(target, f"2800{lba}00002000", data_in=len(data))
            assert read.data == data, (target, lba)
        changed = data[::-1]
        assert forwarding.direct(target, "2a000000020000002000", data_out=changed).status == GOOD
        for cdb in ("080002002000", "28000000020000002000", "a800000002000000002000" + "00"):
            told = forwarding.ask(target, cdb, data_in=len(data), piece=4096)
            assert told.good
            assert told.data == changed


def test_a_cd_is_read(forwarding: Forwarding) -> None:
    blocks = CD_BYTES // 2048
    cdb = f"2800{blocks - 16:08x}00001000"
    told = forwarding.ask(CD, cdb, data_in=16 * 2048)
    assert told.good
    assert told.data == cd_contents()[-16 * 2048 :]


def test_more_than_the_host_carries_goes_in_pieces_to_a_disk(forwarding: Forwarding) -> None:
    data = b"".join(number.to_bytes(4, "big") * 128 for number in range(CARRIED * 5 // 2 // 512))
    blocks = len(data) // 512
    wrote = forwarding.ask(DISK, f"2a0000001000{0:02x}{blocks:04x}00", data_out=data, piece=20480)
    assert wrote.good
    assert wrote.resid == 0
    told = forwarding.ask(DISK, f"280000001000{0:02x}{blocks:04x}00", data_in=len(data), piece=4096)
    assert told.good
    assert told.data == data
    for piece in range(0, blocks, 64):
        cdb = f"2800{0x1000 + piece:08x}00004000"
        assert (
            forwarding.direct(DISK, cdb, data_in=64 * 512).data
            == data[piece * 512 : (piece + 64) * 512]
        )


def test_more_than_the_host_carries_is_refused_where_it_cannot_be_cut(
    forwarding: Forwarding,
) -> None:
    # READ BUFFER, descriptor mode, with far too much room.
    told = forwarding.ask(DISK, "3c02000000000200" + "0000", data_in=CARRIED * 2)
    assert told.status == CHECK_CONDITION
    assert told.sense_code == (5, 0x24, 0)


@pytest.mark.parametrize(
    ("rule", "sense"),
    [
        ("2 -1 0x28 0 0 0x2 0x3 0x11 0x0", (0x3, 0x11, 0x00)),
        ("2 -1 0x28 0 0 0x2 0xb 0x44 0x0", (0xB, 0x44, 0x00)),
        ("2 -1 0x28 0 0 0x2 0x6 0x29 0x2", (0x6, 0x29, 0x02)),
        ("2 -1 0x28 0 0 0x2 0x4 0x15 0x1", (0x4, 0x15, 0x01)),
    ],
    ids=["medium-error", "aborted-command", "unit-attention", "hardware-error"],
)
def test_an_error_of_the_device_arrives_as_it_was(
    forwarding: Forwarding, rule: str, sense: tuple[int, int, int]
) -> None:
    read = "28000000000000000800"
    forwarding.host.inject(forwarding.addresses[SIMULATED], rule)
    told = forwarding.ask(SIMULATED, read, data_in=4096)
    assert (told.response, told.status, told.sense_code) == (OK, CHECK_CONDITION, sense)
    # Once: the next one is well.
    assert forwarding.ask(SIMULATED, read, data_in=4096).good


def blocks_moved(forwarding: Forwarding) -> list[int]:
    """Count what the host's block layer has read and written there: what goes by SG is not."""
    folder = f"/sys/class/scsi_device/{forwarding.addresses[BY_BLOCKS]}/device/block"
    figures = forwarding.host.shell(f"cat {folder}/*/stat").split()
    return [int(figures[0]), int(figures[4])]


def test_blocks_go_by_the_block_device_and_all_else_by_sg(forwarding: Forwarding) -> None:
    before = blocks_moved(forwarding)
    data = b"by its block device" * 512
    data = data[: 16 * 512]
    assert forwarding.ask(BY_BLOCKS, "2a000000050000001000", data_out=data, piece=1000).good
    assert (
        forwarding.ask(BY_BLOCKS, "8800" + "00" * 6 + "0500000000100000", data_in=len(data)).data
        == data
    )
    after = blocks_moved(forwarding)
    assert all(now > then for now, then in zip(after, before, strict=True))
    # VERIFY, UNMAP and SYNCHRONIZE CACHE are the device's own, to the last bit.
    for cdb in ("2f000000050000001000", "35000000000000000000"):
        assert seen(forwarding.ask(BY_BLOCKS, cdb)) == seen(forwarding.direct(BY_BLOCKS, cdb))
    assert blocks_moved(forwarding) == after
    told = forwarding.ask(BY_BLOCKS, "28007fffffff00000100", data_in=512)
    straight = forwarding.direct(BY_BLOCKS, "28007fffffff00000100", data_in=512)
    assert told.sense_code == (straight.sense[2] & 0xF, straight.sense[12], straight.sense[13])


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("2 -9 0x28 0 0 0x2 0x3 0x11 0x0", (CHECK_CONDITION, (0x3, 0x11, 0x00))),
        ("2 -9 0x2a 0 0 0x2 0x3 0x0c 0x0", (CHECK_CONDITION, (0x3, 0x0C, 0x00))),
        ("2 -9 0x2a 0 0 0x18 0x0 0x0 0x0", (0x18, None)),
    ],
    ids=["medium-error-of-a-read", "of-a-write", "reservation-conflict"],
)
def test_an_error_of_the_block_device_is_what_the_kernel_says_of_it(
    forwarding: Forwarding, rule: str, told: tuple[int, tuple[int, int, int] | None]
) -> None:
    # The host's own driver tries again before it says so.
    forwarding.host.inject(forwarding.addresses[BY_BLOCKS], rule)
    writes = rule.split()[2] == "0x2a"
    cdb = ("2a" if writes else "28") + "000000070000000800"
    try:
        got = forwarding.ask(
            BY_BLOCKS, cdb, data_out=bytes(4096 * writes), data_in=0 if writes else 4096
        )
    finally:
        forwarding.host.stop_injecting(forwarding.addresses[BY_BLOCKS], rule)
    assert (got.status, got.sense_code if got.sense else None) == told
    assert forwarding.ask(BY_BLOCKS, "28000000070000000800", data_in=4096).good


def test_a_reservation_conflict_arrives_as_it_was(forwarding: Forwarding) -> None:
    rule = "2 -2 0x1a 0 0 0x18 0x0 0x0 0x0"
    forwarding.host.inject(forwarding.addresses[SIMULATED], rule)
    straight = forwarding.direct(SIMULATED, MODE_SENSE, data_in=255)
    assert straight.status == 0x18
    assert seen(forwarding.ask(SIMULATED, MODE_SENSE, data_in=255)) == seen(straight)


def test_a_short_transfer_has_its_residual(forwarding: Forwarding) -> None:
    # SDEBUG_OPT_SHORT_TRANSFER, for every command.
    forwarding.host.set_simulated(opts=0x100, every_nth=1)
    try:
        straight = forwarding.direct(SIMULATED, "28000000000000000800", data_in=4096)
        told = forwarding.ask(SIMULATED, "28000000000000000800", data_in=4096)
    finally:
        forwarding.host.set_simulated(opts=0, every_nth=0)
    assert 0 < straight.resid < 4096
    assert (told.response, told.status, told.resid) == (OK, GOOD, straight.resid)


def test_a_command_that_times_out_on_the_host_is_aborted(forwarding: Forwarding) -> None:
    forwarding.host.inject(forwarding.addresses[SIMULATED], "0 -1 0x28")
    told = forwarding.ask(SIMULATED, "28000000000000000800", data_in=4096)
    assert told.response == ABORTED, told
    for _ in range(3):  # the host's error handling may leave a unit attention
        told = forwarding.ask(SIMULATED, "28000000000000000800", data_in=4096)
        if told.good:
            break
    assert told.good


#: Blocks of some bytes, a filemark, and reads that do not fit.
TAPE_STORY = (
    ("REWIND", "010000000000", b"", 0),
    ("WRITE", "0a0000040000", b"abcd" * 256, 0),
    ("WRITE", "0a0000020000", b"efgh" * 128, 0),
    ("WRITE FILEMARKS", "100000000100", b"", 0),
    ("WRITE", "0a0000040000", b"ijkl" * 256, 0),
    ("REWIND", "010000000000", b"", 0),
    ("READ, exact", "080000040000", b"", 1024),
    ("READ, too long", "080000040000", b"", 1024),
    ("READ, filemark", "080000040000", b"", 1024),
    ("READ, too short", "080000020000", b"", 512),
    ("READ, end of data", "080000040000", b"", 1024),
    ("READ POSITION", "34" + "00" * 9, b"", 20),
    ("SPACE, back over a filemark", "1101ffffff00", b"", 0),
    ("LOCATE", "2b000000000001000000", b"", 0),
    ("READ, suppressed ILI", "080200040000", b"", 1024),
)


def play(
    ask: Callable[..., Response | inside.Direct], target: int = TAPE
) -> list[tuple[str, int, bytes, int, bytes]]:
    """Have a tape go through the story: status, sense, residual and data of each command."""
    told = []
    for name, cdb, data_out, data_in in TAPE_STORY:
        answer = ask(target, cdb, data_out=data_out, data_in=data_in)
        moved = answer.data[: data_in - answer.resid]
        told.append((name, answer.status, answer.sense, answer.resid, moved))
    return told


def test_a_tape_tells_what_it_read_as_without_us(forwarding: Forwarding) -> None:
    straight, through = play(forwarding.direct), play(forwarding.ask)
    assert through == straight
    by_name = {name: (status, sense, resid, data) for name, status, sense, resid, data in through}
    status, sense, resid, data = by_name["READ, too long"]
    assert (status, sense[2] & 0xEF) == (CHECK_CONDITION, 0x20), "ILI, sense key 0"
    assert resid == 512
    assert data[:4] == b"efgh"
    status, sense, resid, data = by_name["READ, filemark"]
    assert (status, sense[2] & 0xEF, resid) == (CHECK_CONDITION, 0x80, 1024)


def test_a_tape_that_was_passed_in_tells_the_same(forwarding: Forwarding) -> None:
    assert play(forwarding.ask, PASSED_TAPE) == play(forwarding.direct, PASSED_TAPE)


def test_a_device_that_a_running_daemon_was_sent_answers_as_without_us(
    forwarding: Forwarding,
) -> None:
    forwarding.addresses[SENT] = forwarding.host.add_simulated(ptype=0)
    forwarding.nodes[SENT] = node = forwarding.host.node(forwarding.addresses[SENT])
    try:
        vdev = f"0:0:{SENT}:0"
        forwarding.host.inside.call(inside.attach_sent, str(CONTROL), node, vdev)
        assert any(forwarding.ask(SENT, "00" * 6).good for _ in range(6))
        data = b"sent" * 1024
        assert forwarding.ask(SENT, "2a000000020000000800", data_out=data).good
        read = "28000000020000000800"
        assert forwarding.direct(SENT, read, data_in=4096).data == data
        told = forwarding.ask(SENT, read, data_in=4096)
        assert seen(told) == (GOOD, b"", data)
    finally:
        del forwarding.addresses[SENT], forwarding.nodes[SENT]


def test_many_commands_wait_for_few_threads_where_a_disk_was_passed_in(
    forwarding: Forwarding,
) -> None:
    tags = range(601, 625)
    forwarding.host.set_simulated(delay=25)
    try:
        for tag in tags:
            forwarding.submit(PASSED_DISK, "28000000000000000800", tag=tag, data_in=4096)
        assert forwarding.tmf(ABORT_TASK, PASSED_DISK, 624) == FUNCTION_COMPLETE
        answers = [forwarding.wait(tag) for tag in tags]
    finally:
        forwarding.host.set_simulated(delay=0)
    assert all(one.good for one in answers[:-1]), answers
    assert answers[-1].good or answers[-1].response == ABORTED


def test_a_tape_is_told_of_blocks_that_the_host_carries(forwarding: Forwarding) -> None:
    straight = forwarding.direct(TAPE, "050000000000", data_in=6)
    told = forwarding.ask(TAPE, "050000000000", data_in=6)
    assert told.good
    limit = int.from_bytes(told.data[1:4], "big")
    assert limit > 0
    assert limit <= (int.from_bytes(straight.data[1:4], "big") or limit)
    assert told.data[4:] == straight.data[4:]


def test_abort_waits_for_what_was_sent_and_ends_what_was_not(forwarding: Forwarding) -> None:
    forwarding.host.set_simulated(delay=1000)  # jiffies: 4 s
    try:
        # A tape takes one command at a time: of these only the first is sent.
        for tag in (101, 102, 103):
            forwarding.submit(TAPE, MODE_SENSE, tag=tag, data_in=255)
        assert forwarding.tmf(ABORT_TASK, TAPE, 102) == FUNCTION_COMPLETE
        assert forwarding.wait(102).response == ABORTED
        assert not forwarding.is_done(101)
        assert forwarding.tmf(ABORT_TASK, TAPE, 101) == FUNCTION_COMPLETE
        # It had come to its end before the function did, and is not said to be aborted.
        assert forwarding.is_done(101)
        assert forwarding.wait(101).good
        assert forwarding.wait(103).good
    finally:
        forwarding.host.set_simulated(delay=0)


def test_a_reset_waits_for_the_device_and_is_told(forwarding: Forwarding) -> None:
    forwarding.host.set_simulated(delay=250)
    try:
        for tag in range(201, 221):
            forwarding.submit(SIMULATED, "28000000000000000800", tag=tag, data_in=4096)
        assert forwarding.tmf(LOGICAL_UNIT_RESET, SIMULATED) == FUNCTION_COMPLETE
        answers = [forwarding.wait(tag) for tag in range(201, 221)]
    finally:
        forwarding.host.set_simulated(delay=0)
    assert all(one.good or one.response == RESET_RESPONSE for one in answers), answers
    assert forwarding.ask(SIMULATED, "00" * 6).sense_code == (6, 0x29, 0x03)
    assert forwarding.ask(SIMULATED, "00" * 6).good


def test_with_reset_lun_the_device_is_reset_too(forwarding: Forwarding) -> None:
    assert forwarding.tmf(LOGICAL_UNIT_RESET, DELETED) == FUNCTION_COMPLETE
    assert forwarding.ask(DELETED, "00" * 6).sense_code == (6, 0x29, 0x03)
    # The simulated device's own.
    said = forwarding.ask(DELETED, "00" * 6)
    assert said.status == CHECK_CONDITION
    assert said.sense_code[:2] == (6, 0x29)
    assert forwarding.ask(DELETED, "00" * 6).good


def test_names_of_ours_tell_nothing_of_the_device(forwarding: Forwarding) -> None:
    told = forwarding.ask(DELETED, "12000000ff00", data_in=255).data
    assert told[8:36] == b"VHPVSCSIVIRTUAL DISK    0.1 "
    serial = forwarding.direct(DELETED, inquiry(0x80), data_in=255).data[4:]
    assert serial
    for page in (0x80, 0x83):
        assert serial not in forwarding.ask(DELETED, inquiry(page), data_in=255).data


def test_a_lun_that_is_read_only_writes_by_neither_road(forwarding: Forwarding) -> None:
    protected = (7, 0x27, 0x00)
    written = forwarding.ask(DELETED, "2a000000000000000100", data_out=bytes(512))
    assert written.sense_code == protected
    # WRITE SAME(10) comes by Python.
    assert forwarding.ask(DELETED, "41000000000000000100", data_out=bytes(512)).sense_code == (
        protected
    )
    assert forwarding.ask(DELETED, "28000000000000000100", data_in=512).good
    assert forwarding.ask(DELETED, MODE_SENSE, data_in=255).data[2] & 0x80


def is_gone(answer: Response) -> bool:
    """Whether the guest was told so: by the kernel, or by us once we have heard of it."""
    if answer.response == BAD_TARGET:
        return True
    return answer.status == CHECK_CONDITION and answer.sense_code == (0x2, 0x04, 0x12)


def test_a_device_that_is_deleted_is_gone_for_its_guest(forwarding: Forwarding) -> None:
    # Without a write cache sd has nothing to flush before it goes.
    scsi_disk = f"/sys/class/scsi_disk/{forwarding.addresses[DELETED]}"
    forwarding.host.shell(f"echo temporary write through >{scsi_disk}/cache_type")
    forwarding.host.set_simulated(delay=250)
    try:
        for tag in range(301, 309):
            forwarding.submit(DELETED, "28000000000000000800", tag=tag, data_in=4096)
        address = forwarding.addresses[DELETED]
        forwarding.host.shell(f"echo 1 >/sys/class/scsi_device/{address}/device/delete")
        answers = [forwarding.wait(tag) for tag in range(301, 309)]
    finally:
        forwarding.host.set_simulated(delay=0)
    assert all(one.good or is_gone(one) for one in answers), answers
    assert is_gone(forwarding.ask(DELETED, "28000000000000000800", data_in=4096))
    assert is_gone(forwarding.ask(DELETED, "00" * 6))
    # The others are not touched.
    assert forwarding.ask(SIMULATED, "00" * 6).good


def test_a_xen_guest_is_told_the_same(forwarding: Forwarding) -> None:
    data = bytes(range(256)) * 200
    blocks = len(data) // 512
    commands = [
        (f"2a0000001000{0:02x}{blocks:04x}00", data, 0),
        (f"280000001000{0:02x}{blocks:04x}00", b"", len(data)),
        ("28007fffffff00000100", b"", 512),
        ("120000002400", b"", 36),
    ]
    told = by_pvscsi(forwarding, DISK, commands)
    straight = forwarding.direct(DISK, "28007fffffff00000100", data_in=512)
    assert [(result, resid) for result, _, resid, _ in told] == [
        (0, 0),
        (0, 0),
        (2, straight.resid),
        (0, 0),
    ]
    assert told[1][3] == data
    assert told[2][1][: len(straight.sense)] == straight.sense
    assert told[3][3] == forwarding.direct(DISK, "120000002400", data_in=36).data

    story = [(cdb, data_out, data_in) for _, cdb, data_out, data_in in TAPE_STORY]
    on_tape = by_pvscsi(forwarding, TAPE, story)
    for (name, *_), (result, sense, resid, read), (_, status, expected, left, moved) in zip(
        TAPE_STORY, on_tape, play(forwarding.direct), strict=True
    ):
        assert (result, resid) == (status, left), name
        assert sense[: len(expected)] == expected, name
        assert read[: len(moved)] == moved, name
    forwarding.connect()


def by_pvscsi(
    forwarding: Forwarding, target: int, commands: list[tuple[str, bytes, int]]
) -> list[tuple[int, bytes, int, bytes]]:
    """Send commands by a pvSCSI ring; the other front-end leaves first."""
    forwarding.host.inside.call(inside.leave)
    return forwarding.host.inside.call(
        inside.scsi_by_pvscsi,
        str(SOCKET),
        target,
        [(bytes.fromhex(cdb), data_out, data_in) for cdb, data_out, data_in in commands],
    )


def test_a_guest_that_leaves_is_waited_for_and_the_next_one_served(
    forwarding: Forwarding,
) -> None:
    forwarding.host.set_simulated(delay=250)
    try:
        for target in (SIMULATED, TAPE):
            for tag in range(501, 504):
                forwarding.submit(target, MODE_SENSE, tag=target * 1000 + tag, data_in=255)
        forwarding.host.inside.call(inside.leave)
        forwarding.connect()
        assert forwarding.ask(TAPE, MODE_SENSE, data_in=255).good
    finally:
        forwarding.host.set_simulated(delay=0)


def test_a_back_end_that_was_killed_comes_back_to_its_devices(forwarding: Forwarding) -> None:
    data = b"kept" * 1024
    assert forwarding.ask(SIMULATED, "2a000000030000000800", data_out=data).good
    forwarding.host.set_simulated(delay=500)
    forwarding.submit(TAPE, MODE_SENSE, tag=401, data_in=255)
    forwarding.submit(SIMULATED, "28000000030000000800", tag=402, data_in=4096)
    forwarding.daemon.kill()
    # What the kernel was sent it carries out, whoever is dead.
    for target in (DELETED, *PASSED):
        forwarding.nodes.pop(target, None)
    daemon = ScsiDaemon(forwarding.host, luns(forwarding.nodes))
    daemon.start()
    forwarding.daemon = daemon
    forwarding.host.inside.call(inside.resume, str(SOCKET))
    # A tape is nowhere sent a second time what it may have done; a disk is.
    assert forwarding.wait(401).sense_code == (0x6, 0x29, 0x00)
    assert forwarding.wait(402).sense_code == (0x6, 0x29, 0x01)
    told = forwarding.ask(SIMULATED, "28000000030000000800", data_in=4096)
    assert told.good
    assert told.data == data
    assert forwarding.ask(TAPE, "00" * 6).sense_code == (0x6, 0x29, 0x01)
    assert forwarding.ask(TAPE, MODE_SENSE, data_in=255).good
    forwarding.host.set_simulated(delay=0)
