"""Which parts of an image hold data, and which are holes, as the file system reports them."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes from `start` to `end`, all of a hole or all not, as far as is known."""

    start: int
    end: int
    hole: bool


@dataclass(frozen=True, slots=True)
class Runs:
    """What was found, in order and without gaps, neighbours unlike each other."""

    runs: tuple[Run, ...]
    complete: bool  #: the end that was asked for has been reached


#: Finds the runs of one medium from an offset to another, at most so many.
FindRuns: TypeAlias = Callable[[int, int, int], Awaitable[Runs]]


class _Gathering:
    """Runs as they are found; equal neighbours become one."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def add(self, start: int, end: int, *, hole: bool) -> None:
        if start >= end:
            return
        if self.runs and self.runs[-1].hole is hole:
            start = self.runs.pop().start
        self.runs.append(Run(start, end, hole))


def find_runs(fd: int, start: int, end: int, *, granule: int, most: int) -> Runs:
    """Find the holes of an image between two offsets, both multiples of `granule`.

    A granule that is a hole in part only is none. What the file system does not tell, or what
    it answers with an error, is no hole either. The file may change meanwhile: each run was
    true at some time. At most `most` runs are returned, after at most `most` looks at holes,
    so that the work is bounded whatever the file is like.

    Source: lseek(2), SEEK_DATA and SEEK_HOLE.
    """
    found = _Gathering()
    at = start
    for _ in range(most):
        if at >= end:
            break
        try:
            data = _next_data(fd, at, end)
            hole_end = end if data >= end else data // granule * granule
            found.add(at, hole_end, hole=True)
            at = max(at, hole_end)
            if at < end:
                hole = os.lseek(fd, max(data, at), os.SEEK_HOLE)
                # A hole may have been punched at `data` between the two calls: go on all the same.
                data_end = min(max(-(-hole // granule) * granule, at + granule), end)
                found.add(at, data_end, hole=False)
                at = data_end
        except OSError:
            # EINVAL: it cannot tell holes. ENXIO: the file has become shorter than the medium.
            found.add(at, end, hole=False)
            at = end
    return Runs(tuple(found.runs[:most]), at >= end and len(found.runs) <= most)


def _next_data(fd: int, at: int, end: int) -> int:
    """The offset of the next data, `end` or more where a hole goes on up to the end."""
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        # No data from here on: a hole, but only where the file goes on as long.
        if error.errno == errno.ENXIO and os.fstat(fd).st_size >= end:
            return end
        raise
