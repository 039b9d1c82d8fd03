"""Any commands for a changer: it does what a mapping of elements to cartridges would do.

With a restart of the daemon in between, or one that is killed; and killed while a cartridge is
moved, which leaves it where it was or where it was to be.
"""

from __future__ import annotations

import random
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.harness import changer as smc
from tests.harness import tape as ssc
from tests.harness.changer import Changer, Model, drive, make_library, portal, slot
from tests.harness.daemon import Daemon
from tests.harness.frontend import OK, OVERRUN, FrontEnd
from tests.harness.generated import examples, some_cdb
from tests.harness.tape import Tape
from vhost_pvscsi.scsi.opcodes import CHANGER

if TYPE_CHECKING:
    from collections.abc import Iterator


#: What is done, and with which elements.
Step: TypeAlias = tuple[str, int, int, int]

SETTINGS = 'slots = 4\nimport-export = 1\ndrives = ["0:0:1:0", "0:0:2:0"]\n'
HOMES = {"A": slot(1), "B": slot(2), "C": slot(3)}
STORING = (slot(1), slot(2), slot(3), slot(4), portal(1), drive(0), drive(1))
NONE = (1, slot(5), 0xFFFF)
#: Elements, mostly those that store.
ELEMENT = st.sampled_from((*STORING, *STORING, *STORING, *NONE))
NUMBER = st.integers(0, 1)
STEPS = st.one_of(
    st.tuples(st.just("move"), ELEMENT, ELEMENT, st.just(0)),
    st.tuples(st.just("move"), ELEMENT, ELEMENT, st.just(0)),
    st.tuples(st.just("exchange"), ELEMENT, ELEMENT, ELEMENT),
    st.tuples(
        st.sampled_from(["write", "prevent", "allow", "unload"]), NUMBER, st.just(0), st.just(0)
    ),
    st.tuples(st.sampled_from(["restart", "kill"]), st.just(0), st.just(0), st.just(0)),
)


class Library:
    """A daemon with a changer and its drives, and its guest; both may go and come."""

    def __init__(self, folder: Path) -> None:
        library = make_library(folder / "lib", *HOMES, settings=SETTINGS)
        luns = [f"0:0:0:0=changer:{library}", "0:0:1:0=tape:", "0:0:2:0=tape:"]
        self.daemon = Daemon(folder, sockets=[folder / "s"], luns=luns, options=["--threads", "1"])
        #: What was last written to each cartridge.
        self.written: dict[str, list[ssc.Object]] = {tag: [] for tag in HOMES}
        self.start()

    def start(self) -> None:
        self.daemon.start()
        self.guest = FrontEnd(self.daemon.socket).start()
        self.guest.ready()
        self.changer = Changer(self.guest)
        self.drives = [Tape(self.guest, target=1), Tape(self.guest, target=2)]
        self.hear()

    def hear(self) -> None:
        """Have the drives tell what they have to."""
        for tape in self.drives:
            while (told := tape.do(smc.TEST_UNIT_READY)).sense and told.sense_code[0] == 6:
                pass

    def end(self, *, kill: bool = False) -> None:
        if kill:
            self.daemon.kill()
        self.guest.close()
        if not kill:
            self.daemon.stop()

    def model(self) -> Model:
        """Put all cartridges where they belong; what the library should do from there on."""
        for tape in self.drives:
            tape.check(smc.ALLOW)
        for tag, home in HOMES.items():
            lying = self.changer.lying()
            now = next(at for at, known in lying.items() if known == tag)
            if now != home:
                full = home in lying
                self.changer.check(smc.exchange(now, home, now) if full else smc.move(now, home))
        self.hear()
        found = self.changer.elements()
        return Model(
            {one.address: one.tag for one in found if one.tag},
            {one.tag: one.source for one in found if one.tag},
            set(),
            frozenset(STORING),
        )


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        made = Library(Path(name))
        yield made
        made.end()


