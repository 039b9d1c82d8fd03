"""images/setup.sh and the list it reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[3]


def shell(script: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path or "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent"}
    return subprocess.run(
        ["sh", "-c", f". images/setup.sh; {script}"],
        cwd=TREE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_each_line_of_the_list_is_a_group_and_a_package() -> None:
    for line in (TREE / "images" / "packages.txt").read_text().splitlines():
        if not line.startswith("#"):
            group, package = line.split()
            assert group.removesuffix("-lint") in {"demo", "check", "rust", "rust-web"}
            assert package == package.strip()


def test_groups_are_kept_apart() -> None:
    demo = shell("listed demo").stdout.split()
    both = shell("listed demo check").stdout.split()
    assert "qemu-system-x86" in demo
    assert "strace" not in demo
    assert set(demo) < set(both)


def test_missing_names_only_what_is_missing() -> None:
    assert shell("missing dpkg no-such-package libc6").stdout.split() == ["no-such-package"]


@pytest.mark.parametrize(
    ("version", "enough"), [("1.84.1", False), ("1.85.0", True), ("1.100.0", True)]
)
def test_cargo_must_be_new_enough(tmp_path: Path, version: str, enough: bool) -> None:
    for name in ("cargo", "rustc"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {name} {version} '(abc 2025-01-01)'\n")
        program.chmod(0o755)
    done = shell("has_rust", f"{tmp_path}:/usr/bin:/bin")
    assert (done.returncode == 0) is enough
    assert done.stderr == ""


def test_without_root_it_says_what_to_run(tmp_path: Path) -> None:
    for name, text in (("id", "echo 1000"), ("sudo", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = shell("install no-such-package", f"{tmp_path}:/usr/bin:/bin")
    assert done.returncode == 1
    assert "error: root is needed for: env" in done.stderr
    assert "install no-such-package" in done.stderr
    assert "hint:" in done.stderr
