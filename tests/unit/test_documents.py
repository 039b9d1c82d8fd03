"""What the documents say of the tree is so."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

import vhost_pvscsi.session
import vhost_pvscsi.sg

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("qemu-configs/*.md")])
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def rows(text: str) -> list[list[str]]:
    """Cells of a table, but for its head."""
    lines = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    return [re.split(r" (?<!\\)\| ", line) for line in lines[1:]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def tree() -> list[Path]:
    """The paths that the drawing of the house names; a file below a folder stands indented."""
    found, folders = [], [(-1, Path())]
    for line in re.findall(r"```text\n(.*?)```", ARCHITECTURE, re.DOTALL)[0].splitlines():
        name, indent = line.split()[0], len(line) - len(line.lstrip())
        while indent <= folders[-1][0]:
            folders.pop()
        found.append(folders[-1][1] / name)
        if name.endswith("/"):
            folders.append((indent, found[-1]))
    return found


def test_the_house_as_drawn_is_there() -> None:
    assert [str(path) for path in tree() if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("folder", "pattern"), [("vhost_pvscsi", "*.py"), ("engine/core/src", "*.rs")]
)
def test_every_file_of_the_house_is_drawn(folder: str, pattern: str) -> None:
    drawn = {str(path) for path in tree()}
    files = [
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob(pattern)
        if path.name != "__init__.py"
    ]
    assert [path for path in files if path not in drawn] == []


def test_the_floors_are_the_contract() -> None:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    [contract] = [one for one in contracts if one["type"] == "layers"]
    told = [
        cells[0].strip("`").replace("\\|", "|") for cells in rows(section(ARCHITECTURE, "Floors"))
    ]
    assert told == contract["layers"]
    assert contract["exhaustive"]


WALK = [cells[1:3] for cells in rows(section(ARCHITECTURE, "The walk of a request"))]


def test_the_walk_has_its_steps() -> None:
    assert len(WALK) == 15


@pytest.mark.parametrize(("file", "function"), WALK, ids=[" ".join(step) for step in WALK])
def test_a_step_of_the_walk_is_there(file: str, function: str) -> None:
    source = (ROOT / file.strip("`")).read_text(encoding="utf-8")
    assert re.search(rf"\b(def|fn) {function.strip('`')}\(", source)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module or ''}.{alias.name}" for alias in node.names}
    return {part for name in names for part in name.split(".")}


def test_the_compiled_module_has_two_importers_and_two_that_know_its_types() -> None:
    importers = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "vhost_pvscsi").rglob("*.py")
        if "_engine" in imported(path)
    ]
    names = ("engine", "medium", "session", "sg")
    assert sorted(importers) == [f"vhost_pvscsi/{name}.py" for name in names]
    for module in (vhost_pvscsi.session, vhost_pvscsi.sg):
        assert not hasattr(module, "_engine")


def test_every_fault_of_a_ring_is_on_the_page() -> None:
    source = (ROOT / "engine/core/src/error.rs").read_text(encoding="utf-8")
    faults = source.split("pub enum RingFault")[1].split("\n}\n")[0]
    known = re.findall(r'#\[error\("([^"]+)"\)\]\s+(\w+)', faults)
    page = (ROOT / "docs/bad-input.md").read_text(encoding="utf-8")
    told = [(text, name) for name, text, _ in rows(section(page, "Rings"))]
    assert told == known


def test_qemu_can_find_the_program() -> None:
    """vhost-user.rst, "Backend program conventions"; vhost-user.json, VhostUserBackend."""
    [path] = (ROOT / "docs/qemu").iterdir()
    assert re.fullmatch(r"\d\d-[a-z-]+\.json", path.name)
    described = json.loads(path.read_text(encoding="utf-8"))
    assert set(described) == {"description", "type", "binary"}
    assert described["type"] == "scsi"
    binary = Path(described["binary"])
    assert binary.is_absolute()
    assert PROJECT["project"]["scripts"][binary.name] == "vhost_pvscsi.daemon.command:serve"


DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))


def test_decisions_are_numbered_and_listed() -> None:
    numbers = [path.name[:4] for path in DECISIONS]
    assert numbers == [f"{number:04}" for number in range(1, len(DECISIONS) + 1)]
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(\d{4})\]\(([^)]+)\)", index, re.MULTILINE) == [
        (path.name[:4], path.name) for path in DECISIONS
    ]


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name)
def test_a_decision_says_what_was_decided_and_what_follows(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.name[:4]}: ")
    assert "**Decision.**" in text
    assert "**What follows.**" in text


def test_fragments_of_the_changelog_are_of_a_known_kind() -> None:
    kinds = {kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"]}
    for path in (ROOT / "changes").glob("[!.]*"):
        name = re.fullmatch(r"(\+[a-z-]+|\d+)\.([a-z]+)\.md", path.name)
        assert name, f"{path.name} is not NAME.KIND.md"
        assert name[2] in kinds
        assert path.read_text(encoding="utf-8").strip()
    start = "<!-- towncrier release notes start -->"
    assert start in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
