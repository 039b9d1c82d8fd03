"""The front-end itself, against a back-end that is not ours."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench.backend import Cores, serving
from tests.bench.series import MIB, Contender, Medium, Store
from tests.harness import driver

if TYPE_CHECKING:
    from pathlib import Path

PEER = shutil.which("qemu-storage-daemon")
needs_peer = pytest.mark.skipif(
    PEER is None,
    reason="needs qemu-storage-daemon (package qemu-system-common)",
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    file = tmp_path / "disk.img"
    with file.open("wb") as image:
        image.truncate(8 * MIB)
    return Store(8 * MIB, file, file)


def run(medium: Medium, store: Store, *options: str) -> tuple[int, dict[str, Any] | None, str]:
    assert PEER is not None
    with serving(Contender("qsd", PEER, ours=False), medium, store, Cores.choose()) as back_end:
        command = [str(driver.program()), "--socket", str(back_end.socket_path), "--device", "blk"]
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=60, check=False
        )
    found = json.loads(done.stdout) if done.stdout else None
    return done.returncode, found, done.stderr


@needs_peer
@pytest.mark.parametrize("form", [(), ("--indirect",), ("--no-event-idx", "--segment", "700")])
def test_what_is_written_is_read_back(store: Store, form: tuple[str, ...]) -> None:
    common = ("--bs", "64k", "--iodepth", "2", "--verify", "--requests", "128", "--seed", "5")
    for rw in ("write", "read"):
        status, found, errors = run(Medium.FILE, store, "--rw", rw, *common, *form)
        assert status == 0, errors
        assert found is not None
        assert (found["requests"], found["errors"]) == (128, 0)
    # Every block holds the pattern of its own address: no two are alike.
    content = store.file.read_bytes()
    assert len({content[at : at + 512] for at in range(0, len(content), 512)}) == 8 * MIB // 512


@needs_peer
@pytest.mark.parametrize("depth", [1, 32])
def test_rate_times_latency_is_the_depth(store: Store, depth: int) -> None:
    """Little's law: wrong units, a wrong window or an idle slot break it.

    It says nothing about single latencies: those of one slot add up to the time that passed,
    whatever each of them is.
    """
    options = ("--iodepth", str(depth), "--seconds", "0.5", "--ramp", "0.2")
    status, found, errors = run(Medium.NULL, store, *options)
    assert status == 0, errors
    assert found is not None
    assert found["lat_p50_us"] > 0
    assert found["iops"] * found["lat_mean_us"] / 1e6 == pytest.approx(depth, rel=0.25)


@needs_peer
def test_wrong_data_makes_the_run_fail(store: Store) -> None:
    options = ("--rw", "read", "--verify", "--requests", "10")
    status, found, errors = run(Medium.NULL, store, *options)
    assert status == 1
    assert found is not None
    assert found["errors"] == 10
    assert "wrong data, first at byte 0" in errors


@needs_peer
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--span", "16m"), "--span 16777216: the LUN has 8388608 bytes"),
        (("--queues", "2"), "--queues 2: it has 1 in all"),
        (("--rw", "trim"), "--rw: trim: give randread"),
    ],
)
def test_what_does_not_fit_is_refused(store: Store, options: tuple[str, ...], text: str) -> None:
    status, found, errors = run(Medium.FILE, store, *options)
    assert (status, found) == (2, None)
    assert text in errors
