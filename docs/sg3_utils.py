"""Writes docs/sg3_utils.md from tests/guest/sg3/: `python -m docs.sg3_utils`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness import comparison

if TYPE_CHECKING:
    from tests.harness.comparison import Chapter, Trial

PAGE = Path(__file__).with_name("sg3_utils.md")
CHAPTERS = Path(__file__).resolve().parents[1] / "tests" / "guest" / "sg3"

HEAD = """\
# sg3_utils, sdparm and ddpt on our disk, and on QEMU's

This page is written by `python -m docs.sg3_utils` from the chapters in `tests/guest/sg3/`; a test
fails where the two differ. `tests/guest/test_sg3_utils.py` runs every line in one guest that has
both disks, in this order, and looks at exit status and text: Debian 12's sg3_utils 1.46, sdparm
1.12 and ddpt 0.97, QEMU 10.

- *Ours* and *scsi-hd* are exit statuses: 0 is done, 2 not ready, 5 illegal request, 6 unit
  attention, 9 unknown operation code, 14 miscompare, 22 LBA out of range, 24 reservation conflict,
  25 condition met; others are the program's own (sg3_utils(8)). "-": not run there.
- *The two differ because*: without a reason both must print the same, names, serial numbers and
  times aside.
- `DISK` is the disk's generic SCSI node, `BLOCK` its block device.
"""


def render() -> str:
    """Make the page."""
    return HEAD + "".join(_chapter(chapter) for chapter in comparison.chapters(CHAPTERS))


def _chapter(chapter: Chapter) -> str:
    head = f"\n## {chapter.title}\n\n"
    if chapter.prepare:
        head += f"First: `{chapter.prepare}`\n\n"
    head += "| command | ours | scsi-hd | the two differ because |\n|---|---|---|---|\n"
    return head + "".join(_row(trial) for trial in chapter.trials)


def _row(trial: Trial) -> str:
    command = trial.run.replace("{disk}", "DISK").replace("{block}", "BLOCK").replace("|", "\\|")
    other = "-" if trial.alone else str(trial.other)
    return f"| `{command}` | {trial.ours} | {other} | {trial.differs} |\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
