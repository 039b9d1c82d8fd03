"""Medium changers: what a front-end is answered, what its drives have, what outlives the daemon."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness import changer as smc
from tests.harness import tape as ssc
from tests.harness.changer import Changer, drive, make_library, portal, slot
from tests.harness.daemon import program
from tests.harness.frontend import FrontEnd
from tests.harness.pvscsi_frontend import PvscsiFrontEnd
from tests.harness.tape import Tape
from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon

    from .conftest import MakeDaemon

READY = bytes(6)
SETTINGS = """\
slots = 4
import-export = 2
drives = ["0:0:1:0", "0:0:2:0"]
"""


@pytest.fixture
def library(folder: Path) -> Path:
    return make_library(folder / "lib", "A1L8", "A2L8", "A3L8", settings=SETTINGS)


def luns(library: Path, *options: str) -> list[str]:
    # A drive before its changer, and one behind.
    pdev = ",".join((f"changer:{library}", *options))
    return ["0:0:1:0=tape:", f"0:0:0:0={pdev}", "0:0:2:0=tape:"]


class Rig:
    """A changer and its drives, at a guest."""

    def __init__(self, daemon: Daemon, guest: FrontEnd) -> None:
        self.daemon = daemon
        self.guest = guest
        guest.ready()
        self.changer = Changer(guest)
        self.drives = [Tape(guest, target=1), Tape(guest, target=2)]
        for tape in self.drives:
            # The attention of a new nexus; the drive may be empty then.
            assert tape.do(READY).sense_code == (6, 0x29, 0x01)


@pytest.fixture
def rig(make_daemon: MakeDaemon, library: Path) -> Iterator[Rig]:
    daemon = make_daemon(luns(library))
    with FrontEnd(daemon.socket) as guest:
        yield Rig(daemon, guest)


def test_a_guest_is_told_that_it_is_a_changer(rig: Rig) -> None:
    inquiry = rig.changer.check(bytes.fromhex("120000006000"), data_in=96)
    assert inquiry[:2] == bytes((0x08, 0x80))
    assert inquiry[8:32] == b"VHPVSCSIVIRTUAL CHANGER "
    pages = rig.changer.check(bytes.fromhex("1a083f00ff00"), data_in=255)
    page = pages[pages.index(b"\x1d\x12") :][:20]
    assert page.hex() == "1d12" + "00010001" + "04000004" + "00100002" + "01000002" + "0000"
    page = pages[pages.index(b"\x1f\x12") :][:20]
    assert page.hex() == "1f12" + "0e00" + "000e0e0e" + "00000000" + "000e0e0e" + "00000000"
    assert b"\x1e\x02\x00\x00" in pages


def test_cartridges_lie_in_slots_by_their_names(rig: Rig) -> None:
    assert rig.changer.lying() == {slot(1): "A1L8", slot(2): "A2L8", slot(3): "A3L8"}
    kinds = [(one.kind, one.address) for one in rig.changer.elements()]
    assert kinds == [
        (smc.PICK, 1),
        (smc.PORTAL, 16),
        (smc.PORTAL, 17),
        (smc.DRIVE, 256),
        (smc.DRIVE, 257),
        *((smc.SLOT, slot(number)) for number in (1, 2, 3, 4)),
    ]


def test_a_cartridge_is_moved_into_a_drive_and_back(rig: Rig, library: Path) -> None:
    tape = rig.drives[0]
    assert tape.do(READY).sense_code == smc.NOT_THERE
    rig.changer.move(slot(2), drive(0))
    assert rig.changer.lying() == {slot(1): "A1L8", drive(0): "A2L8", slot(3): "A3L8"}
    (found,) = [one for one in rig.changer.elements(smc.DRIVE) if one.full]
    assert found.source == slot(2)
    assert tape.do(READY).sense_code == smc.CHANGED
    tape.check(READY)
    tape.write(b"on the second tape")
    tape.mark()
    # Not unloaded by the guest: the changer does it.
    rig.changer.move(drive(0), slot(4))
    assert tape.do(READY).sense_code == smc.NOT_THERE
    assert (library / "A2L8.tap").read_bytes()[4:22] == b"on the second tape"
    rig.changer.move(slot(4), drive(1))
    assert rig.drives[1].do(READY).sense_code == smc.CHANGED
    assert rig.drives[1].rest() == [b"on the second tape", None]


def test_a_drive_is_named_as_it_names_itself(rig: Rig) -> None:
    for number, found in enumerate(rig.changer.elements(smc.DRIVE, flags=0x01)):
        page = rig.drives[number].check(bytes.fromhex("12018300ff00"), data_in=255).data
        assert found.identifier.startswith(b"VHPVSCSIVIRTUAL TAPE    ")
        assert found.identifier in page
    assert {one.identifier for one in rig.changer.elements(smc.DRIVE)} == {b""}


def test_a_loaded_cartridge_has_its_barcode_in_its_memory(rig: Rig) -> None:
    rig.changer.move(slot(1), drive(0))
    rig.drives[0].do(READY)
    read_attribute = bytes.fromhex("8c00000000000000080600000100") + bytes(2)
    data = rig.drives[0].check(read_attribute, data_in=256).data
    assert data[4:9].hex() == "0806010020"
    assert data[9 : 9 + 32] == b"A1L8".ljust(32)


def test_two_cartridges_change_places(rig: Rig) -> None:
    rig.changer.move(slot(1), drive(0))
    rig.drives[0].do(READY)
    rig.drives[0].write(b"first")
    rig.changer.check(smc.exchange(slot(2), drive(0), slot(2)))
    assert rig.changer.lying() == {slot(2): "A1L8", drive(0): "A2L8", slot(3): "A3L8"}
    assert rig.drives[0].do(READY).sense_code == smc.CHANGED
    assert rig.drives[0].rest() == []
    rig.changer.check(smc.exchange(slot(2), drive(0), slot(4)))
    assert rig.changer.lying() == {drive(0): "A1L8", slot(4): "A2L8", slot(3): "A3L8"}
    rig.drives[0].do(READY)
    assert rig.drives[0].rest() == [b"first"]


def test_a_cartridge_goes_from_drive_to_drive(rig: Rig) -> None:
    rig.changer.move(slot(1), drive(0))
    rig.drives[0].do(READY)
    rig.drives[0].write(b"carried")
    rig.changer.move(drive(0), drive(1))
    rig.drives[1].do(READY)
    assert rig.drives[1].rest() == [b"carried"]
    assert rig.drives[0].do(READY).sense_code == smc.NOT_THERE


#: What cannot be done, and why.
REFUSED = (
    (smc.move(slot(4), drive(0)), smc.EMPTY),
    (smc.move(slot(1), slot(2)), smc.FULL),
    (smc.move(slot(1), slot(1)), smc.FULL),
    (smc.move(slot(5), drive(0)), smc.NO_ELEMENT),
    (smc.move(slot(1), drive(2)), smc.NO_ELEMENT),
    (smc.move(1, drive(0)), smc.NO_ELEMENT),
    (smc.move(slot(1), 1), smc.NO_ELEMENT),
    (smc.move(slot(1), drive(0), pick=2), smc.NO_ELEMENT),
    (smc.move(slot(1), drive(0), pick=slot(1)), smc.NO_ELEMENT),
    (smc.move(slot(1), drive(0), invert=1), (5, 0x24, 0)),
    (smc.exchange(slot(1), slot(4), slot(1)), smc.EMPTY),
    (smc.exchange(slot(4), slot(1), slot(4)), smc.EMPTY),
    (smc.exchange(slot(1), slot(2), slot(3)), smc.FULL),
    (smc.exchange(slot(1), slot(1), slot(4)), smc.FULL),
    (smc.exchange(slot(1), slot(2), 0xFFFF), smc.NO_ELEMENT),
    (smc.exchange(slot(1), slot(2), slot(1), turns=2), (5, 0x24, 0)),
    (smc.position(slot(9)), smc.NO_ELEMENT),
    (smc.position(slot(1), pick=7), smc.NO_ELEMENT),
    (smc.initialize_range(0xFFFF, 0), smc.NO_ELEMENT),
    (smc.read_status(5), (5, 0x24, 0)),
    (smc.read_status(smc.DRIVE, start=slot(1)), smc.NO_ELEMENT),
    (bytes((0xB5, *bytes(11))), (5, 0x20, 0)),  # REQUEST VOLUME ELEMENT ADDRESS
    (bytes((0xB6, *bytes(11))), (5, 0x20, 0)),  # SEND VOLUME TAG
    (smc.open_close(slot(1), 0), smc.NO_ELEMENT),
    (smc.open_close(portal(3), 0), smc.NO_ELEMENT),
    (smc.open_close(portal(1), 2), (5, 0x24, 0)),
)


def test_what_cannot_be_done_is_refused_and_changes_nothing(rig: Rig) -> None:
    before = rig.changer.elements()
    for cdb, code in REFUSED:
        assert rig.changer.do(cdb, data_in=64 if cdb[0] == 0xB8 else 0).sense_code == code, (
            cdb.hex()
        )
        assert rig.changer.elements() == before


def test_commands_that_move_nothing_are_good(rig: Rig) -> None:
    for cdb in (
        smc.INITIALIZE,
        smc.initialize_range(slot(1), 2),
        smc.position(slot(4)),
        smc.position(drive(1), pick=1),
    ):
        rig.changer.check(cdb)


def test_an_open_element_is_for_hands_alone(
    make_daemon: MakeDaemon, library: Path, folder: Path
) -> None:
    pdev = f"changer:{library},share=on"
    luns = [f"0:0:0:0={pdev}", "0:0:1:0=tape:", "0:0:2:0=tape:", f"1:0:0:0={pdev}"]
    daemon = make_daemon(luns, "--control", str(folder / "control"), sockets=2)
    verbs = Verbs(folder / "control")
    one, two = (FrontEnd(socket) for socket in daemon.sockets)
    with one, two:
        two.ready()
        changer, other = Rig(daemon, one).changer, Changer(two)
        changer.move(slot(1), portal(1))

        def accessible() -> list[bool]:
            return [bool(one.flags & 0x08) for one in changer.elements(smc.PORTAL)]

        # Closed it is already.
        changer.check(smc.open_close(portal(1), 1))
        other.check(smc.PREVENT)
        assert changer.do(smc.open_close(portal(1), 0)).sense_code == smc.PREVENTED
        other.check(smc.ALLOW)
        for _ in range(2):
            changer.check(smc.open_close(portal(1), 0))
            assert accessible() == [False, True]
        for cdb in (
            smc.move(portal(1), slot(4)),
            smc.move(slot(2), portal(1)),
            smc.exchange(slot(2), portal(1), slot(2)),
        ):
            assert changer.do(cdb).sense_code == smc.NOT_ACCESSIBLE
        assert "a guest has opened it" in verbs("changer", "status", "0:0:0:0")
        assert "import-export:1 is open" in verbs(
            "changer", "move", "0:0:0:0", "import-export:1", "slot:4", status=1
        )
        changer.check(smc.open_close(portal(1), 1))
        assert accessible() == [True, True]
        changer.check(READY)
        assert other.do(READY).sense_code == smc.ACCESSED
        # Who takes a cartridge out closes the door behind it.
        changer.check(smc.open_close(portal(1), 0))
        verbs("changer", "export", "0:0:0:0", "A1L8")
        for each in (changer, other):
            assert each.do(READY).sense_code == smc.ACCESSED
        assert accessible() == [True, True]
        changer.move(slot(2), portal(1))


def test_status_is_cut_between_descriptors(rig: Rig) -> None:
    whole = rig.changer.check(smc.read_status(smc.SLOT), data_in=smc.ROOM)
    size = 12 + 36 + 4
    assert len(whole) == 8 + 8 + 4 * size
    for room, told in (
        (4, 4),
        (8, 8),
        (15, 8),
        (16, 16),
        (16 + size - 1, 16),
        (16 + size, 16 + size),
        (16 + 3 * size + 5, 16 + 3 * size),
        (len(whole), len(whole)),
    ):
        cut = rig.changer.check(smc.read_status(smc.SLOT, room=room), data_in=smc.ROOM)
        assert cut == whole[:told]
    two = rig.changer.elements(smc.SLOT, start=slot(2), count=2)
    assert [one.address for one in two] == [slot(2), slot(3)]
    assert rig.changer.elements(count=0) == []
    plain = rig.changer.check(smc.read_status(smc.SLOT, tagged=False), data_in=smc.ROOM)
    assert len(plain) == 8 + 8 + 4 * (12 + 4)


def test_a_drive_whose_removal_is_prevented_keeps_its_cartridge(rig: Rig) -> None:
    rig.changer.move(slot(1), drive(0))
    tape = rig.drives[0]
    tape.do(READY)
    tape.write(b"kept")
    tape.check(smc.PREVENT)
    assert not rig.changer.elements(smc.DRIVE)[0].flags & 0x08
    for cdb in (smc.move(drive(0), slot(1)), smc.exchange(slot(2), drive(0), slot(2))):
        assert rig.changer.do(cdb).sense_code == smc.PREVENTED
    assert tape.position() == 1, "it was rewound"
    tape.check(smc.ALLOW)
    rig.changer.move(drive(0), slot(1))


def test_an_unloaded_cartridge_is_taken_too(rig: Rig) -> None:
    rig.changer.move(slot(1), drive(0))
    rig.drives[0].do(READY)
    rig.drives[0].check(ssc.UNLOAD)
    assert rig.changer.elements(smc.DRIVE)[0].full
    rig.changer.move(drive(0), slot(1))
    assert rig.drives[0].do(ssc.LOAD).sense_code == smc.NOT_THERE


def test_what_lies_where_outlives_the_daemon(make_daemon: MakeDaemon, library: Path) -> None:
    daemon = make_daemon(luns(library))
    with FrontEnd(daemon.socket) as guest:
        rig = Rig(daemon, guest)
        rig.changer.move(slot(1), drive(0))
        rig.changer.move(slot(2), portal(2))
        rig.drives[0].do(READY)
        rig.drives[0].write(b"still here")
        rig.drives[0].mark()
        before = rig.changer.elements()
        daemon.kill()
    daemon = make_daemon(luns(library))
    with FrontEnd(daemon.socket) as guest:
        rig = Rig(daemon, guest)
        assert rig.changer.elements() == before
        assert rig.drives[0].rest() == [b"still here", None]
        rig.changer.move(drive(0), slot(1))


def test_an_image_that_has_gone_lies_nowhere(rig: Rig, library: Path) -> None:
    (library / "A1L8.tap").unlink()
    (library / "A3L8.tap").unlink()
    assert rig.changer.do(smc.move(slot(1), drive(0))).sense_code == smc.EMPTY
    assert rig.changer.lying() == {slot(2): "A2L8", slot(3): "A3L8"}
    rig.changer.check(smc.initialize_range(slot(1), 2))
    assert slot(3) in rig.changer.lying()
    rig.changer.check(smc.INITIALIZE)
    assert rig.changer.lying() == {slot(2): "A2L8"}
    assert "A1L8.tap, that lay in slot:1, is not there any more" in rig.daemon.log()


def test_an_image_that_cannot_be_loaded_stays_in_its_slot(rig: Rig, library: Path) -> None:
    (library / "A1L8.tap").write_bytes(b"no tape image looks like this")
    rig.changer.move(slot(2), drive(0))
    rig.drives[0].do(READY)
    for cdb in (smc.move(slot(1), drive(1)), smc.exchange(slot(1), drive(0), slot(4))):
        before = rig.changer.elements()
        assert rig.changer.do(cdb).sense_code == smc.LOAD_FAILED
        assert rig.changer.elements() == before
    rig.drives[0].check(READY)
    assert "is no tape image" in rig.daemon.log()


def test_a_drive_that_is_not_there_is_told(make_daemon: MakeDaemon, library: Path) -> None:
    daemon = make_daemon([f"0:0:0:0=changer:{library}"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        changer = Changer(guest)
        for found in changer.elements(smc.DRIVE):
            assert (found.flags, found.code) == (0x04, (0x3B, 0x1A))
        assert changer.do(smc.move(slot(1), drive(0))).sense_code == smc.NO_DRIVE


def test_reservations_keep_the_cartridges_where_they_are(
    make_daemon: MakeDaemon, library: Path
) -> None:
    pdev = f"changer:{library},share"
    daemon = make_daemon([f"0:0:0:0={pdev}", f"1:0:0:0={pdev}"], sockets=2)
    with FrontEnd(daemon.sockets[0]) as one, FrontEnd(daemon.sockets[1]) as other:
        one.ready()
        other.ready()
        changer, locked_out = Changer(one), Changer(other)
        changer.check(bytes((0x16, *bytes(5))))
        for cdb in (smc.move(slot(1), slot(4)), smc.INITIALIZE, smc.read_status()):
            assert locked_out.do(cdb, data_in=64 if cdb[0] == 0xB8 else 0).status == 0x18
        locked_out.check(smc.read_status(flags=0x02), data_in=smc.ROOM)
        changer.move(slot(1), slot(4))
        changer.check(bytes((0x17, *bytes(5))))
        assert locked_out.lying() == changer.lying()


def test_commands_that_are_sent_together_are_done_one_after_the_other(rig: Rig) -> None:
    places = [slot(4), drive(0), portal(1), drive(1), slot(4)]
    cdbs = [smc.move(a, b) for a, b in zip([slot(1), *places], places, strict=False)]
    pending = [rig.guest.submit(0, 0, cdb) for cdb in cdbs]
    for one in pending:
        assert rig.guest.wait(one).good
    assert rig.changer.lying() == {slot(4): "A1L8", slot(2): "A2L8", slot(3): "A3L8"}


@pytest.fixture
def by_hand(make_daemon: MakeDaemon, library: Path, folder: Path) -> Iterator[tuple[Rig, Verbs]]:
    control = folder / "control"
    daemon = make_daemon(luns(library), "--control", str(control))
    with FrontEnd(daemon.socket) as guest:
        yield Rig(daemon, guest), Verbs(control)


def test_people_move_import_and_export(by_hand: tuple[Rig, Verbs], library: Path) -> None:
    rig, verb = by_hand
    with verb.client() as events:
        verb("changer", "move", "0:0:0:0", "A1L8", "drive:1")
        moved = events.wait_event("CARTRIDGE_MOVED", timeout=20)["data"]
        assert moved == {
            "vdev": "0:0:0:0",
            "cartridge": "A1L8.tap",
            "barcode": "A1L8",
            "source": "slot:1",
            "destination": "drive:1",
            "by": "operator",
        }
        rig.changer.move(slot(2), slot(4))
        assert events.wait_event("CARTRIDGE_MOVED", timeout=20)["data"]["by"] == "guest"
    assert rig.drives[1].do(READY).sense_code == smc.CHANGED
    (library / "NEW.tap").touch()
    told = json.loads(verb("changer", "status", "0:0:0:0", "--json"))
    assert told["shelf"] == ["NEW.tap"]
    lying = {one["element"]: one["barcode"] for one in told["elements"] if one["barcode"]}
    assert lying == {"drive:1": "A1L8", "slot:4": "A2L8", "slot:3": "A3L8"}
    assert verb("changer", "import", "0:0:0:0", "NEW") == "it lies in import-export:1\n"
    assert rig.changer.do(READY).sense_code == smc.ACCESSED
    (found,) = [one for one in rig.changer.elements(smc.PORTAL) if one.full]
    assert (found.tag, found.flags) == ("NEW", 0x3B)
    rig.changer.move(portal(1), portal(2))
    (found,) = [one for one in rig.changer.elements(smc.PORTAL) if one.full]
    assert found.flags == 0x39, "a guest's move is none by hand"
    said = verb("changer", "export", "0:0:0:0", "import-export:2")
    assert said == "NEW.tap lies on the shelf\n"
    assert rig.changer.do(READY).sense_code == smc.ACCESSED
    assert (library / "NEW.tap").exists()
    verb("changer", "import", "0:0:0:0", "NEW.tap", "--element", "slot:1")
    assert rig.changer.do(READY).sense_code == smc.CHANGED
    assert "slot:1" in verb("changer", "status", "0:0:0:0")


def test_what_people_cannot_do_is_said(by_hand: tuple[Rig, Verbs], library: Path) -> None:
    rig, verb = by_hand
    (library / "NEW.tap").touch()
    rig.changer.move(slot(1), drive(0))
    rig.changer.check(smc.PREVENT)
    rig.drives[0].do(READY)
    rig.drives[0].check(smc.PREVENT)
    for words, said in (
        ("status 0:0:1:0", "0:0:1:0: tape: is no changer"),
        ("status 0:0:9:0", "has nothing at 0:0:9:0"),
        ("move 0:0:0:0 slot:1 slot:2", "slot:1 is empty"),
        ("move 0:0:0:0 slot:2 slot:3", "slot:3 is full: A3L8.tap lies there"),
        ("move 0:0:0:0 slot:2 slot:5", "the changer has no slot:5"),
        ("move 0:0:0:0 slot:2 pick:1", "pick:1: no cartridge can lie there"),
        ("move 0:0:0:0 slot:2 shelf", "'shelf' is no element"),
        ("move 0:0:0:0 NEW slot:1", "'NEW' is neither an element nor a cartridge in one"),
        ("move 0:0:0:0 drive:0 slot:1", "drive:0: a guest prevents the removal of the medium"),
        ("import 0:0:0:0 A2L8", "A2L8 lies in slot:2"),
        ("import 0:0:0:0 ../x.tap", "'../x.tap' is no cartridge of changer:"),
        ("import 0:0:0:0 NEW --element slot:2 --force", "slot:2 is full"),
        ("import 0:0:0:0 NEW", "a guest prevents the removal of media"),
        ("export 0:0:0:0 drive:0", "drive:0 cannot be reached by hand"),
        ("export 0:0:0:0 slot:4 --force", "slot:4 is empty"),
    ):
        assert said in verb("changer", *words.split(), status=1), words
    said = verb("medium-eject", "0:0:1:0", "--force", status=1)
    assert f"changer:{library} puts its cartridges in and takes them out" in said
    assert rig.changer.lying() == {drive(0): "A1L8", slot(2): "A2L8", slot(3): "A3L8"}
    verb("changer", "import", "0:0:0:0", "NEW", "--force")


def test_a_drive_that_comes_later_is_loaded(
    make_daemon: MakeDaemon, library: Path, folder: Path
) -> None:
    control = folder / "control"
    verb = Verbs(control)
    daemon = make_daemon(luns(library), "--control", str(control))
    with FrontEnd(daemon.socket) as guest:
        rig = Rig(daemon, guest)
        rig.changer.move(slot(1), drive(0))
        rig.drives[0].do(READY)
        rig.drives[0].write(b"x")
        verb("scsi-detach", "0:0:1:0")
        (found,) = [one for one in rig.changer.elements(smc.DRIVE) if one.full]
        assert (found.flags & 0x0C, found.code) == (0x04, (0x3B, 0x1A))
        assert rig.changer.do(smc.move(drive(0), slot(1))).sense_code == smc.NO_DRIVE
        verb("scsi-attach", "tape:", "0:0:1:0")
        guest.ready(target=1)
        assert rig.drives[0].rest() == [b"x"]
        # The changer goes: what is in its drive stays there, and is known when it comes back.
        verb("scsi-detach", "0:0:0:0")
        rig.drives[0].write(b"y")
        verb("scsi-attach", f"changer:{library}", "0:0:0:0")
        guest.ready()
        rig.changer.move(drive(0), slot(1))


def test_a_library_with_a_mistake_is_not_attached(library: Path, folder: Path) -> None:
    (library / "changer.toml").write_text("slot = 4")
    words = [str(program()), "serve", "--socket-path", str(folder / "s")]
    words += ["--lun", f"0:0:0:0=changer:{library}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: {library}/changer.toml: 'slot' is not known",
        "hint: there is slots, import-export, picks, drives, capacity, write-protected, barcodes",
    ]


def test_a_library_is_one_daemons(make_daemon: MakeDaemon, library: Path, folder: Path) -> None:
    make_daemon(luns(library))
    words = [str(program()), "serve", "--socket-path", str(folder / "s")]
    words += ["--lun", f"0:0:0:0=changer:{library}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"changer:{library}: another daemon or another LUN has it" in done.stderr


def test_a_protected_cartridge_is_not_written(make_daemon: MakeDaemon, folder: Path) -> None:
    settings = 'drives = ["0:0:1:0"]\nwrite-protected = ["A.tap"]\ncapacity = "1M"\n'
    library = make_library(folder / "lib", "A", "B", settings=settings)
    daemon = make_daemon([f"0:0:0:0=changer:{library}", "0:0:1:0=tape:"])
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        changer, tape = Changer(guest), Tape(guest, target=1)
        tape.do(READY)
        changer.move(slot(1), drive(0))
        tape.do(READY)
        assert tape.do(ssc.write_6(3), data_out=b"abc").sense_code == (7, 0x27, 0)
        changer.check(smc.exchange(slot(2), drive(0), slot(1)))
        tape.do(READY)
        tape.write(b"abc")
        full = [tape.do(ssc.write_6(60_000), data_out=bytes(60_000)) for _ in range(20)]
        assert full[-1].sense_code == ssc.OVERFLOW


def test_a_move_that_cannot_be_kept_is_undone(rig: Rig, library: Path) -> None:
    rig.changer.move(slot(1), drive(0))
    rig.drives[0].do(READY)
    rig.drives[0].write(b"stays")
    before = rig.changer.elements()
    # In the way of what the daemon writes there.
    (library / "elements.new").mkdir()
    for cdb in (
        smc.move(slot(2), slot(4)),
        smc.move(slot(2), drive(1)),
        smc.move(drive(0), slot(1)),
        smc.move(drive(0), drive(1)),
        smc.exchange(slot(2), drive(0), slot(2)),
    ):
        assert rig.changer.do(cdb).sense_code == (4, 0x44, 0x00)
        assert rig.changer.elements() == before
        rig.drives[0].check(READY)
        assert rig.drives[0].everything() == [b"stays"]
        assert rig.drives[1].do(READY).sense_code == smc.NOT_THERE
    (library / "elements.new").rmdir()
    rig.changer.move(drive(0), slot(1))


def test_a_guest_of_xen_has_the_same_library(make_daemon: MakeDaemon, library: Path) -> None:
    daemon = make_daemon(luns(library))
    with PvscsiFrontEnd(daemon.socket) as guest:
        guest.ready()
        changer, tape = Changer(guest), Tape(guest, target=1)
        changer.move(slot(1), drive(0))
        assert changer.lying() == {drive(0): "A1L8", slot(2): "A2L8", slot(3): "A3L8"}
        for _ in range(3):
            ready = tape.do(READY)
        assert ready.good, "a new nexus, a changed medium, and no more"
        tape.write(b"from a guest of Xen")
        assert tape.everything() == [b"from a guest of Xen"]


def test_a_changer_fails_on_demand(make_daemon: MakeDaemon, library: Path) -> None:
    daemon = make_daemon(luns(library, "fault=opcode=move-medium:nth=2:sense=4/15/01"))
    with FrontEnd(daemon.socket) as guest:
        guest.ready()
        changer = Changer(guest)
        changer.move(slot(1), slot(4))
        assert changer.do(smc.move(slot(4), slot(1))).sense_code == (4, 0x15, 0x01)
        assert slot(4) in changer.lying()
        changer.move(slot(4), slot(1))
