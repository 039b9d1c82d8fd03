"""The CDBs of docs/bad-input.md get what the page says, from the real daemon."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.answers import describe
from tests.harness.frontend import FrontEnd

if TYPE_CHECKING:
    from .conftest import MakeDaemon

PAGE = Path(__file__).parents[2] / "docs" / "bad-input.md"
SECTION = PAGE.read_text(encoding="utf-8").split("\n## CDBs\n")[1]
ROW = re.compile(
    r"^\| (?P<what>[^|]+) \| (?P<target>\d+):(?P<lun>\d+) \| `(?P<cdb>[0-9a-f ]+)`"
    r" \| (?P<out>\d*) ?\| (?P<room>\d*) ?\| (?P<answer>[^|]+) \|$",
    re.MULTILINE,
)
CASES = list(ROW.finditer(SECTION))
LUNS = ["0:0:0:0=ram:1M", "0:0:1:0=ram:1M,ro"]


def test_the_page_has_its_rows() -> None:
    # The head of the table and the line below it are no cases.
    assert len(CASES) == len(re.findall(r"^\|", SECTION, re.MULTILINE)) - 2
    assert len(CASES) > 20


def test_every_bad_cdb_gets_what_the_page_says(make_daemon: MakeDaemon) -> None:
    for lun in LUNS:
        assert lun in SECTION
    daemon = make_daemon(LUNS)
    with FrontEnd(daemon.socket) as guest:
        for target in (0, 1):
            guest.ready(target)
        wrong = {}
        for case in CASES:
            response = guest.scsi(
                int(case["target"]),
                int(case["lun"]),
                bytes.fromhex(case["cdb"]),
                data_out=bytes(int(case["out"] or 0)),
                data_in=int(case["room"] or 0),
            )
            if (answer := describe(response)) != case["answer"]:
                wrong[case["what"]] = answer
        assert not wrong
        guest.ready(0)
