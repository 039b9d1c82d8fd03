"""Holes of real files, on the file system that the tests run on."""

import os

import pytest

from vhost_pvscsi.devices import allocation
from vhost_pvscsi.devices.allocation import Run, Runs, find_runs

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture
def image(tmp_path):
    """A descriptor of a file of 16 MiB with data at 1 MiB, a mebibyte long; else a hole."""
    fd = os.open(tmp_path / "disk.img", os.O_RDWR | os.O_CREAT)
    os.truncate(fd, 16 * MIB)
    os.pwrite(fd, b"\1" * MIB, MIB)
    yield fd
    os.close(fd)


def find(fd, start=0, end=16 * MIB, *, granule=512, most=64):
    return find_runs(fd, start, end, granule=granule, most=most)


def test_holes_and_data_are_told_apart(image):
    assert find(image) == Runs(
        (
            Run(0, MIB, hole=True),
            Run(MIB, 2 * MIB, hole=False),
            Run(2 * MIB, 16 * MIB, hole=True),
        ),
        complete=True,
    )


def test_only_what_was_asked_for_is_told(image):
    assert find(image, MIB + 4 * KIB, 3 * MIB).runs == (
        Run(MIB + 4 * KIB, 2 * MIB, hole=False),
        Run(2 * MIB, 3 * MIB, hole=True),
    )


def test_a_granule_that_is_a_hole_in_part_is_none(image):
    granule = 3 * MIB
    assert find(image, 0, 15 * MIB, granule=granule).runs == (
        Run(0, 3 * MIB, hole=False),
        Run(3 * MIB, 15 * MIB, hole=True),
    )
    os.pwrite(image, b"\1" * MIB, 2 * MIB)
    os.pwrite(image, b"\1" * MIB, 3 * MIB)
    assert find(image, 0, 15 * MIB, granule=granule).runs == (
        Run(0, 6 * MIB, hole=False),
        Run(6 * MIB, 15 * MIB, hole=True),
    )


def test_the_number_of_looks_is_bounded(image):
    for at in range(4, 12):
        os.pwrite(image, b"\1", at * MIB)
    found = find(image, most=3)
    assert len(found.runs) == 3
    assert not found.complete
    assert found.runs == find(image).runs[:3]
    whole = find(image)
    assert whole.complete
    assert [run.start for run in whole.runs[1:]] == [run.end for run in whole.runs[:-1]]
    assert whole.runs[-1].end == 16 * MIB


def test_a_file_of_terabytes_is_one_look(tmp_path):
    fd = os.open(tmp_path / "large.img", os.O_RDWR | os.O_CREAT)
    try:
        try:
            os.truncate(fd, 5 << 40)
        except OSError as error:
            pytest.skip(f"no file of 5 TiB here: {error}; a TMPDIR on ext4 or XFS has them")
        assert find(fd, 0, 5 << 40, most=1) == Runs((Run(0, 5 << 40, hole=True),), complete=True)
    finally:
        os.close(fd)


def test_what_a_file_lacks_is_no_hole(image):
    os.truncate(image, 4 * MIB)
    # Blocks that cannot be read do not read as zeros.
    assert find(image).runs[-1] == Run(MIB, 16 * MIB, hole=False)


def test_what_is_not_told_is_no_hole():
    reader, writer = os.pipe()  # lseek: ESPIPE
    try:
        assert find(reader) == Runs((Run(0, 16 * MIB, hole=False),), complete=True)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_hole_that_appears_between_two_looks_does_not_stop_the_search(image, monkeypatch):
    # SEEK_HOLE at data that has just become a hole answers with the same offset.
    real = os.lseek
    monkeypatch.setattr(
        allocation.os,
        "lseek",
        lambda fd, at, whence: at if whence == os.SEEK_HOLE else real(fd, at, whence),
    )
    found = find(image, 0, 2 * MIB, granule=256 * KIB)
    assert found.complete
    assert found.runs == (Run(0, MIB, hole=True), Run(MIB, 2 * MIB, hole=False))
