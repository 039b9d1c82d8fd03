"""What `serve` was asked to do, checked as a whole before anything starts."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.pdev import LunSpec, parse_lun
from vhost_pvscsi.errors import ConfigurationError

from .control.spec import ControlSpec, parse_control
from .metrics.spec import MetricsSpec, parse_metrics
from .sockets import SocketSpec, parse_specs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of `serve`."""

    sockets: tuple[SocketSpec, ...]
    luns: tuple[LunSpec, ...]
    threads: int
    poll_us: int
    io_uring: bool
    state_directory: Path | None  #: where what guests save is kept; None: nothing can be saved
    controls: tuple[ControlSpec, ...] = ()
    metrics: tuple[MetricsSpec, ...] = ()


def parse_serve(
    *,
    socket_paths: Sequence[str],
    fds: Sequence[str],
    luns: Sequence[str],
    read_only: bool,
    threads: int | None,
    poll_us: int,
    io_uring: bool,
    state_directory: Path | None = None,
    controls: Sequence[str] = (),
    metrics: Sequence[str] = (),
) -> ServeOptions:
    """Check the values of `serve`.

    Raises:
        ConfigurationError: one of them cannot be used, or they do not go together.
    """
    sockets = parse_specs(socket_paths, fds)
    control_specs = tuple(parse_control(text) for text in controls)
    # With a control socket hosts may come later; without one nobody could ever connect.
    if not sockets and not control_specs:
        raise ConfigurationError(
            "no socket is given", hint="--socket-path PATH, or --fd N for one that is open"
        )
    specs = [parse_lun(text) for text in luns]
    if read_only:
        specs = [
            dataclasses.replace(spec, options=dataclasses.replace(spec.options, read_only=True))
            for spec in specs
        ]
    _check_addresses(specs, sockets)
    return ServeOptions(
        sockets=tuple(sockets),
        luns=tuple(specs),
        threads=threads or len(os.sched_getaffinity(0)),
        poll_us=poll_us,
        io_uring=io_uring,
        state_directory=state_directory,
        controls=control_specs,
        metrics=tuple(parse_metrics(text) for text in metrics),
    )


def _check_addresses(luns: Sequence[LunSpec], sockets: Sequence[SocketSpec]) -> None:
    hosts = {spec.host for spec in sockets}
    known: dict[object, LunSpec] = {}
    for lun in luns:
        if lun.address.host not in hosts:
            raise ConfigurationError(
                f"LUN {lun.address}={lun.pdev}: there is no virtual host {lun.address.host}",
                hint=f"give it a socket: --socket-path {lun.address.host}=PATH",
            )
        if lun.address in known:
            raise ConfigurationError(
                f"virtual host {lun.address.host} has {lun.address} twice: "
                f"{known[lun.address].pdev} and {lun.pdev}",
                hint="each LUN has an address of its own",
            )
        known[lun.address] = lun
