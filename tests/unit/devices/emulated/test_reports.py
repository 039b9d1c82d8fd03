"""GET LBA STATUS, LOG SENSE and REPORT TARGET PORT GROUPS, by their bytes."""

import struct

import pytest

from tests.harness.emulated import IDENTITY, code_of
from vhost_pvscsi.devices.allocation import Run, Runs
from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.emulated.disk import EmulatedDisk
from vhost_pvscsi.scsi.request import Request, Status

INVALID_FIELD = (5, 0x24, 0)
MAPPED, HOLE = 0, 1


class Rig:
    """A disk that finds its runs in a list: (bytes, whether a hole), one after the other."""

    def __init__(self, *runs, complete=True, find=True, **geometry):
        self.given, self.complete, self.asked = runs, complete, []
        geometry.setdefault("blocks", 0x2000)
        self.disk = EmulatedDisk(
            "disk.img",
            IDENTITY,
            DiskGeometry(**geometry),
            self._execute,
            find_runs=self._find if find else None,
        )

    async def _execute(self, request):
        raise AssertionError(request)

    async def _find(self, start, end, most):
        self.asked.append((start, end, most))
        runs = []
        for length, hole in self.given:
            runs.append(Run(start, start + length, hole))
            start += length
        return Runs(tuple(runs), self.complete)

    async def ask(self, cdb):
        cdb = bytes.fromhex(cdb).ljust(32, b"\0")
        return await self.disk.execute(Request(nexus="a", target=0, lun=0, cdb=cdb))

    async def data(self, cdb):
        reply = await self.ask(cdb)
        assert reply.status is Status.GOOD, reply.sense.hex()
        return reply.data

    async def sense(self, cdb):
        reply = await self.ask(cdb)
        assert reply.status is Status.CHECK_CONDITION
        return reply.sense

    async def status(self, lba=0, length=0x1000, kind=0):
        """COMPLETION CONDITION, RTP and the descriptors of GET LBA STATUS."""
        data = await self.data(f"9e 12 {lba:016x} {length:08x} {kind:02x} 00")
        assert struct.unpack(">I", data[:4])[0] == len(data) - 4
        assert len(data) % 16 == 8
        found = [struct.unpack(">QIBxxx", data[at : at + 16]) for at in range(8, len(data), 16)]
        return data[7] >> 1, data[7] & 1, found


BLOCKS = 512
SPARSE = ((8 * BLOCKS, True), (16 * BLOCKS, False), (8168 * BLOCKS, True))


async def test_holes_are_deallocated():
    rig = Rig(*SPARSE)
    assert await rig.status() == (3, 1, [(0, 8, HOLE), (8, 16, MAPPED), (24, 8168, HOLE)])
    assert rig.asked == [(0, 0x2000 * 512, 257)]


async def test_the_search_begins_at_the_starting_lba_in_blocks_of_the_unit():
    rig = Rig((0x1000 * 4096, False), block_size=4096)
    assert await rig.status(0x1000) == (3, 1, [(0x1000, 0x1000, MAPPED)])
    assert rig.asked == [(0x1000 * 4096, 0x2000 * 4096, 257)]


async def test_the_allocation_length_bounds_the_descriptors():
    rig = Rig(*SPARSE)
    assert await rig.status(length=40) == (1, 1, [(0, 8, HOLE), (8, 16, MAPPED)])
    assert await rig.status(length=24) == (1, 1, [(0, 8, HOLE)])
    assert (await rig.status(length=56))[0] == 3
    # What is cut off is counted all the same.
    assert (await rig.data("9e 12 0000000000000000 00000004 00 00")).hex() == "00000014"
    assert await rig.data("9e 12 0000000000000000 00000000 00 00") == b""


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (0, [(0, 8, HOLE), (8, 16, MAPPED), (24, 8168, HOLE)]),
        (1, [(0, 8, HOLE), (24, 8168, HOLE)]),
        (2, [(8, 16, MAPPED)]),
        (3, [(0, 8, HOLE), (24, 8168, HOLE)]),
        (4, []),
        (0x10, []),
    ],
)
async def test_the_report_type_chooses(kind, found):
    assert await Rig(*SPARSE).status(kind=kind) == (3, 1, found)


@pytest.mark.parametrize("kind", [0x05, 0x0F, 0x11, 0xFF])
async def test_other_report_types_are_refused(kind):
    data = await Rig(*SPARSE).sense(f"9e 12 0000000000000000 00001000 {kind:02x} 00")
    assert code_of(data) == INVALID_FIELD
    assert data[15:18].hex() == "c0000e"


async def test_a_search_that_ended_early_says_nothing_of_its_end():
    rig = Rig(*SPARSE[:2], complete=False)
    assert await rig.status() == (0, 1, [(0, 8, HOLE), (8, 16, MAPPED)])
    # Nothing of that type yet: what there is is told instead, so that there is a way on.
    rig = Rig((8 * BLOCKS, False), complete=False)
    assert await rig.status(kind=3) == (0, 0, [(0, 8, MAPPED)])
    assert rig.asked[-1][2] == 1024


