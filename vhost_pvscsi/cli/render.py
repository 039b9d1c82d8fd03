"""What the daemon answers, as text for people."""

from __future__ import annotations

import datetime
import json
import math
from typing import TYPE_CHECKING, Any

from vhost_pvscsi.cli import figures
from vhost_pvscsi.cli.latency import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Rows = Sequence[Mapping[str, Any]]


def as_json(value: object) -> str:
    """Make JSON that people can read, too."""
    return json.dumps(value, indent=2)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Put cells below each other, two spaces between columns."""
    lines = [tuple(heads), *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def hosts(told: Rows) -> str:
    """Make the table of virtual hosts."""
    if not told:
        return "no virtual host"
    return table(
        ("host", "guest", "LUNs", "socket"),
        (
            (
                str(host["host"]),
                _guest(host),
                str(host["luns"]),
                host["socket-path"],
            )
            for host in told
        ),
    )


def _guest(host: Mapping[str, Any]) -> str:
    if host.get("problem"):
        return "missing"
    return "connected" if host["connected"] else "waiting"


def changes(told: Rows) -> str:
    """Make a line for each thing that reading the configuration again has changed."""
    if not told:
        return "nothing has changed"
    return "\n".join(
        f"{change['what']}: {change['done']}"
        + (f": {change['problem']}" if change["problem"] else "")
        for change in told
    )


def luns(told: Rows) -> str:
    """Make the table of LUNs, with their sizes and names."""
    if not told:
        return "no LUN"
    return table(
        ("vir-hctl", "type", "state", "size", "block", "access", "faults", "naa", "pdev"),
        (
            (
                lun["vdev"],
                lun["type"],
                lun["state"],
                size(lun["blocks"] * lun["block-size"]),
                str(lun["block-size"]),
                "ro" if lun["read-only"] else "rw",
                str(lun["faults"]),
                lun["naa"],
                lun["pdev"],
            )
            for lun in told
        ),
    )


def scsi_list(told: Rows) -> str:
    """Make the columns that users of Xen know from `xm scsi-list`.

    Idx is the virtual host, BE the domain of the back-end: always 0, this one. An emulated disk
    has no physical address. PDEV stands where Xen has a device's name.
    """
    return table(
        ("Idx", "BE", "state", "phy-hctl", "phy", "vir-hctl", "devstate"),
        (
            (
                lun["vdev"].partition(":")[0],
                "0",
                _seen_as(lun),
                lun.get("device") or "-",
                lun["pdev"],
                lun["vdev"],
                lun["state"],
            )
            for lun in sorted(told, key=lambda lun: [int(part) for part in lun["vdev"].split(":")])
        ),
    )


def _seen_as(lun: Mapping[str, Any]) -> str:
    if not lun["connected"]:
        return "waiting"
    # An older daemon does not say; only pvSCSI guests do.
    return lun.get("guest-state") or "connected"


def anything(told: Rows) -> str:
    """Make a table of objects whose members only the daemon knows."""
    rows = [dict(_flat(row)) for row in told]
    heads = list(dict.fromkeys(name for row in rows for name in row))
    return table(heads, ([_cell(row.get(name)) for name in heads] for row in rows)) if rows else ""


def lun_stats(told: Mapping[str, Any]) -> str:
    """Make the table of LUNs' counters; latencies are those of half, and of 99%, of commands."""
    bounds = tuple(told["latency-bounds"])
    heads = (
        *("vir-hctl", "reads", "writes", "others", "long-road", "errors", "in-flight"),
        *("read", "written", "r-p50", "r-p99", "w-p50", "w-p99", "pdev"),
    )
    if not told["luns"]:
        return "no LUN"
    return table(
        heads,
        (
            (
                lun["vdev"],
                *(str(lun[name]) for name in heads[1:6]),
                str(lun["in-flight"]),
                *(f"{figures.megabytes(lun[name])}MB" for name in ("bytes-read", "bytes-written")),
                *_quantiles(Histogram(bounds, tuple(lun["read-latency"]))),
                *_quantiles(Histogram(bounds, tuple(lun["write-latency"]))),
                lun["pdev"],
            )
            for lun in told["luns"]
        ),
    )


def _quantiles(histogram: Histogram) -> tuple[str, ...]:
    longest = histogram.bounds[-1] if histogram.bounds else math.inf
    return tuple(figures.seconds(histogram.quantile(share), longest) for share in (0.5, 0.99))


def mungers(told: Rows) -> str:
    """Make the table of mungers; codes are hexadecimal, as the standards have them."""
    return table(
        ("command", "code", "direction", "function", "origin"),
        (
            (munger["command"], _code(munger), *(munger[name] for name in _OF_MUNGERS))
            for munger in told
        ),
    )


def _code(munger: Mapping[str, Any]) -> str:
    action = munger["service-action"]
    return f"{munger['opcode']:02X}h" + ("" if action is None else f"/{action:02X}h")


_OF_MUNGERS = ("direction", "function", "origin")


def resized(told: Mapping[str, Any]) -> str:
    """Say how large a LUN is now."""
    blocks, block_size = told["blocks"], told["block-size"]
    return f"{blocks} blocks of {block_size} bytes, {size(blocks * block_size)}"


def event(told: Mapping[str, Any]) -> str:
    """Make one line: local time, name, what it tells."""
    stamp = told["timestamp"]
    moment = datetime.datetime.fromtimestamp(stamp["seconds"]).astimezone()
    moment += datetime.timedelta(microseconds=stamp["microseconds"])
    data = " ".join(f"{name}={_cell(value)}" for name, value in told.get("data", {}).items())
    return f"{moment.isoformat(timespec='milliseconds')} {told['event']} {data}".rstrip()


def size(count: int) -> str:
    """Say a number of bytes in the largest unit that it is a whole number of."""
    for shift, unit in ((40, "T"), (30, "G"), (20, "M"), (10, "K")):
        if count and count % (1 << shift) == 0:
            return f"{count >> shift}{unit}"
    return str(count)


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, object]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)


def changer(told: Mapping[str, Any]) -> str:
    """Make the table of a changer's elements, and a line for what lies in none."""
    rows = (
        (
            one["element"],
            one["barcode"] or "-",
            one["cartridge"] or "-",
            one["source"] or "-",
            one["vdev"] or "-",
            one["problem"] or ("imported" if one["by-operator"] else ""),
        )
        for one in told["elements"]
        if not one["element"].startswith("pick")
    )
    text = table(("element", "barcode", "cartridge", "from", "vir-hctl", ""), rows)
    if told["shelf"]:
        text += f"\non the shelf: {', '.join(told['shelf'])}"
    return text


#: Command -> how its answer is shown; those that answer nothing say nothing.
SHOWN: dict[str, Callable[[Any], str]] = {
    "query-luns": scsi_list,
    "reload": changes,
    "scsi-resize": resized,
    "query-stats": anything,
    "query-lun-stats": lun_stats,
    "fault-list": anything,
    "query-mungers": mungers,
    "query-changer": changer,
    "changer-import": lambda told: f"it lies in {told['element']}",
    "changer-export": lambda told: f"{told['cartridge']} lies on the shelf",
}
