"""Task management at any moment among any commands: every command ends once, and legally."""

from __future__ import annotations

import collections
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.harness import commands as cdb
from tests.harness import frontend as fe
from tests.harness.daemon import Daemon
from tests.harness.frontend import FIRST_REQUEST, FrontEnd, Pending
from tests.harness.generated import examples

from .conftest import DENIED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.evidence import Collector

(ABORT_TASK, ABORT_TASK_SET, CLEAR_ACA, CLEAR_TASK_SET, I_T_NEXUS_RESET, LUN_RESET) = range(6)
QUERY_TASK, QUERY_TASK_SET = 6, 7

#: Targets: held for longer than any test, held for a moment, not held; a real file.
HELD, BRIEF, RAM, FILE = range(4)
LUNS = ("null:1G,latency=3600s", "ram:1M,latency=2ms", "ram:1M")
QUEUES = 3
CHECK_CONDITION, TASK_ABORTED = 0x02, 0x40
UNIT_ATTENTION = 0x06

COMMANDS = {
    "read": (cdb.read_10(0, 8), b"", 4096),
    "write": (cdb.write_10(8, 8), bytes(4096), 0),
    "flush": (cdb.synchronize_cache_10(), b"", 0),
    "compare": (cdb.compare_and_write(16, 1), bytes(1024), 0),
    "unmap": (cdb.unmap(24), cdb.unmap_list((24, 4)), 0),
    "inquiry": (cdb.inquiry(36), b"", 36),
    "ready": (bytes(6), b"", 0),
}


@dataclass(frozen=True, slots=True)
class Submit:
    """Send a command; its tag is its place among those of the example, from 1."""

    target: int
    what: str
    queue: int


@dataclass(frozen=True, slots=True)
class Manage:
    """Send a task management function, and wait for its answer or not."""

    function: int
    target: int
    tag: int
    aimed: bool  #: at a command that has not been waited for: `tag` counts them
    wait: bool


@dataclass(frozen=True, slots=True)
class Await:
    """Wait for the end of the oldest command that is not held."""


Act = Submit | Manage | Await

SUBMITS = st.builds(
    Submit,
    st.sampled_from([HELD, BRIEF, RAM, FILE]),
    st.sampled_from(list(COMMANDS)),
    st.integers(FIRST_REQUEST, FIRST_REQUEST + QUEUES - 1),
)
MANAGES = st.builds(
    Manage,
    st.sampled_from([*[ABORT_TASK] * 4, *range(8), QUERY_TASK, 8, 99]),
    st.sampled_from([HELD, BRIEF, RAM, FILE, 9]),
    st.integers(0, 24),
    st.booleans(),
    st.sampled_from([True, True, False]),
)
ACTS = st.lists(st.one_of(SUBMITS, SUBMITS, SUBMITS, MANAGES, st.just(Await())), max_size=40)


@pytest.fixture(scope="module")
def guest(request: pytest.FixtureRequest, evidence: Collector) -> Iterator[FrontEnd]:
    """A front-end with three request queues."""
    launcher = DENIED if request.config.getoption("--deny-io-uring") else ()
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        home = Path(name)
        (home / "disk.img").write_bytes(bytes(1 << 20))
        places = [*LUNS, f"{home / 'disk.img'}"]
        luns = [f"0:0:{target}:0={place}" for target, place in enumerate(places)]
        running = Daemon(
            home, sockets=[home / "0"], luns=luns, options=["--threads", "2"], launcher=launcher
        )
        with (
            running,
            evidence.watch(running),
            FrontEnd(home / "0", request_queues=QUEUES) as front_end,
        ):
            for target in (HELD, BRIEF, RAM, FILE):
                front_end.ready(target)
            yield front_end


