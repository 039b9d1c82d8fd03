"""Commands tried on our disk and on another one beside it, and what each should answer.

A chapter is a TOML file: `title`, `prepare` (what the shell does first), `target` (where both
disks are, 0), and one `[[trial]]` for each command, in order, because later ones may build on
earlier ones.

| key | |
|---|---|
| `run` | the command; `{disk}` is its generic SCSI node, `{block}` its block device |
| `ours`, `scsi-hd` | the exit status on our disk (0) and on QEMU's (the same) |
| `says` | texts that ours must print, blanks counting once |
| `differs` | why the two answer differently; without it they must not |
| `alone` | true: not run on QEMU's disk, as `differs` says why |
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from .console import Result

#: Names that differ by nature, and lines that no two runs have in common.
_NAMES = (
    (re.compile(r"VIRTUAL DISK|QEMU HARDDISK"), "PRODUCT"),
    (re.compile(r"\b(VHPVSCSI|QEMU)\b"), "VENDOR"),
    (re.compile(r"\b0\.1\b|\b2\.5\+"), "REVISION "),
    (re.compile(r"(OURS|OTHER)\d{4}"), "SERIAL"),
    (re.compile(r"^(time to|Time for|Average number).*$", re.MULTILINE), ""),
    # Of a disk without an NAA identifier sg_format prints what was in its memory.
    (re.compile(r"^ *LU name:.*$", re.MULTILINE), ""),
)
#: What sg3_utils says of answers that are wrong in themselves, and of a failed transport,
#: after which some of its programs end with 0.
_COMPLAINT = re.compile(
    r"transport:|transport error|DID_|too short|truncated|\bwarning:|inconsistent|unexpected"
    r"|malformed|not big enough|should be|unable to decode|strange|garbled",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One command, and what it does on either disk."""

    run: str
    ours: int = 0
    other: int = 0
    says: tuple[str, ...] = ()
    differs: str = ""
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Chapter:
    """Trials that belong together and run in order."""

    name: str
    title: str
    prepare: str
    target: int
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Nodes:
    """How the guest calls one disk."""

    disk: str
    block: str

    def fill(self, command: str) -> str:
        """Return the command with the nodes in their places."""
        return command.replace("{disk}", self.disk).replace("{block}", self.block)

    def forget(self, output: str) -> str:
        """Return what a command printed without what differs by nature."""
        for node, word in ((self.disk, "DISK"), (self.block, "BLOCK")):
            output = re.sub(rf"{node}\b", word, output)
        for pattern, word in _NAMES:
            output = pattern.sub(word, output)
        return _squeeze(output)


def load(path: Path) -> Chapter:
    """Read a chapter.

    Raises:
        ValueError: a key is unknown.
    """
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    trials = tuple(_trial(entry) for entry in raw["trial"])
    return Chapter(path.stem, raw["title"], raw.get("prepare", ""), raw.get("target", 0), trials)


def chapters(folder: Path) -> list[Chapter]:
    """Read all chapters of a folder, by name."""
    return [load(path) for path in sorted(folder.glob("*.toml"))]


def _trial(entry: dict[str, Any]) -> Trial:
    known = {"run", "ours", "scsi-hd", "says", "differs", "alone"}
    if unknown := set(entry) - known:
        raise ValueError(f"{entry['run']!r} has {sorted(unknown)}; known: {sorted(known)}")
    ours = entry.get("ours", 0)
    return Trial(
        run=entry["run"],
        ours=ours,
        other=entry.get("scsi-hd", ours),
        says=tuple(entry.get("says", ())),
        differs=entry.get("differs", ""),
        alone=entry.get("alone", False),
    )


def judge(
    trial: Trial, ours: Result, our_nodes: Nodes, other: Result | None, other_nodes: Nodes
) -> list[str]:
    """Return what is wrong with a trial's outcome; `other` is None if it ran alone."""
    wrong = []
    if ours.status != trial.ours:
        wrong.append(f"our exit status is {ours.status}, not {trial.ours}")
    printed = _squeeze(ours.output)
    wrong += [f"ours does not say {text!r}" for text in trial.says if _squeeze(text) not in printed]
    if complaint := _COMPLAINT.search(ours.output):
        wrong.append(f"it complains of ours: {complaint[0]!r}")
    if other is None:
        return wrong
    if other.status != trial.other:
        wrong.append(f"scsi-hd's exit status is {other.status}, not {trial.other}")
    mine, its = our_nodes.forget(ours.output), other_nodes.forget(other.output)
    same = mine == its and ours.status == other.status
    if not same and not trial.differs:
        wrong.append(f"scsi-hd differs, and nothing says why: status {other.status}\n{its}")
    if same and trial.differs:
        wrong.append(f"scsi-hd does not differ, though {trial.differs!r}")
    return wrong


def _squeeze(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)