async def test_a_hole_of_more_than_32_bits_of_blocks_is_told_in_pieces():
    blocks = 1 << 34
    rig = Rig((blocks * 512, True), blocks=blocks)
    condition, _, found = await rig.status()
    assert condition == 3
    assert sum(count for _, count, _ in found) == blocks
    assert [status for *_, status in found] == [HOLE] * len(found)


async def test_no_more_than_1024_descriptors():
    rig = Rig(*[(512, bool(at % 2)) for at in range(1024)], complete=False)
    condition, _, found = await rig.status(length=0xFFFFFF)
    assert (condition, len(found)) == (0, 1024)


@pytest.mark.parametrize("geometry", [{"unmap": False}, {"unmap_zeros": False}, {"find": False}])
async def test_without_holes_that_read_as_zeros_all_is_mapped(geometry):
    rig = Rig(*SPARSE, **geometry)
    assert await rig.status(8) == (3, 1, [(8, 0x1FF8, MAPPED)])
    assert rig.asked == []


async def test_a_starting_lba_beyond_the_end():
    assert (await Rig(find=False).status(0x1FFF))[2] == [(0x1FFF, 1, MAPPED)]
    data = await Rig().sense("9e 12 0000000000002000 00001000 00 00")
    assert code_of(data) == (5, 0x21, 0)
    assert data[:7].hex() == "f0000500002000"  # VALID, INFORMATION: the LBA


# -- LOG SENSE


@pytest.mark.parametrize(
    ("cdb", "answer"),
    [
        ("4d 00 40 00 00 0000 00ff 00", "00000002" + "002f"),
        ("4d 00 40 ff 00 0000 00ff 00", "40ff0008" + "000000ff2f002fff"),
        ("4d 00 6f 00 00 0000 00ff 00", "af000007" + "000003030000ff"),
        ("4d 00 6f ff 00 0000 00ff 00", "6fff0004" + "2f002fff"),
        ("4d 00 2f 00 00 0000 00ff 00", "af000007" + "000003030000ff"),
        ("4d 00 40 00 00 0000 0004 00", "00000002"),
        ("4d 00 40 00 00 0000 0000 00", ""),
    ],
)
async def test_log_pages(cdb, answer):
    assert (await Rig().data(cdb)).hex() == answer


@pytest.mark.parametrize(
    ("cdb", "pointer"),
    [
        ("4d 00 42 00 00 0000 00ff 00", "cd0002"),  # no such page
        ("4d 00 42 ff 00 0000 00ff 00", "cd0002"),
        ("4d 00 4d 00 00 0000 00ff 00", "cd0002"),  # no temperature
        ("4d 00 6f 01 00 0000 00ff 00", "c00003"),  # no such subpage
        ("4d 00 40 01 00 0000 00ff 00", "c00003"),
        ("4d 00 6f 00 00 0001 00ff 00", "c00005"),  # no parameter above 0000h
        ("4d 00 40 00 00 0001 00ff 00", "c00005"),
        ("4d 01 40 00 00 0000 00ff 00", "c80001"),  # SP
        ("4d 02 40 00 00 0000 00ff 00", "c90001"),  # PPC
    ],
)
async def test_log_pages_that_are_not_there(cdb, pointer):
    data = await Rig().sense(cdb)
    assert code_of(data) == INVALID_FIELD
    assert data[15:18].hex() == pointer


async def test_every_log_page_that_is_listed_answers():
    rig = Rig()
    listed = await rig.data("4d 00 40 ff 00 0000 00ff 00")
    for at in range(4, len(listed), 2):
        page, subpage = listed[at], listed[at + 1]
        data = await rig.data(f"4d 00 {0x40 | page:02x} {subpage:02x} 00 0000 00ff 00")
        assert (data[0] & 0x3F, data[1]) == (page, subpage)
        assert int.from_bytes(data[2:4], "big") == len(data) - 4


# -- REPORT TARGET PORT GROUPS

GROUP = "00010001" + "00000001" + "00000001"


@pytest.mark.parametrize(
    ("cdb", "answer"),
    [
        ("a3 0a 00 00 00 00 000000ff 00 00", "0000000c" + GROUP),
        ("a3 2a 00 00 00 00 000000ff 00 00", "00000010" + "10000000" + GROUP),
        ("a3 0a 00 00 00 00 00000004 00 00", "0000000c"),
    ],
)
async def test_target_port_groups(cdb, answer):
    assert (await Rig().data(cdb)).hex() == answer


@pytest.mark.parametrize("form", range(2, 8))
async def test_other_formats_of_target_port_groups_are_refused(form):
    data = await Rig().sense(f"a3 {form << 5 | 0x0A:02x} 00 00 00 00 000000ff 00 00")
    assert code_of(data) == INVALID_FIELD
    assert data[15:18].hex() == "cf0001"
