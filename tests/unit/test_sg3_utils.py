"""The written-down outcomes of sg3_utils: the page is theirs, and each difference has a reason."""

from __future__ import annotations

import pytest

from docs import sg3_utils
from tests.harness import comparison
from tests.harness.comparison import Nodes, Trial
from tests.harness.console import Result

TRIALS = [trial for chapter in comparison.chapters(sg3_utils.CHAPTERS) for trial in chapter.trials]
OURS, OTHER = Nodes("/dev/sg0", "/dev/sda"), Nodes("/dev/sg1", "/dev/sdb")


def test_the_page_is_up_to_date():
    assert sg3_utils.PAGE.read_text(encoding="utf-8") == sg3_utils.render(), (
        "run: python -m docs.sg3_utils"
    )


def test_what_differs_says_why():
    unexplained = [
        trial.run
        for trial in TRIALS
        if (trial.ours != trial.other or trial.alone) and not trial.differs
    ]
    assert TRIALS
    assert not unexplained


def judge(trial: Trial, ours: Result, other: Result | None) -> list[str]:
    return comparison.judge(trial, ours, OURS, other, OTHER)


def test_names_serials_and_times_are_no_difference():
    ours = "/dev/sg0: VHPVSCSI VIRTUAL DISK 0.1\n  OURS0001\ntime to read: 1\n"
    other = "/dev/sg1: QEMU   QEMU HARDDISK 2.5+\n OTHER0001\ntime to read: 2\n"
    assert judge(Trial("x"), Result(0, ours), Result(0, other)) == []


@pytest.mark.parametrize(
    ("trial", "ours", "other", "fault"),
    [
        (Trial("x"), Result(5, ""), Result(0, ""), "our exit status is 5, not 0"),
        (Trial("x"), Result(0, ""), Result(5, ""), "scsi-hd's exit status is 5, not 0"),
        (Trial("x"), Result(0, "a"), Result(0, "b"), "nothing says why"),
        (Trial("x", differs="old"), Result(0, "a"), Result(0, "a"), "does not differ"),
        (Trial("x", says=("WCE 1",)), Result(0, "WCE 0"), Result(0, "WCE 0"), "does not say"),
        (Trial("x", alone=True), Result(0, "DID_ERROR"), None, "complains"),
    ],
)
def test_a_wrong_outcome_is_told(trial: Trial, ours: Result, other: Result | None, fault: str):
    assert any(fault in text for text in judge(trial, ours, other))


def test_an_unknown_key_is_refused(tmp_path):
    chapter = tmp_path / "x.toml"
    chapter.write_text('title = "x"\n[[trial]]\nrun = "x"\nour = 5\n')
    with pytest.raises(ValueError, match="'our'"):
        comparison.load(chapter)
