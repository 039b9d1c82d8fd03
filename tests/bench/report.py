"""Result files, and tables made of them."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Row = dict[str, Any]
#: Medium, load, contender: what the samples of several rounds have in common.
Point = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Results:
    """One result file: a line of JSON for each thing measured."""

    environment: Row
    samples: dict[Point, list[Row]]
    footprints: list[Row]

    @staticmethod
    def of(rows: Iterable[Row]) -> Results:
        """Sort rows by their kind."""
        environment: Row = {}
        samples: dict[Point, list[Row]] = {}
        footprints: list[Row] = []
        for row in rows:
            match row["kind"]:
                case "environment":
                    environment = row
                case "sample":
                    point = (row["medium"], row["load"], row["contender"])
                    samples.setdefault(point, []).append(row)
                case "footprint":
                    footprints.append(row)
        return Results(environment, samples, footprints)

    @staticmethod
    def load(path: Path) -> Results:
        """Read a result file."""
        lines = path.read_text().splitlines()
        return Results.of(json.loads(line) for line in lines if line.strip())

    def median(self, point: Point, figure: str) -> float:
        """The middle of a figure over the rounds."""
        return float(statistics.median(row[figure] for row in self.samples[point]))

    def span(self, point: Point, figure: str) -> tuple[float, float]:
        """The least and the most of a figure over the rounds."""
        values = [row[figure] for row in self.samples[point]]
        return min(values), max(values)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns, the first to the left and the others to the right."""
    cells = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = []
    for row in cells:
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *rest]).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


HEADS = ("", "IOPS", "MB/s", "p50 us", "p99 us", "p99.9 us", "cpu us", "calls", "vs qsd")


def render(results: Results, reference: str = "qsd") -> str:
    """One block for each medium and load, one line for each contender."""
    blocks = []
    for medium, load in dict.fromkeys(point[:2] for point in results.samples):
        points = [point for point in results.samples if point[:2] == (medium, load)]
        base = (medium, load, reference)
        lines = [_line(results, point, base) for point in points]
        blocks.append(f"{medium}: {load}\n{table(HEADS, lines)}")
    if results.footprints:
        blocks.append(_footprints(results.footprints))
    return "\n\n".join(blocks)


def _line(results: Results, point: Point, base: Point) -> list[str]:
    def middle(figure: str) -> float:
        return results.median(point, figure)

    ratio = "-"
    if base in results.samples and base != point:
        ratio = f"{middle('iops') / results.median(base, 'iops'):.2f}x"
    return [
        point[2],
        f"{middle('iops'):,.0f}",
        f"{middle('mb_s'):,.0f}",
        f"{middle('lat_p50_us'):.1f}",
        f"{middle('lat_p99_us'):.1f}",
        f"{middle('lat_p999_us'):.1f}",
        f"{middle('back_end_cpu_us'):.2f}",
        f"{middle('calls_per_request'):.2f}",
        ratio,
    ]


def _footprints(rows: list[Row]) -> str:
    lines = [
        [
            f"{row['contender']}, {row['medium']}",
            f"{row['resident_kib'] / 1024:.1f}",
            f"{row['idle_cpu_us'] / 1000:.2f}",
        ]
        for row in rows
    ]
    seconds = rows[0]["idle_seconds"]
    return table(("with one front-end", "MiB resident", f"CPU ms in {seconds:g} s idle"), lines)
