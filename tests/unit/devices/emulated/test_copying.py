"""Copies where it matters when something happens, and what the host's errors become.

The engine's half is a stand-in here: it can be told when a piece ends and what goes wrong.
What is copied is seen by tests/integration/test_extended_copy.py.
"""

import asyncio
import errno
import threading

import pytest

from tests.harness import copying as made
from vhost_pvscsi.devices import host_errors
from vhost_pvscsi.devices.emulated.copier import PIECE
from vhost_pvscsi.devices.emulated.copies import MAX_KEPT, Copies
from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.emulated.disk import EmulatedDisk
from vhost_pvscsi.devices.identification import UnitIdentity
from vhost_pvscsi.devices.presentation import PLAIN
from vhost_pvscsi.scsi.copying import CopyList, Usage
from vhost_pvscsi.scsi.request import Reply, Request, Status

NAMES = [bytes((0x30, *bytes(6), number)) for number in range(2)]
CSCDS = [made.cscd(made.naa(name)) for name in NAMES]
BLOCKS = PIECE // 4096


class Medium:
    """The engine's half of a disk."""

    def __init__(self):
        self.pieces = []
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.may_end.set()
        self.errors = []  # one for each piece; None: none
        self.read_error = None

    def set_sync_writes(self, on):
        pass

    def set_descriptor_sense(self, on):
        pass

    def copy_to(self, target, source_offset, target_offset, length):
        self.begun.release()
        assert self.may_end.wait(20), "the test let the piece end"
        error = self.errors.pop(0) if self.errors else None
        if error:
            raise OSError(error, "the host's")
        self.pieces.append((source_offset, target_offset, length))
        return length

    def read(self, offset, length):
        if self.read_error:
            raise OSError(self.read_error, "the host's")
        return bytes(length)


class Rig:
    """Two disks of 4096-byte blocks that one nexus reaches, and the tasks that copy."""

    def __init__(self, *, media=True, read_only=False):
        self.media = [Medium(), Medium()]
        self.shown = [PLAIN, PLAIN]
        self.disks = [
            EmulatedDisk(
                f"disk{number}",
                UnitIdentity("SERIAL", name),
                DiskGeometry(1 << 20, block_size=4096, read_only=read_only),
                self._execute,
                medium=self.media[number] if media else None,
                neighbours=lambda nexus: (
                    zip(self.disks, self.shown, strict=True) if nexus == "a" else ()
                ),
            )
            for number, name in enumerate(NAMES)
        ]

    async def _execute(self, request):
        raise AssertionError(request)

    async def keep(self, cause, shut):
        pass

    async def connected(self):
        for disk in self.disks:
            await disk.connect("a", self.keep)
            await self.ask(disk, bytes(6))
        return self

    async def ask(self, disk, cdb, data=b""):
        return await disk.execute(
            Request("a", 0, 0, cdb.ljust(32, b"\0"), data_out=data, data_out_length=len(data))
        )

    def copy(self, *segments, by=0, identifier=1):
        data = made.lid1(CSCDS, segments, identifier=identifier)
        cdb = made.extended_copy(len(data))
        return asyncio.create_task(self.ask(self.disks[by], cdb, data))

    async def begun(self, source=0):
        assert await asyncio.to_thread(self.media[source].begun.acquire, timeout=20)


async def turns():
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def parts_of(reply):
    """Sense code, INFORMATION, COMMAND-SPECIFIC INFORMATION, what the other unit said."""
    data = reply.sense
    information = int.from_bytes(data[3:7], "big") if data[0] & 0x80 else None
    return data[2:3].hex() + data[12:14].hex(), information, data[8:12].hex(), data[18:]


async def test_blocks_are_moved_in_pieces():
    rig = await Rig().connected()
    reply = await rig.copy(made.segment(0, 1, 2 * BLOCKS + 1, 1, 5))
    assert reply.status is Status.GOOD
    assert rig.media[0].pieces == [
        (4096, 5 * 4096, PIECE),
        (4096 + PIECE, 5 * 4096 + PIECE, PIECE),
        (4096 + 2 * PIECE, 5 * 4096 + 2 * PIECE, 4096),
    ]


