"""One answer of a daemon: what its LUNs have done until then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vhost_pvscsi.cli.latency import Histogram
from vhost_pvscsi.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class LunSample:
    """The counters of a LUN; they begin with its attachment."""

    vdev: str
    pdev: str
    attachment: int  #: another one: other counters, though the address is the same
    reads: int
    writes: int
    others: int
    errors: int
    bytes_read: int
    bytes_written: int
    in_flight: int
    read_latency: Histogram
    write_latency: Histogram

    @property
    def host(self) -> int:
        """The number of its virtual host."""
        return int(self.vdev.partition(":")[0])


@dataclass(frozen=True, slots=True)
class Sample:
    """All of it, at a time of the daemon's own monotonic clock."""

    time: float  #: seconds
    luns: tuple[LunSample, ...]
    connected: Mapping[int, bool]  #: virtual host -> whether its guest is there


def read_sample(stats: Mapping[str, Any], hosts: Sequence[Mapping[str, Any]]) -> Sample:
    """Make a sample of what `query-lun-stats` and `query-hosts` have answered.

    Raises:
        ControlError: the daemon's answer is not what it should be.
    """
    try:
        bounds = tuple(float(bound) for bound in stats["latency-bounds"])
        return Sample(
            float(stats["time"]),
            tuple(_lun(lun, bounds) for lun in stats["luns"]),
            {int(host["host"]): bool(host["connected"]) for host in hosts},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ControlError(
            f"the daemon's statistics cannot be read: {error!r}",
            hint="it is of another version than this program",
        ) from error


def _lun(told: Mapping[str, Any], bounds: tuple[float, ...]) -> LunSample:
    return LunSample(
        vdev=str(told["vdev"]),
        pdev=str(told["pdev"]),
        attachment=int(told["attachment"]),
        reads=int(told["reads"]),
        writes=int(told["writes"]),
        others=int(told["others"]),
        errors=int(told["errors"]),
        bytes_read=int(told["bytes-read"]),
        bytes_written=int(told["bytes-written"]),
        in_flight=int(told["in-flight"]),
        read_latency=Histogram(bounds, tuple(map(int, told["read-latency"]))),
        write_latency=Histogram(bounds, tuple(map(int, told["write-latency"]))),
    )