class Example:
    """One course of commands and functions, and what is known of each command."""

    def __init__(self, guest: FrontEnd) -> None:
        self.guest = guest
        self.commands: dict[int, tuple[Submit, Pending]] = {}  # by tag, those not waited for
        self.managing: list[tuple[Manage, Pending]] = []
        self.reset = False  # a unit attention may have been established
        self.aborting = False
        self.ends: collections.Counter[int] = collections.Counter()

    def do(self, act: Act) -> None:
        """Do one thing, and look at what has ended by it."""
        match act:
            case Submit(target, what, queue):
                tag = len(self.commands) + sum(self.ends.values()) + 1
                command, out, room = COMMANDS[what]
                pending = self.guest.submit(
                    target, 0, command, data_out=out, data_in=room, queue=queue, tag=tag
                )
                self.commands[tag] = act, pending
            case Manage():
                self._manage(act)
            case Await():
                self._await_one()

    def _manage(self, act: Manage) -> None:
        if act.aimed and self.commands:
            tag = list(self.commands)[act.tag % len(self.commands)]
            act = replace(act, tag=tag, target=self.commands[tag][0].target)
        self.reset |= act.function in (I_T_NEXUS_RESET, LUN_RESET)
        self.aborting |= act.function in (ABORT_TASK, ABORT_TASK_SET, CLEAR_TASK_SET)
        asked = self.guest.submit_tmf(act.function, act.target, 0, tag=act.tag)
        affected = [tag for tag in self.commands if self._affects(act, tag)]
        if not act.wait:
            self.managing.append((act, asked))
            return
        self._check_managed(act, self.guest.wait_tmf(asked))
        for tag in affected:
            submitted, pending = self.commands[tag]
            assert self.guest.is_done(pending), f"{act} was answered before the end of {submitted}"

    def _affects(self, act: Manage, tag: int) -> bool:
        """Whether the command must have ended when that function is answered."""
        submitted, _ = self.commands[tag]
        match act.function:
            case 0:
                return (act.target, act.tag) == (submitted.target, tag)
            case 1 | 3 | 4 | 5:
                return act.target == submitted.target
            case _:
                return False

    def _check_managed(self, act: Manage, answer: int) -> None:
        if act.function in (QUERY_TASK, QUERY_TASK_SET):
            legal = {fe.FUNCTION_COMPLETE, fe.FUNCTION_SUCCEEDED}
        elif act.function in (CLEAR_ACA, 8, 99):
            legal = {fe.FUNCTION_REJECTED}
        else:
            legal = {fe.FUNCTION_COMPLETE}
        if act.target == 9:
            legal = {fe.BAD_TARGET, fe.FUNCTION_REJECTED}
        assert answer in legal, act
        if act.function == QUERY_TASK and act.target == HELD and answer in legal:
            submitted = self.commands.get(act.tag)
            held = submitted is not None and not self.guest.is_done(submitted[1])
            if held and submitted is not None and submitted[0].target == HELD:
                assert answer == fe.FUNCTION_SUCCEEDED, act

    def _await_one(self) -> None:
        for tag, (submitted, _) in self.commands.items():
            if submitted.target != HELD:
                self._end(tag)
                return

    def _end(self, tag: int) -> None:
        submitted, pending = self.commands.pop(tag)
        self.ends[tag] += 1
        answer = self.guest.wait(pending)
        event(f"response {answer.response}, status {answer.status}")
        if answer.response == fe.ABORTED:
            assert self.aborting, submitted
        elif answer.response == fe.RESET_RESPONSE:
            assert self.reset, submitted
        else:
            assert answer.response == fe.OK, (submitted, answer)
            if answer.status == CHECK_CONDITION:
                assert self.reset, (submitted, answer)
                assert answer.sense_code[0] == UNIT_ATTENTION, (submitted, answer)
            else:
                assert answer.status == 0, (submitted, answer)
                # Nothing of the unit that holds its medium's commands can have ended by itself.
                by_itself = submitted.what in ("inquiry", "ready")
                assert submitted.target != HELD or by_itself, submitted

    def finish(self) -> None:
        """End all that is left: nothing more comes then, and every unit serves again."""
        guest = self.guest
        for target in (HELD, BRIEF, RAM, FILE):
            assert guest.tmf(LUN_RESET, target, 0) == fe.FUNCTION_COMPLETE
        self.reset = True
        for act, asked in self.managing:
            self._check_managed(act, guest.wait_tmf(asked))
        for tag, (_, pending) in list(self.commands.items()):
            assert guest.is_done(pending), tag
            self._end(tag)
        assert set(self.ends.values()) <= {1}
        for target in (HELD, BRIEF, RAM, FILE):
            guest.ready(target)
        for queue in guest.queues:
            queue.collect()
            assert not queue.done, "a command has ended twice"
            assert queue.ring.in_flight == 0


def _check(guest: FrontEnd, acts: list[Act]) -> None:
    course = Example(guest)
    try:
        for act in acts:
            course.do(act)
    finally:
        course.finish()


@given(acts=ACTS)
@examples(200)
def test_every_command_ends_once(guest: FrontEnd, acts: list[Act]) -> None:
    _check(guest, acts)


@pytest.mark.long
@given(acts=ACTS)
@examples(5_000)
def test_every_command_ends_once_5000(guest: FrontEnd, acts: list[Act]) -> None:
    _check(guest, acts)
