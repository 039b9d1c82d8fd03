"""Compare two result files: `python -m tests.bench.compare OLD NEW`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .report import Point, Results, table

#: Figure, its head in the table, whether more is better.
FIGURES = (
    ("iops", "IOPS", True),
    ("lat_p50_us", "p50", False),
    ("lat_p99_us", "p99", False),
    ("back_end_cpu_us", "cpu", False),
)


def judge(old: Results, new: Results, point: Point, figure: str, more_is_better: bool) -> str:
    """The ratio of medians, marked where the rounds of the two files do not overlap.

    `+` is better, `-` is worse. With three rounds or more on each side such a separation
    happens by chance in one of ten cases at most (1 / C(6, 3) on either side).
    """
    before, after = old.median(point, figure), new.median(point, figure)
    ratio = f"{after / before:.2f}x" if before else "-"
    (old_low, old_high), (new_low, new_high) = old.span(point, figure), new.span(point, figure)
    rounds = min(len(old.samples[point]), len(new.samples[point]))
    if rounds < 3 or (new_low <= old_high and old_low <= new_high):
        return f"{ratio} "
    better = (new_low > old_high) == more_is_better
    return ratio + ("+" if better else "-")


def render(old: Results, new: Results) -> str:
    """One line for each point that both files have."""
    shared = [point for point in old.samples if point in new.samples]
    lines = [
        [", ".join(point), *(judge(old, new, point, name, more) for name, _, more in FIGURES)]
        for point in shared
    ]
    return table(("new / old", *(head for _, head, _ in FIGURES)), lines)


def main() -> None:
    """Print the ratios of two result files; `+` is better, `-` is worse beyond the rounds."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    arguments = parser.parse_args()
    old, new = Results.load(arguments.old), Results.load(arguments.new)
    for figure in ("kernel", "cpu"):
        if old.environment.get(figure) != new.environment.get(figure):
            print(f"warning: {figure} differs: the files are of two machines")
    print(render(old, new))


if __name__ == "__main__":
    main()