async def test_an_abort_waits_for_the_piece_that_is_on_its_way_and_for_no_other():
    rig = await Rig().connected()
    rig.media[0].may_end.clear()
    copy = rig.copy(made.segment(0, 1, 3 * BLOCKS))
    await rig.begun()
    for _ in range(3):
        copy.cancel()
        await turns()
    assert not copy.done(), "its thread still writes"
    rig.media[0].may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await copy
    assert len(rig.media[0].pieces) == 1
    assert not rig.disks[1].state.exclusion.alone
    assert rig.disks[1].state.gates.nexuses == ("a",)


async def test_an_abort_does_not_wait_for_the_pieces_of_others():
    rig = await Rig().connected()
    rig.media[0].may_end.clear()
    first = rig.copy(made.segment(0, 1, 1))
    await rig.begun()
    second = rig.copy(made.segment(0, 1, 1), identifier=2)
    await turns()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(second, 20)
    assert not first.done()
    rig.media[0].may_end.set()
    assert (await first).status is Status.GOOD


async def test_no_piece_runs_beside_a_command_that_has_the_blocks_alone():
    rig = await Rig().connected()
    rig.media[0].may_end.clear()
    copy = rig.copy(made.segment(0, 1, 2 * BLOCKS))
    await rig.begun()
    alone = asyncio.Event()

    async def compare(disk, end):
        async with disk.state.exclusion.exclusive():
            alone.set()
            await end.wait()

    end = asyncio.Event()
    compares = [asyncio.create_task(compare(rig.disks[1], end))]
    await turns()
    assert not alone.is_set()
    rig.media[0].may_end.set()
    await asyncio.wait_for(alone.wait(), 20)
    await turns()
    assert len(rig.media[0].pieces) == 1
    end.set()
    assert (await asyncio.wait_for(copy, 20)).status is Status.GOOD
    await asyncio.gather(*compares)


async def once_alone(disk):
    async with disk.state.exclusion.exclusive():
        pass


async def test_copies_in_both_directions_and_commands_alone_do_not_wait_for_each_other():
    """Each copy could have one unit and want the other, where a command alone stands between."""
    rig = await Rig().connected()
    first, second = rig.disks
    async with second.state.exclusion.exclusive():
        tasks = [rig.copy(made.segment(0, 1, 1))]
        await turns()
        tasks.append(asyncio.create_task(once_alone(first)))
        await turns()
        # These begin before the first copy hears that it may go on.
        tasks.append(rig.copy(made.segment(1, 0, 1), by=1))
        tasks.append(asyncio.create_task(once_alone(second)))
    await asyncio.wait_for(asyncio.gather(*tasks), 20)
    assert [len(medium.pieces) for medium in rig.media] == [1, 1]


@pytest.mark.parametrize("number", [0, 1], ids=["source", "destination"])
async def test_who_ends_the_commands_of_a_nexus_waits_for_its_piece(number):
    rig = await Rig().connected()
    rig.media[0].may_end.clear()
    copy = rig.copy(made.segment(0, 1, 2 * BLOCKS), by=1 - number)
    await rig.begun()
    ending = asyncio.create_task(rig.disks[number].state.gates.end_commands("a"))
    await turns()
    assert not ending.done()
    rig.media[0].may_end.set()
    await asyncio.wait_for(ending, 20)
    assert len(rig.media[0].pieces) == 1
    assert parts_of(await copy)[3] == bytes((Status.TASK_ABORTED,))
    assert len(rig.media[0].pieces) == 1


@pytest.mark.parametrize("number", [0, 1], ids=["source", "destination"])
async def test_a_unit_that_loses_the_nexus_is_not_touched_any_more(number):
    rig = await Rig().connected()
    rig.media[0].may_end.clear()
    copy = rig.copy(made.segment(0, 1, 2 * BLOCKS), by=1 - number)
    await rig.begun()
    losing = asyncio.create_task(rig.disks[number].nexus_lost("a"))
    await turns()
    assert not losing.done(), "its medium might be closed now"
    rig.media[0].may_end.set()
    await asyncio.wait_for(losing, 20)
    rig.disks[number].disconnect("a", rig.keep)
    assert len(rig.media[0].pieces) == 1
    assert parts_of(await copy)[3] == bytes((Status.TASK_ABORTED,))
    assert len(rig.media[0].pieces) == 1
    assert "a" not in rig.disks[number].state.gates.nexuses


