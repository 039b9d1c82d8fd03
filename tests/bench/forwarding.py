"""A forwarded disk beside the host's own way to SG: our socket and fio's sg engine, by turns.

    python -m tests.bench.forwarding [--rounds N] [--seconds S] [--depth N] [--delay NS] [--counted]

Both run in the guest that plays a host (tests/harness/scsi_host.py), on the same simulated disk,
which moves no data (fake_rw) and answers at once, or after NS nanoseconds. With --counted the guest
has one processor and a clock that counts its instructions: a machine with something else to do
does not show. It judges nothing.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from typing import TYPE_CHECKING

from tests.harness import images
from tests.harness.scsi_daemon import SOCKET, ScsiDaemon
from tests.harness.scsi_host import ScsiHost

from .run import build_front_end

if TYPE_CHECKING:
    from pathlib import Path


def through_us(host: ScsiHost, front_end: Path, mode: str, arguments: argparse.Namespace) -> float:
    """Requests per second by our socket."""
    # fmt: off
    command = [
        str(front_end), "--socket", str(SOCKET), "--rw", mode, "--bs", "4k",
        "--iodepth", str(arguments.depth), "--seconds", str(arguments.seconds), "--ramp", "0.5",
    ]
    # fmt: on
    told = json.loads(host.check(shlex.join(command), timeout=300))
    return float(told["iops"])


def by_fio(host: ScsiHost, node: str, mode: str, arguments: argparse.Namespace) -> float:
    """Requests per second by fio's sg engine."""
    # fmt: off
    command = [
        "fio", "--name=sg", f"--filename={node}", "--ioengine=sg", "--direct=0", f"--rw={mode}",
        "--bs=4k", f"--iodepth={arguments.depth}", f"--runtime={arguments.seconds}", "--time_based",
        "--ramp_time=1", "--thread", "--output-format=json",
    ]
    # fmt: on
    said = host.shell(shlex.join(command), timeout=300)
    # It has something to say before.
    told = json.loads(said[said.index("{") :])
    job = told["jobs"][0]
    return float(job["read"]["iops"] + job["write"]["iops"])


def main() -> int:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description="A forwarded disk beside fio's sg engine.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--depth", type=int, default=16)
    parser.add_argument("--delay", type=int, default=0, help="nanoseconds")
    parser.add_argument("--counted", action="store_true")
    arguments = parser.parse_args()
    front_end = build_front_end()
    with ScsiHost(images.scsi_host(), counted=arguments.counted) as host:
        host.boot()
        timing = {"ndelay": arguments.delay} if arguments.delay else {"delay": 0}
        host.load_scsi_debug(dev_size_mb=64, fake_rw=1, **timing)
        node = host.node(host.add_simulated())
        daemon = ScsiDaemon(host, [f"0:0:0:0={node}"], options=("--threads", "1"))
        daemon.start()
        for mode in ("randread", "randwrite"):
            ratios = []
            for number in range(arguments.rounds):
                ours = through_us(host, front_end, mode, arguments)
                theirs = by_fio(host, node, mode, arguments)
                ratios.append(ours / theirs)
                print(f"{mode} {number}: {ours:8.0f} {theirs:8.0f} {ratios[-1]:.2f}", flush=True)
            print(f"{mode}: median ratio {statistics.median(ratios):.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
