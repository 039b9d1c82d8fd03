"""Measure our daemon beside qemu-storage-daemon: `python -m tests.bench.run`.

Emits; judges nothing. docs/benchmarks.md says how to read what it prints.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backend import BackEnd, BenchError, Cores, Timing, drive, serving
from .report import Results, Row, render
from .series import LOADS, MIB, Contender, Load, Medium, Store, contenders

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
IDLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Bench:
    """All that the measurements of one run share."""

    front_end: Path
    contenders: list[Contender]
    media: list[Medium]
    loads: list[Load]
    store: Store
    cores: Cores
    timing: Timing
    rounds: int

    def rows(self) -> Iterator[Row]:
        """Measure everything: round by round, and in a round the contenders in turn."""
        total = self.rounds * len(self.media) * len(self.loads) * len(self.contenders)
        done = 0
        for turn in range(self.rounds):
            for medium in self.media:
                for load in self.loads:
                    # Neighbours in time are what is compared; nobody is always the first.
                    shift = turn % len(self.contenders)
                    for one in self.contenders[shift:] + self.contenders[:shift]:
                        done += 1
                        progress(f"[{done}/{total}] {medium}: {load.name}: {one.name}")
                        yield self.sample(one, medium, load, turn)
        for medium in self.media:
            for one in self.contenders:
                progress(f"footprint: {medium}: {one.name}")
                yield self.footprint(one, medium)

    def sample(self, contender: Contender, medium: Medium, load: Load, turn: int) -> Row:
        """One measurement, with a fresh back-end."""
        self.settle()
        with serving(contender, medium, self.store, self.cores) as back_end:
            if medium is Medium.RAM:
                self.fill(contender, back_end)
            found = drive(self.front_end, back_end, contender, load, self.timing, self.cores)
        return label("sample", contender, medium) | {"load": load.name, "round": turn} | found

    def fill(self, contender: Contender, back_end: BackEnd) -> None:
        """Touch all of a RAM disk, which is new, as the files were when they were made.

        What is measured is the back-end, not how soon the host finds memory for it.
        """
        load = Load("write", 128 << 10, 8)
        requests = self.store.size // load.block
        drive(self.front_end, back_end, contender, load, self.timing, self.cores, requests=requests)

    def footprint(self, contender: Contender, medium: Medium) -> Row:
        """Memory under load at the most, and CPU time while a connected front-end is idle."""
        load = Load("randread", 4096, 32)
        weights = [0]
        timing = Timing(1.0, 0.0, IDLE_SECONDS)
        with serving(contender, medium, self.store, self.cores) as back_end:

            def weigh() -> None:
                weights.append(back_end.resident_kib())

            found = drive(
                self.front_end, back_end, contender, load, timing, self.cores, watch=weigh
            )
        return label("footprint", contender, medium) | {
            "resident_kib": max(weights),
            "idle_cpu_us": found["idle_cpu_us"],
            "idle_seconds": IDLE_SECONDS,
        }

    def settle(self) -> None:
        """Leave no writes of the one before to the one behind."""
        with self.store.file.open("rb") as file:
            os.fdatasync(file.fileno())


def label(kind: str, contender: Contender, medium: Medium) -> Row:
    """The columns that name a measurement."""
    return {
        "kind": kind,
        "contender": contender.name,
        "poll_us": contender.poll_us,
        "medium": str(medium),
    }


def progress(text: str) -> None:
    """Tell a person what is going on."""
    print(text, file=sys.stderr, flush=True)


def first_line(*command: str) -> str:
    """What a program says of itself."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).partition("\n")[0]


