"""Sessions for both languages; `nox -l` lists them.

Each runs with the interpreter that nox itself runs with: `./check` has made an environment
that has everything, so no session downloads anything. `nox -s build` is the exception: it
installs what it built into an environment of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "rust", "unit", "integration"]
nox.options.default_venv_backend = "none"

BIN = Path(sys.executable).parent
PYTHON = ("vhost_pvscsi", "tests", "images", "docs", "noxfile.py", "qemu-device/patches.py")
#: Integration tests of how blocks move: of files by io_uring, and by threads where there is none.
BLOCKS = tuple(
    f"tests/integration/test_{what}.py"
    for what in (
        "any_cdb",
        "any_disc",
        "any_ring_layout",
        "any_task_management",
        "detach",
        "disk",
        "extended_copy",
        "growth",
        "host_storage",
        "io_errors",
        "medium",
        "pvscsi",
        "roads",
        "short_road",
        "task_management",
        "truncation",
        "vhost_user_rings",
        "write_cache",
    )
)
#: Two processors are kept busy by two tests at a time: each waits for guests and daemons. The tests
#: of a module stay together, for they share a boot; all of emulated Xen, too (harness/together.py).
PARALLEL = ("-n", "2", "--dist", "loadfile")
ENGINE = ("--manifest-path", "engine/Cargo.toml", "--workspace")
#: The front-end that puts load on daemons in tests (tests/harness/driver.py).
DRIVER = ("--manifest-path", "engine/Cargo.toml", "-p", "vhost-pvscsi-bench")
QUICK = ("--profile", "quick", "--quiet")


def tool(
    session: nox.Session, name: str, *arguments: str, env: dict[str, str] | None = None
) -> None:
    session.run(str(BIN / name), *arguments, external=True, env=env or {})


def cargo(session: nox.Session, *arguments: str) -> None:
    session.run("cargo", *arguments, external=True)


def maturin(session: nox.Session) -> None:
    """Build the engine into this environment; nothing is done where nothing has changed."""
    root = str(Path(sys.executable).parent.parent)
    tool(session, "maturin", "develop", "--release", "--quiet", env={"VIRTUAL_ENV": root})


@nox.session
def local(session: nox.Session) -> None:
    """What a developer runs: format, lint, build, unit tests."""
    tool(session, "ruff", "format", *PYTHON)
    cargo(session, "fmt", "--manifest-path", "engine/Cargo.toml", "--all")
    lint(session)
    maturin(session)
    unit(session)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, the import contract, the stub, spelling."""
    tool(session, "ruff", "check", *PYTHON)
    tool(session, "ruff", "format", "--check", *PYTHON)
    tool(session, "mypy")
    tool(session, "lint-imports")
    maturin(session)
    tool(session, "stubtest", "vhost_pvscsi._engine")
    tool(session, "codespell", "--toml", "pyproject.toml", *tracked(session))


def tracked(session: nox.Session) -> list[str]:
    listing = session.run(
        "git", "ls-files", "*.md", "*.py", "*.rs", "*.toml", silent=True, external=True
    )
    return str(listing).split()


@nox.session
def rust(session: nox.Session) -> None:
    """Format, clippy with warnings denied, tests."""
    cargo(session, "fmt", "--manifest-path", "engine/Cargo.toml", "--all", "--check")
    cargo(session, "clippy", *ENGINE, "--all-targets", "--quiet", "--", "-D", "warnings")
    # The bindings are a module of Python's, which has tests of its own for them.
    cargo(session, "test", *ENGINE, "--exclude", "vhost-pvscsi-bindings", *QUICK)


@nox.session
def unit(session: nox.Session) -> None:
    """Python's unit tests."""
    tool(session, "pytest", "-q", "tests/unit", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """The real daemon and a front-end without a guest."""
    maturin(session)
    cargo(session, "build", *DRIVER, *QUICK)
    places = ("tests/integration", "tests/bench")
    tool(session, "pytest", "-q", *PARALLEL, *places, "-m", "not long", *session.posargs)
    # Once more where the kernel gives no io_uring, as in many a container.
    denied = ("--deny-io-uring", "-m", "not long")
    tool(session, "pytest", "-q", *PARALLEL, *BLOCKS, *denied, *session.posargs)


@nox.session
def guest(session: nox.Session) -> None:
    """Guests under QEMU."""
    maturin(session)
    # What takes longest is said: all of CI shall stay under 25 minutes.
    often = ("-q", "--durations=12", *PARALLEL, "-m", "not long")
    tool(session, "pytest", *often, "tests/guest", *session.posargs)


@nox.session
def xen(session: nox.Session) -> None:
    """Of the guests those of emulated Xen only, in a guest that has KVM."""
    maturin(session)
    tool(session, "pytest", "-q", "tests/guest", "-m", "xen and not long", *session.posargs)


@nox.session
def long(session: nox.Session) -> None:
    """Full counts; takes its time. Results go to docs/results.md by hand."""
    maturin(session)
    cargo(session, "build", *DRIVER, *QUICK)
    tool(session, "pytest", "-q", "-m", "long", "tests", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Speed without a guest, beside qemu-storage-daemon; emits numbers, judges nothing."""
    maturin(session)
    cargo(session, "build", *DRIVER, "--release", "--quiet")
    session.run(sys.executable, "-m", "tests.bench.run", *session.posargs, external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the man pages and the tables of commands again from their declarations."""
    session.run(sys.executable, "-m", "docs.man", external=True)
    session.run(sys.executable, "docs/commands.py", external=True)
    session.run(sys.executable, "-m", "docs.sg3_utils", external=True)
    session.run(sys.executable, "docs/control.py", external=True)


@nox.session(venv_backend="venv")
def build(session: nox.Session) -> None:
    """Build sdist and wheel, install the wheel, run it."""
    out = Path(session.create_tmp())
    for old in out.glob("vhost_pvscsi-*"):
        old.unlink()
    tool(session, "maturin", "sdist", "--out", str(out))
    tool(session, "maturin", "build", "--release", "--out", str(out))
    session.install(*map(str, out.glob("*.whl")))
    session.run("vhost-pvscsi", "serve", "--help", silent=True)
    session.run("vhost-user-pvscsi", "--print-capabilities")