def step(library: Library, model: Model, what: str, *those: int) -> None:
    """Do one thing to both."""
    number = those[0]
    match what:
        case "move":
            response = library.changer.do(smc.move(*those[:2]))
            wanted = model.move(*those[:2])
            assert (response.sense_code if response.sense else None) == wanted
        case "exchange":
            response = library.changer.do(smc.exchange(*those))
            wanted = model.exchange(*those)
            assert (response.sense_code if response.sense else None) == wanted
        case "restart" | "kill":
            library.end(kill=what == "kill")
            library.start()
            model.kept.clear()
        case "prevent" | "allow":
            library.drives[number].check(smc.PREVENT if what == "prevent" else smc.ALLOW)
            (model.kept.add if what == "prevent" else model.kept.discard)(drive(number))
        case "unload":
            response = library.drives[number].do(ssc.UNLOAD)
            loaded = drive(number) in model.lying
            assert response.good or (loaded and response.sense_code == smc.PREVENTED)
            library.drives[number].do(ssc.LOAD)
        case "write":
            tag = model.lying.get(drive(number))
            library.hear()
            block = random.Random(repr(those)).randbytes(2000)
            response = library.drives[number].do(ssc.write_6(len(block)), data_out=block)
            if tag is None:
                assert response.sense_code == smc.NOT_THERE
            else:
                assert response.good
                library.drives[number].mark()
                now = library.drives[number].everything()
                assert now[-2:] == [block, None]
                library.drives[number].rewind()
                library.written[tag] = now


def check(library: Library, model: Model) -> None:
    found = library.changer.elements()
    assert {one.address: one.tag for one in found if one.tag} == model.lying
    assert {one.tag: one.source for one in found if one.tag} == model.sources
    library.hear()
    for number, tape in enumerate(library.drives):
        tag = model.lying.get(drive(number))
        ready = tape.do(smc.TEST_UNIT_READY)
        assert ready.good == (tag is not None), ready
        if tag is not None:
            assert tape.everything() == library.written[tag]
            tape.rewind()


@examples(30)
@given(steps=st.lists(STEPS, max_size=12))
def test_any_moves_do_what_a_mapping_would(library: Library, steps: list[Step]) -> None:
    model = library.model()
    for one in steps:
        step(library, model, *one)
        event(one[0])
        check(library, model)


ROUNDS = [pytest.param(6), pytest.param(50, marks=pytest.mark.long)]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_daemon_killed_while_it_moves_leaves_each_cartridge_in_one_place(rounds: int) -> None:
    chosen = random.Random(rounds)
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        library = Library(Path(name))
        before = library.changer.lying()
        for number in range(rounds):
            states, pending = [before], []
            now = dict(before)
            for _ in range(8):
                source = chosen.choice(sorted(now))
                destination = chosen.choice([at for at in STORING if at not in now])
                pending.append(library.guest.submit(0, 0, smc.move(source, destination)))
                now[destination] = now.pop(source)
                states.append(dict(now))
            # Of some the end is heard; the others are under way.
            heard = chosen.randrange(len(pending))
            for one in pending[:heard]:
                assert library.guest.wait(one).good
            library.end(kill=True)
            library.start()
            before = library.changer.lying()
            assert before in states[heard:], f"round {number}: {heard} were answered"
            for index, tape in enumerate(library.drives):
                assert tape.do(smc.TEST_UNIT_READY).good == (drive(index) in before)
        library.end()


CDBS = st.builds(
    some_cdb,
    st.sampled_from(CHANGER),
    # Two bytes each, so that many of them are addresses of elements.
    st.lists(st.sampled_from([0, 0, 1, 2, 16, 256, 257, slot(1), slot(2), 0xFFFF]), max_size=8).map(
        lambda words: struct.pack(">xxxxxxxx8H", *[*words, *[0] * 8][:8])[7:][:15]
    ),
    st.sampled_from([True, True, True, False]),
)
CALLS = st.lists(
    st.tuples(CDBS, st.booleans(), st.sampled_from([0, 1, 20, 512, 70_000])), max_size=15
)


@examples(100)
@given(calls=CALLS)
def test_any_cdb_gets_an_answer_and_leaves_all_cartridges(
    library: Library, calls: list[tuple[bytes, bool, int]]
) -> None:
    for cdb, outgoing, size in calls:
        out, into = (bytes(size), 0) if outgoing else (b"", size)
        response = library.changer.do(cdb, data_out=out, data_in=into)
        event(f"response {response.response}, status {response.status}")
        assert response.response in {OK, OVERRUN}, (cdb.hex(), response)
        assert response.status in {0x00, 0x02, 0x18}
        assert response.status != 0x02 or response.sense_code[0] != 4, cdb.hex()
        assert 0 <= response.resid <= size
    # What a guest may have set up, reservations among it, is its own: it can undo it.
    library.changer.do(bytes((0x5F, 0x06, *bytes(6), 24, 0)), data_out=bytes(24))
    library.changer.check(smc.ALLOW)
    library.guest.ready()
    assert sorted(library.changer.lying().values()) == sorted(HOMES)