def environment(arguments: argparse.Namespace, bench: Bench) -> Row:
    """Where and how this was measured."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "kind": "environment",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(),
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "revision": first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "peer": first_line(arguments.peer, "--version") if arguments.peer else None,
        "back_end_core": bench.cores.back_end,
        "front_end_core": bench.cores.front_end,
        "rounds": bench.rounds,
        "seconds": bench.timing.measured,
        "ramp": bench.timing.ramp,
        "size": bench.store.size,
    }


def build_front_end() -> Path:
    """Build the front-end as a release; quick when nothing has changed."""
    manifest = ROOT / "engine" / "Cargo.toml"
    progress("building the front-end")
    command = ["cargo", "build", "--release", "--message-format=json", "--manifest-path"]
    done = subprocess.run(
        [*command, str(manifest), "-p", "vhost-pvscsi-bench"],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    for line in done.stdout.splitlines():
        message: dict[str, Any] = json.loads(line)
        if message.get("executable"):
            return Path(message["executable"])
    raise BenchError("cargo built no vhost-pvscsi-bench")


def make_file(path: Path, size: int) -> None:
    """A file whose every block is written and in the page cache."""
    block = random.Random(1).randbytes(MIB)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(block)
        file.flush()
        os.fdatasync(file.fileno())


def parse() -> argparse.Namespace:
    """Read the command line."""
    here = Path(sys.executable).parent / "vhost-pvscsi"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, help="measurements of each point (3)")
    parser.add_argument("--seconds", type=float, help="of each measurement (3)")
    parser.add_argument("--size", type=int, default=512, help="of the media, in MiB")
    parser.add_argument("--media", nargs="+", type=Medium, default=list(Medium))
    parser.add_argument("--load", help="only loads whose name contains this")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these, e.g. ours qsd")
    parser.add_argument("--directory", type=Path, default=ROOT / "test-results" / "bench")
    parser.add_argument("--output", type=Path, help="the result file (in DIRECTORY, by date)")
    parser.add_argument("--front-end", type=Path, help="a vhost-pvscsi-bench built before")
    parser.add_argument(
        "--ours",
        action="append",
        metavar="[NAME=]PROGRAM",
        help=f"a vhost-pvscsi to measure; several are compared in one run ({here})",
    )
    parser.add_argument(
        "--peer", default=shutil.which("qemu-storage-daemon"), help="qemu-storage-daemon"
    )
    arguments = parser.parse_args()
    arguments.ours = arguments.ours or [f"ours={here}"]
    return arguments


def prepare(arguments: argparse.Namespace) -> Bench:
    """Make files and programs ready."""
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    seconds = arguments.seconds or (1.0 if arguments.quick else 3.0)
    ours = dict(named(text) for text in arguments.ours)
    chosen = contenders(ours, arguments.peer)
    if arguments.peer is None:
        progress("warning: no qemu-storage-daemon here: there is nothing to compare with")
    if arguments.only:
        chosen = [one for one in chosen if one.name in arguments.only]
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else arguments.directory
    store = Store(
        size=arguments.size * MIB,
        file=arguments.directory / f"disk-{os.getpid()}.img",
        tmpfs=memory / f"vhost-pvscsi-bench-{os.getpid()}.img",
    )
    return Bench(
        front_end=arguments.front_end or build_front_end(),
        contenders=chosen,
        media=arguments.media,
        loads=[load for load in LOADS if (arguments.load or "") in load.name],
        store=store,
        cores=Cores.choose(),
        timing=Timing(seconds, min(1.0, seconds / 3)),
        rounds=rounds,
    )


def named(text: str) -> tuple[str, str]:
    """NAME=PROGRAM, or a program that is called `ours`."""
    name, equals, program = text.partition("=")
    return (name, program) if equals else ("ours", text)


def main() -> int:
    """Measure, write the result file line by line, print the table."""
    arguments = parse()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    bench = prepare(arguments)
    output = arguments.output or arguments.directory / time.strftime("%Y%m%d-%H%M%S.jsonl")
    rows: list[Row] = [environment(arguments, bench)]
    try:
        make_file(bench.store.file, bench.store.size)
        make_file(bench.store.tmpfs, bench.store.size)
        with output.open("w") as file:
            print(json.dumps(rows[0]), file=file, flush=True)
            for row in bench.rows():
                rows.append(row)
                print(json.dumps(row), file=file, flush=True)
    except BenchError as error:
        progress("\n".join([f"error: {error}", *getattr(error, "__notes__", ())]))
        return 1
    finally:
        bench.store.tmpfs.unlink(missing_ok=True)
        bench.store.file.unlink(missing_ok=True)
    print(render(Results.of(rows)))
    print(f"\nresults: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