async def test_a_unit_that_is_taken_away_meanwhile_is_not_reached():
    rig = await Rig().connected()
    rig.media[0].may_end.clear()
    copy = rig.copy(made.segment(0, 0, 1, 0, 1), made.segment(0, 1, 1))
    await rig.begun()
    rig.disks[1].disconnect("a", rig.keep)
    rig.media[0].may_end.set()
    reply = await copy
    assert parts_of(reply)[::2] == ("0a0804", "00000001")


async def test_nothing_is_tried_at_a_unit_that_is_write_protected():
    rig = await Rig(read_only=True).connected()
    code, _, _, forwarded = parts_of(await rig.copy(made.segment(0, 1, 1)))
    assert code == "0a0d01"
    assert forwarded[3:4].hex() + forwarded[13:15].hex() == "072700"
    assert not rig.media[0].begun.acquire(blocking=False)


@pytest.mark.parametrize(
    ("number", "read_error", "place", "said"),
    [
        (errno.ENOSPC, None, "0012", "02 700007000000000a00000000 2707 00000000"),
        (errno.EIO, None, "0012", "02 700003000000000a00000000 0c00 00000000"),
        (errno.EIO, errno.EIO, "1200", "02 700003000000000a00000000 1100 00000000"),
        (errno.ENOMEM, None, "0012", "28"),
    ],
)
async def test_whose_error_it_was_is_told(number, read_error, place, said):
    rig = await Rig().connected()
    rig.media[0].errors = [None, None, number]
    rig.media[0].read_error = read_error
    reply = await rig.copy(made.segment(0, 1, 1), made.segment(0, 1, 3 * BLOCKS))
    code, residual, specific, forwarded = parts_of(reply)
    assert code == "0a0d01"
    assert residual == 2 * BLOCKS, "destination blocks"
    assert specific == place + "0001"
    assert forwarded == bytes.fromhex(said)
    pointer = 16 if read_error else 48
    assert reply.sense[15:18] == bytes((0x80, 0, pointer))


async def test_nothing_is_said_of_a_residual_where_nothing_was_written():
    rig = await Rig().connected()
    rig.media[0].errors = [errno.EIO]
    reply = await rig.copy(made.segment(0, 1, 1))
    assert parts_of(reply)[1] is None


async def test_a_unit_without_blocks_of_the_engines_cannot_be_reached():
    rig = await Rig(media=False).connected()
    assert parts_of(await rig.copy(made.segment(0, 1, 1)))[0] == "0a0d02"


@pytest.mark.parametrize(
    ("number", "writing", "code"),
    [
        (errno.EFBIG, True, "072707"),
        (errno.EROFS, True, "072700"),
        (errno.EROFS, False, "044400"),
        (errno.ENODEV, False, "023a00"),
        (errno.EREMOTEIO, True, "030c00"),
        (errno.EREMOTEIO, False, "031100"),
        (errno.ENODATA, True, "030c00"),
        (errno.ENODATA, False, "031100"),
        (errno.ENOLINK, True, "0b0800"),
        (errno.ETIMEDOUT, False, "0b0801"),
        (errno.ELOOP, True, "044400"),
        (None, True, "044400"),
    ],
)
def test_what_the_hosts_errors_mean(number, writing, code):
    """As `Outcome::host_error` of the engine has it."""
    reply = host_errors.host_error(OSError(number, "it"), writing=writing)
    assert reply.sense[2:3].hex() + reply.sense[12:14].hex() == code


def known(copies, nexus, count):
    return [number for number in range(count) if copies.find(nexus, number) is not None]


def test_copies_that_have_ended_are_remembered_up_to_a_number():
    copies = Copies()
    for number in range(MAX_KEPT + 10):
        copy = copies.begin("a", 0, CopyList(number, Usage.HOLD, (), ()), 0)
        copies.end(copy, Reply())
    assert known(copies, "a", MAX_KEPT + 10) == list(range(10, MAX_KEPT + 10))


def test_a_nexus_has_names_of_its_own_and_loses_them_alone():
    copies = Copies()
    for nexus in "ab":
        copies.end(copies.begin(nexus, 0, CopyList(0, Usage.HOLD, (), ()), 0), Reply())
    running = copies.begin("a", 0, CopyList(1, Usage.HOLD, (), ()), 0)
    copies.forget("a")
    assert known(copies, "a", 2) == [1]
    assert known(copies, "b", 2) == [0]
    copies.end(running, None)
    copies.forget(None)
    assert known(copies, "a", 2) == known(copies, "b", 2) == []
