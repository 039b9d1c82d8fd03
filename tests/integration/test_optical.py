"""CD and DVD drives: what a front-end is answered, and discs that come and go."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from qemu.qmp import ExecuteError

from tests.harness import commands as cdb
from tests.harness.frontend import OK, FrontEnd, Response
from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon
    from tests.harness.qmp import Qmp

    from .conftest import MakeDaemon

SECTOR = 2048
BLOCKS = 700
LUN_RESET = 5

TRAY_CLOSED, TRAY_OPEN = (2, 0x3A, 0x01), (2, 0x3A, 0x02)
MAY_HAVE_CHANGED = (6, 0x28, 0)
PREVENTED = (5, 0x53, 0x02)
NO_SUCH_COMMAND, NO_SUCH_FIELD = (5, 0x20, 0), (5, 0x24, 0)
OUT_OF_RANGE = (5, 0x21, 0)
READY = bytes(6)
EJECT, LOAD = bytes((0x1B, 0, 0, 0, 2, 0)), bytes((0x1B, 0, 0, 0, 3, 0))
MEDIA, OPERATIONAL = 1 << 4, 1 << 1
NONE, EJECT_REQUEST, NEW, REMOVED = range(4)


def sector(number: int, seed: int = 0) -> bytes:
    return struct.pack(">II", seed, number) * (SECTOR // 8)


def make_disc(path: Path, blocks: int = BLOCKS, seed: int = 0) -> Path:
    path.write_bytes(b"".join(sector(number, seed) for number in range(blocks)))
    return path


def make_dvd(path: Path, blocks: int = 1_000_000) -> Path:
    """A disc of which all is a hole."""
    with path.open("wb") as file:
        file.truncate(blocks * SECTOR)
    return path


@pytest.fixture
def disc(folder: Path) -> Path:
    return make_disc(folder / "disc.iso")


@pytest.fixture
def other(folder: Path) -> Path:
    return make_disc(folder / "other.iso", BLOCKS + 50, seed=7)


class Drive:
    """A drive, its guest and its operator."""

    def __init__(self, daemon: Daemon, operator: Qmp, verb: Verbs) -> None:
        self.operator = operator
        self.verb = verb
        self.guest = FrontEnd(daemon.socket)

    def do(self, command: bytes, room: int = 0, data_out: bytes = b"") -> Response:
        return self.guest.scsi(0, 0, command, data_in=room, data_out=data_out)

    def get(self, command: bytes, room: int) -> bytes:
        response = self.do(command, room)
        assert response.good, response
        return response.data[: room - response.resid]

    def refused(self, command: bytes, room: int = 0) -> tuple[int, int, int]:
        return self.do(command, room).sense_code

    def event(self, classes: int = MEDIA, room: int = 8) -> bytes:
        return self.get(struct.pack(">BBxxBxxHx", 0x4A, 1, classes, room), room)

    def media_events(self) -> list[tuple[int, int]]:
        """All media events that are pending, each with the status of the medium."""
        found = []
        while (event := self.event())[4]:
            found.append((event[4], event[5]))
        return found

    def insert(self, path: Path, **options: object) -> None:
        """Put a disc in, by the control socket: a verb of the command line starts a program."""
        self.operator.execute("medium-insert", vdev="0:0:0:0", file=str(path), **options)

    def eject(self, **options: object) -> None:
        self.operator.execute("medium-eject", vdev="0:0:0:0", **options)

    def not_inserted(self, path: Path) -> str:
        """Why a disc cannot be put in."""
        with pytest.raises(ExecuteError) as refused:
            self.insert(path)
        return str(refused.value)

    def not_ejected(self) -> str:
        with pytest.raises(ExecuteError) as refused:
            self.eject()
        return str(refused.value)

    def told(self) -> dict[str, object]:
        """What the next MEDIUM_CHANGED says."""
        data = self.operator.wait_event("MEDIUM_CHANGED", timeout=20)["data"]
        assert isinstance(data, dict)
        return data

    def lun(self) -> dict[str, object]:
        [lun] = self.operator.execute("query-luns")
        assert isinstance(lun, dict)
        return lun

    def hear(self) -> None:
        """Take the unit attention that there may be another disc."""
        assert self.refused(READY) == MAY_HAVE_CHANGED
        assert self.do(READY).good


@pytest.fixture
def attach(make_daemon: MakeDaemon, folder: Path) -> object:
    @contextmanager
    def attached(pdev: str, *options: str) -> Iterator[Drive]:
        control = folder / "control"
        daemon = make_daemon([f"0:0:0:0={pdev}"], "--control", str(control), *options)
        verb = Verbs(control)
        with verb.client() as operator, (drive := Drive(daemon, operator, verb)).guest:
            # Of the unit attention that power is on; an empty drive does not get ready.
            drive.do(READY)
            yield drive
        daemon.stop()

    return attached


@pytest.fixture
def drive(attach, disc: Path) -> Iterator[Drive]:
    with attach(f"cd:{disc}") as attached:
        yield attached


@pytest.fixture
def empty(attach) -> Iterator[Drive]:
    with attach("cd:") as attached:
        yield attached


# -- what it is


def test_a_guest_is_told_that_it_is_a_drive(drive: Drive) -> None:
    inquiry = drive.get(cdb.inquiry(96), 96)
    assert inquiry[:4] == bytes((0x05, 0x80, 0x07, 0x12))
    assert inquiry[8:32] == b"VHPVSCSIVIRTUAL CD/DVD  "
    assert struct.unpack_from(">3H", inquiry, 58) == (0x00A0, 0x05C0, 0x04E0)
    assert drive.get(cdb.inquiry(64, page=0), 64)[4:] == bytes((0x00, 0x80, 0x83, 0x86, 0x87))
    lun = drive.lun()
    told = (lun["type"], lun["blocks"], lun["block-size"], lun["read-only"], lun["loaded"])
    assert told == ("cd", BLOCKS, SECTOR, True, True)


def test_its_names_are_those_of_the_drive_not_the_disc(drive: Drive, other: Path) -> None:
    def names() -> bytes:
        return drive.get(cdb.inquiry(255, page=0x83), 255) + drive.get(
            cdb.inquiry(255, page=0x80), 255
        )

    before = names()
    drive.insert(other)
    drive.hear()
    assert names() == before


def test_the_sectors_are_those_of_the_image(drive: Drive) -> None:
    assert drive.get(bytes((0x25, *bytes(9))), 8) == struct.pack(">II", BLOCKS - 1, SECTOR)
    wanted = sector(16) + sector(17)
    read_12 = struct.pack(">BxIIxx", 0xA8, 16, 2)
    read_cd = struct.pack(">BxI3sB2x", 0xBE, 16, bytes((0, 0, 2)), 0x10)
    read_cd_msf = struct.pack(">BBx3s3sB2x", 0xB9, 2 << 2, bytes((0, 2, 16)), bytes((0, 2, 18)), 16)
    for command in (cdb.read_10(16, 2), read_12, read_cd, read_cd_msf):
        assert drive.get(command, 2 * SECTOR) == wanted, command.hex()
    assert drive.do(cdb.verify_10(0, 4)).good
    assert drive.do(cdb.synchronize_cache_10()).good
    assert drive.do(struct.pack(">BxI4x", 0x2B, BLOCKS - 1)).good
    past = struct.pack(">BxI3sB2x", 0xBE, BLOCKS - 1, bytes((0, 0, 2)), 0x10)
    for command in (cdb.read_10(BLOCKS, 1), past, struct.pack(">BxI4x", 0x2B, BLOCKS)):
        assert drive.refused(command, SECTOR) == OUT_OF_RANGE


def test_what_a_sector_has_beside_its_data_is_refused(drive: Drive) -> None:
    def read_cd(kind: int, flags: int, sub_channel: int = 0) -> bytes:
        return struct.pack(">BBI3sBBx", 0xBE, kind << 2, 0, bytes((0, 0, 1)), flags, sub_channel)

    assert drive.do(read_cd(0, 0)).good, "no data of a sector"
    assert drive.refused(read_cd(0, 0xF8), 2352) == NO_SUCH_FIELD
    assert drive.refused(read_cd(0, 0x10, 1), 2352) == NO_SUCH_FIELD
    assert drive.refused(read_cd(1, 0x10), 2352) == (5, 0x64, 0), "there is no audio"


def test_a_drive_writes_nothing(drive: Drive) -> None:
    response = drive.do(cdb.write_10(0, 1), data_out=bytes(SECTOR))
    assert response.sense_code == NO_SUCH_COMMAND
    for command in (
        cdb.write_16(0, 1),
        cdb.unmap(24),
        cdb.read_16(0, 1),
        bytes((0xA3, 12)) + bytes(10),
    ):
        assert drive.refused(command) == NO_SUCH_COMMAND


# -- the disc, as MMC tells of it


def toc(form: int, track: int = 0, *, msf: bool = False) -> bytes:
    return struct.pack(">BBBxxxBHx", 0x43, msf << 1, form, track, 255)


def test_the_table_of_contents_has_one_track(drive: Drive) -> None:
    lead_out = struct.pack(">xBBxI", 0x14, 0xAA, BLOCKS)
    first = struct.pack(">xBBxI", 0x14, 1, 0)
    assert drive.get(toc(0), 255) == bytes((0, 18, 1, 1)) + first + lead_out
    assert drive.get(toc(0, 1), 255) == bytes((0, 18, 1, 1)) + first + lead_out
    assert drive.get(toc(0, 0xAA), 255) == bytes((0, 10, 1, 1)) + lead_out
    assert drive.refused(toc(0, 2), 255) == NO_SUCH_FIELD
    # 700 sectors and two seconds: 0:11:25.
    in_minutes = drive.get(toc(0, msf=True), 255)
    assert (in_minutes[8:12], in_minutes[16:20]) == (bytes((0, 0, 2, 0)), bytes((0, 0, 11, 25)))


def test_the_sessions_and_the_full_table_are_told(drive: Drive) -> None:
    assert drive.get(toc(1), 255) == bytes((0, 10, 1, 1)) + struct.pack(">xBBxI", 0x14, 1, 0)
    # As ATAPI had it first: in the last byte.
    assert drive.get(bytes((0x43, *bytes(7), 255, 0x40)), 255) == drive.get(toc(1), 255)
    full = drive.get(toc(2), 255)
    assert full[:4] == struct.pack(">HBB", len(full) - 2, 1, 1)
    points = {full[at + 3]: full[at + 8 : at + 11] for at in range(4, len(full), 11)}
    assert points == {
        0xA0: bytes((1, 0, 0)),
        0xA1: bytes((1, 0, 0)),
        0xA2: bytes((0, 11, 25)),
        1: bytes((0, 2, 0)),
    }
    for form in (3, 4, 5, 15):
        assert drive.refused(toc(form), 255) == NO_SUCH_FIELD


def test_disc_and_track_are_told(drive: Drive) -> None:
    information = drive.get(bytes((0x51, *bytes(7), 255, 0)), 255)
    assert len(information) == 34
    assert information[:9] == bytes((0, 32, 0x0E, 1, 1, 1, 1, 0x20, 0))
    assert drive.refused(bytes((0x51, 1, *bytes(6), 255, 0)), 255) == NO_SUCH_FIELD

    def track(kind: int, address: int) -> bytes:
        return struct.pack(">BBIxHx", 0x52, kind, address, 255)

    for kind, address in ((0, 0), (0, BLOCKS - 1), (1, 1), (2, 1)):
        told = drive.get(track(kind, address), 255)
        assert told[:7] == bytes((0, 34, 1, 1, 0, 4, 1))
        assert struct.unpack_from(">I12xII", told, 8) == (0, BLOCKS, BLOCKS - 1)
    assert drive.refused(track(0, BLOCKS), 255) == OUT_OF_RANGE
    for kind, address in ((1, 2), (1, 0), (2, 2), (3, 1), (5, 1)):
        assert drive.refused(track(kind, address), 255) == NO_SUCH_FIELD


def features_of(drive: Drive, rt: int = 0, first: int = 0) -> tuple[int, dict[int, bytes]]:
    """The current profile, and by code each feature: its flags and what follows."""
    data = drive.get(struct.pack(">BBHxxxHx", 0x46, rt, first, 1024), 1024)
    length, profile = struct.unpack_from(">IxxH", data)
    assert length == len(data) - 4
    found, at = {}, 8
    while at < len(data):
        code, flags, more = struct.unpack_from(">HBB", data, at)
        assert more % 4 == 0
        found[code] = bytes((flags,)) + data[at + 4 : at + 4 + more]
        at += 4 + more
    return profile, found


def test_the_features_are_those_of_a_cd(drive: Drive) -> None:
    profile, found = features_of(drive)
    assert profile == 0x0008
    assert list(found) == [0x0000, 0x0001, 0x0002, 0x0003, 0x0010, 0x001E, 0x001F, 0x0108]
    assert found[0x0000] == bytes.fromhex("03 00100000 00080100")
    assert found[0x0003][1] == 0x39, "a tray that is loaded, ejected and locked"
    assert found[0x0010] == bytes.fromhex("01 00000800 0001 0100")
    assert (found[0x001E][0] & 1, found[0x001F][0] & 1) == (1, 0)
    assert 0x001F not in features_of(drive, rt=1)[1]
    assert list(features_of(drive, rt=2, first=0x001E)[1]) == [0x001E]
    assert features_of(drive, rt=2, first=0x0777) == (8, {})
    assert drive.refused(bytes((0x46, 3, *bytes(5), 1, 0, 0)), 256) == NO_SUCH_FIELD


def structure(form: int, layer: int = 0) -> bytes:
    return struct.pack(">BxIBBHxx", 0xAD, 0, layer, form, 4096)


def test_what_is_larger_than_a_cd_is_a_dvd(attach, folder: Path) -> None:
    with attach(f"cd:{make_dvd(folder / 'dvd.iso')}") as drive:
        profile, found = features_of(drive)
        assert profile == 0x0010
        assert (found[0x001E][0] & 1, found[0x001F][0] & 1) == (0, 1)
        physical = drive.get(structure(0), 4096)
        assert len(physical) == 4 + 2048
        assert struct.unpack_from(">BBBBIII", physical, 4) == (
            *(0x01, 0x0F, 0x01, 0x00),
            *(0x030000, 0x030000 + 1_000_000 - 1, 0),
        )
        assert drive.get(structure(1), 4096) == bytes((0, 6, *bytes(6)))
        listed = drive.get(structure(0xFF), 4096)
        assert {listed[at] for at in range(4, len(listed), 4)} == {0x00, 0x01, 0x04}
        assert drive.refused(structure(3), 4096) == NO_SUCH_FIELD
        assert drive.refused(structure(0, layer=1), 4096) == NO_SUCH_FIELD
        assert drive.refused(toc(2), 255) == NO_SUCH_FIELD
        assert drive.get(cdb.read_10(999_999, 1), SECTOR) == bytes(SECTOR)


def test_a_cd_has_no_structure_of_a_dvd(drive: Drive) -> None:
    assert drive.refused(structure(0), 4096) == (5, 0x30, 0x02)


def test_mode_pages_have_no_block_descriptor(drive: Drive) -> None:
    data = drive.get(bytes((0x5A, 0, 0x3F, 0, 0, 0, 0, 0, 255, 0)), 255)
    assert struct.unpack_from(">HBB2xH", data) == (len(data) - 2, 0, 0, 0)
    codes, at = [], 8
    while at < len(data):
        codes.append(data[at] & 0x3F)
        at += 2 + data[at + 1]
    assert codes == [0x01, 0x0A, 0x1C, 0x2A]
    capabilities = drive.get(bytes((0x1A, 0, 0x2A, 0, 255, 0)), 255)[4:]
    assert capabilities[:3] == bytes((0x2A, 30, 0x3F))
    assert capabilities[6] == 0x29
    assert drive.do(bytes((0x1E, 0, 0, 0, 1, 0))).good
    assert drive.get(bytes((0x1A, 0, 0x2A, 0, 255, 0)), 255)[4 + 6] == 0x2B, "locked"


# -- the tray


def test_an_empty_drive_says_so(empty: Drive) -> None:
    assert empty.refused(READY) == TRAY_CLOSED
    for command in (cdb.read_10(0, 1), toc(0), structure(0), bytes((0x25, *bytes(9)))):
        assert empty.refused(command, 4096) == TRAY_CLOSED
    assert features_of(empty)[0] == 0
    assert empty.event() == bytes((0, 6, 4, 0x5A, 0, 0, 0, 0))
    assert empty.get(bytes((0xBD, *bytes(8), 8, 0, 0)), 8) == bytes(8)
    assert empty.do(LOAD).good
    assert empty.refused(bytes((0x1B, 0, 0, 0, 1, 0))) == TRAY_CLOSED
    assert empty.lun()["medium"] is None


def test_a_guest_ejects_and_loads_its_disc(drive: Drive) -> None:
    assert drive.do(EJECT).good
    told = drive.told()
    assert (told["loaded"], told["by"]) == (False, "guest")
    assert drive.refused(READY) == TRAY_OPEN
    assert drive.refused(cdb.read_10(0, 1), SECTOR) == TRAY_OPEN
    assert drive.media_events() == [(REMOVED, 1)]
    assert drive.get(bytes((0xBD, *bytes(8), 8, 0, 0)), 8)[1] == 0x10
    assert drive.do(LOAD).good
    told = drive.told()
    assert (told["loaded"], told["by"]) == (True, "guest")
    assert drive.do(READY).good, "who loaded it is told nothing"
    assert drive.media_events() == [(NEW, 2)]
    assert drive.get(cdb.read_10(3, 1), SECTOR) == sector(3)


def test_stopping_a_disc_takes_nothing_away(drive: Drive) -> None:
    assert drive.do(bytes((0x1B, 0, 0, 0, 0, 0))).good
    assert drive.get(cdb.read_10(3, 1), SECTOR) == sector(3)
    assert drive.refused(bytes((0x1B, 0, 0, 0, 0x30, 0))) == NO_SUCH_FIELD


def test_a_guest_that_prevents_removal_keeps_its_disc(drive: Drive, disc: Path) -> None:
    assert drive.do(bytes((0x1E, 0, 0, 0, 1, 0))).good
    assert drive.refused(EJECT) == PREVENTED
    said = drive.verb("medium-eject", "0:0:0:0", status=1)
    assert said == (
        f"error: cd:{disc}: its guest keeps the medium in, and has been asked to eject it\n"
        "hint: wait for the event MEDIUM_CHANGED, and try again; or take it out by force\n"
    )
    # Once, however often it is asked.
    drive.not_ejected()
    assert drive.media_events() == [(EJECT_REQUEST, 2)]
    assert drive.do(bytes((0x1E, 0, 0, 0, 0, 0))).good
    assert drive.do(EJECT).good
    assert drive.verb("medium-eject", "0:0:0:0") == ""
    assert drive.refused(READY) == TRAY_OPEN


def test_the_persistent_prevention_holds_operators_off_alone(drive: Drive) -> None:
    assert drive.do(bytes((0x1E, 0, 0, 0, 3, 0))).good
    assert drive.event(OPERATIONAL)[5] == 0x80
    assert "its guest keeps the medium in" in drive.not_ejected()
    assert drive.media_events() == [(EJECT_REQUEST, 2)]
    assert drive.do(EJECT).good
    assert drive.do(LOAD).good
    assert "its guest keeps the medium in" in drive.not_ejected()
    assert drive.do(bytes((0x1E, 0, 0, 0, 2, 0))).good
    drive.eject()


def test_a_reset_ends_preventions_and_moves_nothing(drive: Drive) -> None:
    assert drive.do(bytes((0x1E, 0, 0, 0, 1, 0))).good
    assert drive.guest.tmf(LUN_RESET, 0, 0) == OK
    assert drive.refused(READY) == (6, 0x29, 0x03)
    assert drive.do(READY).good
    drive.eject()


def test_force_takes_it_from_whoever_keeps_it(drive: Drive) -> None:
    assert drive.do(bytes((0x1E, 0, 0, 0, 1, 0))).good
    drive.eject(force=True)
    assert drive.refused(READY) == TRAY_OPEN
    assert drive.media_events() == [(REMOVED, 1)]


# -- discs that come and go


def test_another_disc_is_another_disc_on_both_roads(drive: Drive, other: Path) -> None:
    drive.verb("medium-insert", "0:0:0:0", str(other))
    assert drive.told() == {
        "vdev": "0:0:0:0",
        "medium": str(other),
        "loaded": True,
        "by": "operator",
    }
    assert drive.media_events() == [(REMOVED, 2), (NEW, 2)]
    drive.hear()
    assert drive.get(bytes((0x25, *bytes(9))), 8) == struct.pack(">II", BLOCKS + 49, SECTOR)
    assert drive.get(cdb.read_10(BLOCKS + 40, 1), SECTOR) == sector(BLOCKS + 40, seed=7)
    # A rule that fits no command that is sent here: all come by the long road.
    rule = "opcode=read:lba=0-0:sense=3/11/00"
    drive.operator.execute("fault-set", vdev="0:0:0:0", rules=[rule])
    assert drive.get(cdb.read_10(BLOCKS + 40, 1), SECTOR) == sector(BLOCKS + 40, seed=7)
    assert drive.refused(cdb.read_10(0, 1), SECTOR) == (3, 0x11, 0)
    lun = drive.lun()
    assert (lun["pdev"], lun["medium"]) == (f"cd:{other}", str(other))


def test_a_disc_comes_into_an_empty_drive_and_goes(empty: Drive, disc: Path) -> None:
    empty.insert(disc)
    empty.hear()
    assert empty.media_events() == [(NEW, 2)]
    assert empty.event(OPERATIONAL)[4:] == bytes((2, 0, 0, 1)), "its features have changed"
    assert empty.event(OPERATIONAL)[4] == 0
    assert features_of(empty)[0] == 0x0008
    assert empty.get(cdb.read_10(5, 1), SECTOR) == sector(5)
    empty.eject()
    assert empty.refused(READY) == TRAY_OPEN
    assert empty.do(LOAD).good
    assert empty.refused(READY) == TRAY_CLOSED


def test_an_event_is_taken_by_who_has_room_for_it(empty: Drive, disc: Path) -> None:
    empty.insert(disc)
    assert empty.event(MEDIA, room=4) == bytes((0, 6, 4, 0x5A))
    both = empty.event(MEDIA | OPERATIONAL)
    assert both[2:5] == bytes((1, 0x5A, 2)), "the more urgent class first"
    assert empty.event(MEDIA | OPERATIONAL)[2:5] == bytes((4, 0x5A, NEW))
    assert empty.event(MEDIA | OPERATIONAL)[2:5] == bytes((1, 0x5A, 0))
    assert empty.event(0x80) == bytes((0, 2, 0x80, 0x5A)), "no such class"
    assert empty.refused(bytes((0x4A, 0, 0, 0, MEDIA, 0, 0, 0, 8, 0)), 8) == NO_SUCH_FIELD
    # It neither reports a unit attention nor clears it.
    empty.hear()


def test_what_cannot_be_put_in_changes_nothing(drive: Drive, folder: Path) -> None:
    (folder / "odd.iso").write_bytes(bytes(3000))
    (folder / "nothing.iso").write_bytes(b"")
    (folder / "raw.bin").write_bytes((b"\0" + b"\xff" * 10 + b"\0").ljust(2352, b"x"))
    for name, said in (
        ("odd.iso", "its size 3000 is not a multiple of a sector's 2048 bytes"),
        ("nothing.iso", "is empty"),
        ("raw.bin", "is an image of raw sectors, 2352 bytes each"),
        (".", "is no disc"),
    ):
        assert said in drive.not_inserted(folder / name)
    assert "No such file or directory" in drive.not_inserted(folder / "none.iso")
    assert drive.do(READY).good
    assert drive.event()[4] == NONE
    assert drive.get(cdb.read_10(3, 1), SECTOR) == sector(3)


def test_a_disc_that_somebody_writes_is_busy(
    make_daemon: MakeDaemon, drive: Drive, other: Path
) -> None:
    writer = make_daemon([f"0:0:0:0={other},block-size=2048"])
    assert "is in use by another program" in drive.not_inserted(other)
    writer.stop()
    drive.insert(other)
    again = make_daemon([f"0:0:0:0=cd:{other}", f"0:0:1:0=cd:{other}"])
    with FrontEnd(again.socket) as guest:
        for target in (0, 1):
            guest.ready(target)
            assert guest.scsi(target, 0, cdb.read_10(2, 1), data_in=SECTOR).data == sector(2, 7)


def test_what_has_been_taken_out_is_not_locked_any_more(
    make_daemon: MakeDaemon, drive: Drive, disc: Path
) -> None:
    drive.get(cdb.read_10(0, 1), SECTOR)
    drive.eject()
    make_daemon([f"0:0:0:0={disc},block-size=2048"]).stop()


def test_a_lun_that_is_no_drive_takes_no_medium(attach, disc: Path) -> None:
    with attach("ram:1M") as disk:
        assert "ram:1M has no medium that could be changed" in disk.not_inserted(disc)
        assert "has no medium that could be changed" in disk.not_ejected()


def test_reads_go_on_while_discs_are_changed(drive: Drive, disc: Path, other: Path) -> None:
    """Each sector is of one disc or the other, or refused; none is of both."""
    guest = drive.guest
    first, many = 300, 128
    discs = {
        seed: b"".join(sector(first + number, seed) for number in range(many)) for seed in (0, 7)
    }
    good = 0
    for turn in range(40):
        read = cdb.read_10(first, many)
        pending = [guest.submit(0, 0, read, data_in=many * SECTOR) for _ in range(4)]
        drive.insert((other, disc)[turn % 2])
        for one in pending:
            response = guest.wait(one)
            if response.good:
                assert response.data in discs.values()
                good += 1
            else:
                assert response.sense_code in {MAY_HAVE_CHANGED, TRAY_OPEN}
        while not drive.do(READY).good:
            pass
        assert drive.get(read, many * SECTOR) == discs[(7, 0)[turn % 2]]
    assert good


# -- across a restart


def test_the_next_daemon_has_the_disc_that_was_put_in(
    attach, disc: Path, other: Path, folder: Path
) -> None:
    state = ("--state-directory", str(folder / "state"))
    with attach(f"cd:{disc},serial=ABC", *state) as drive:
        drive.insert(other)
    with attach(f"cd:{disc},serial=ABC", *state) as drive:
        assert drive.get(cdb.read_10(5, 1), SECTOR) == sector(5, seed=7)
        assert drive.lun()["serial"] == "ABC"
        drive.eject()
    with attach(f"cd:{disc},serial=ABC", *state) as drive:
        assert drive.refused(READY) == TRAY_CLOSED
        drive.insert(other, transient=True)
    with attach(f"cd:{disc},serial=ABC", *state) as drive:
        assert drive.refused(READY) == TRAY_CLOSED, "a transient one is forgotten"
    with attach(f"cd:{disc}", *state) as drive:
        assert drive.get(cdb.read_10(5, 1), SECTOR) == sector(5), "who configured it spoke last"
