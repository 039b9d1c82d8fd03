"""What `serve` was asked to do, checked as a whole before anything starts."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.pdev import parse_lun
from vhost_pvscsi.errors import ConfigurationError

from .config.vscsi import load_domain, parse_item, parse_line
from .control.spec import ControlSpec, parse_control
from .metrics.spec import MetricsSpec, parse_metrics
from .plan import Plan, PlannedLun, plan_lun, plan_socket
from .sockets import parse_specs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .config.read import Config


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of `serve`."""

    plan: Plan  #: what the command line names
    threads: int
    poll_us: int
    io_uring: bool
    state_directory: Path | None  #: where what guests save is kept; None: nothing can be saved
    controls: tuple[ControlSpec, ...] = ()  #: those of the command line
    metrics: tuple[MetricsSpec, ...] = ()
    read_only: bool = False
    config: Config | None = None
    read_config: Callable[[], Config] | None = None  #: reads the file again

    def all_controls(self) -> tuple[ControlSpec, ...]:
        """Every control socket."""
        return (*(self.config.controls if self.config else ()), *self.controls)

    def configured(self, config: Config | None) -> Plan:
        """What should be there by the file and the command line, which wins.

        Raises:
            MistakesError: the file has mistakes.
        """
        if config is None:
            return self.plan
        config.check(self.plan.hosts)
        return config.plan.under(self.plan)


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
    vscsi: Sequence[str] = (),
    domain_configs: Sequence[Path] = (),
    socket_group: int | None = None,
    socket_mode: int | None = None,
    config: Config | None = None,
    read_config: Callable[[], Config] | None = None,
    metrics: Sequence[str] = (),
) -> ServeOptions:
    """Check the values of `serve`.

    Raises:
        ConfigurationError: one of them cannot be used, or they do not go together.
    """
    sockets = parse_specs(socket_paths, fds, group=socket_group, mode=socket_mode)
    control_specs = tuple(parse_control(text) for text in controls)
    hosts = {spec.host: plan_socket(spec) for spec in sockets}
    planned = [*map(_plan_lun, luns), *_xen_luns(vscsi, domain_configs)]
    others = (config.plan.hosts, config.controls) if config else ((), ())
    # With a control socket hosts may come later; without one nobody could ever connect.
    if not sockets and not control_specs and not any(others):
        raise ConfigurationError(
            "no socket is given", hint="--socket-path PATH, or --fd N for one that is open"
        )
    _check_addresses(planned, {*hosts, *others[0]})
    options = ServeOptions(
        plan=Plan(hosts, {lun.spec.address: lun for lun in planned}),
        threads=threads or len(os.sched_getaffinity(0)),
        poll_us=poll_us,
        io_uring=io_uring,
        state_directory=state_directory,
        controls=control_specs,
        read_only=read_only,
        config=config,
        read_config=read_config,
        metrics=tuple(parse_metrics(text) for text in metrics),
    )
    options.configured(config)
    return options


def _plan_lun(text: str) -> PlannedLun:
    # Messages have the path as it was given, what is kept has it absolute.
    spec = parse_lun(text)
    lun = plan_lun(spec.address, text.partition("=")[2], Path.cwd())
    return dataclasses.replace(lun, spec=spec)


def _xen_luns(lines: Sequence[str], files: Sequence[Path]) -> Iterator[PlannedLun]:
    for line in lines:
        for item in parse_line(line):
            address, text = parse_item(item)
            yield plan_lun(address, text, Path.cwd())
    for path in files:
        for item, number in load_domain(path):
            try:
                address, text = parse_item(item)
                yield plan_lun(address, text, path.absolute().parent, f"{path}:{number}")
            except ConfigurationError as error:
                message = f"{path}:{number}: {error}"
                raise ConfigurationError(message, hint=error.hint) from error


def _check_addresses(luns: Sequence[PlannedLun], hosts: set[int]) -> None:
    known: dict[object, PlannedLun] = {}
    for lun in luns:
        address = lun.spec.address
        if address.host not in hosts:
            raise ConfigurationError(
                f"LUN {address}={lun.spec.pdev}: there is no virtual host {address.host}",
                hint=f"give it a socket: --socket-path {address.host}=PATH",
            )
        if address in known:
            raise ConfigurationError(
                f"virtual host {address.host} has {address} twice: "
                f"{known[address].spec.pdev} and {lun.spec.pdev}",
                hint="each LUN has an address of its own",
            )
        known[address] = lun
