"""`serve`: the command line of the back-end program, and how it ends.

It keeps to QEMU's conventions for back-end programs (vhost-user.rst, "Backend program
conventions"): --socket-path or --fd, --print-capabilities, no daemonising, SIGTERM ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vhost_pvscsi.control.permissions import parse_group, parse_mode
from vhost_pvscsi.errors import VhostPvscsiError

from .config.read import read_config
from .config.settings import FileOrName
from .mungers import load_mungers
from .options import ServeOptions, parse_serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .config.read import Config

LOG_LEVELS = ("debug", "info", "warning", "error")


def _print_capabilities(context: click.Context, _option: click.Parameter, value: bool) -> None:
    # Eager: "other options and arguments are ignored" (vhost-user.rst).
    if value and not context.resilient_parsing:
        click.echo(json.dumps({"type": "scsi"}))
        context.exit(0)


#: Options that a configuration file has no [daemon] key for: they have tables of their own
#: there, or are of no use in it.
_NOT_SETTINGS = frozenset(
    {
        "config",
        "socket_paths",
        "socket_group",
        "socket_mode",
        "fds",
        "luns",
        "controls",
        "vscsi",
        "domain_configs",
        "debug",
    }
)


def settings() -> list[click.Option]:
    """The options that a configuration file may set in [daemon]."""
    return [
        option
        for option in serve.params
        if isinstance(option, click.Option)
        and option.expose_value
        and option.name not in _NOT_SETTINGS
    ]


def _take_config(
    context: click.Context, _option: click.Parameter, value: Path | None
) -> Config | None:
    # Eager: what the file says of other options is what holds where the command line is silent.
    if value is None or context.resilient_parsing:
        return None
    with telling():
        config = read_config(value, settings())
    context.default_map = {**(context.default_map or {}), **config.settings}
    return config


def _read_with(
    read: Callable[[str, str], int],
) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    def convert(_context: click.Context, option: click.Parameter, value: str | None) -> int | None:
        with telling():
            return read(option.opts[0].removeprefix("--"), value) if value is not None else None

    return convert


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    callback=_take_config,
    metavar="FILE",
    help="""Read hosts, LUNs, control sockets and options from FILE, TOML (docs/config.md). The
    command line adds to it, and wins. SIGHUP and vhost-pvscsi reload read it again.""",
)
@click.option(
    "--socket-path",
    "socket_paths",
    metavar="[HOST=]PATH",
    multiple=True,
    help="Listen for front-ends of virtual host HOST (0 if not given) at PATH. Repeatable.",
)
@click.option(
    "--fd",
    "fds",
    metavar="[HOST=]N",
    multiple=True,
    help="Use the open UNIX socket N, listening or connected, for virtual host HOST. Repeatable.",
)
@click.option(
    "--lun",
    "luns",
    metavar="VDEV=PDEV[,OPTION...]",
    multiple=True,
    help="""Attach PDEV at the virtual address VDEV (host:channel:target:lun). Repeatable.
    PDEV is an image file, a block device, tape:FILE (tape: is an empty drive), changer:DIR,
    cd:FILE, ram:SIZE, null:SIZE, or a SCSI device of the host: h:c:t:l, wwn:NAA,
    serial:TEXT, /dev/sgN, /dev/nstN, ... (docs/devices.md).
    Options: ro, block-size=512|1024|2048|4096, cache=none|writeback|writethrough|directsync,
    serial=TEXT, wwn=NAA, share=on (one unit at several addresses), lock=off,
    rotational=on, removable=on, vendor=TEXT, product=TEXT, revision=TEXT, hide=serial|wwn
    (names that the guest is not told), max-transfer=SIZE, deny=COMMAND and allow=COMMAND
    (repeatable), raw=on,
    forward=on|off (commands go to the SCSI device, or an emulated disk is on its blocks),
    on-loss=offline|remove (what becomes of the LUN when its device goes away),
    road=sg|block (by which READ and WRITE reach it),
    timeout=SECONDS (how long a forwarded command may take), reset=off|lun (what a reset by
    the guest does to a forwarded device), identity=host|own (whose names that has),
    reservations=device|own, pr-helper=PATH (who keeps its guests' reservations),
    latency=TIME (of ram: and null:), capacity=SIZE, create=on and compression=on (of tape:),
    slots=N, import-export=N, picks=N, drive=VDEV and capacity=SIZE (of changer:,
    docs/changer.md),
    fault=RULE (a command that fails or hangs, for tests; repeatable), fault-file=PATH.
    A comma in a path is written twice.""",
)
@click.option(
    "--control",
    "controls",
    metavar="PATH[,OPTION...]",
    multiple=True,
    help="""Let hosts and LUNs be attached and detached by QMP at PATH; no --socket-path is needed
    then. Options: group=GROUP (whose members may connect too), mode=OCTAL (of the socket's
    file), ro (its clients may query only). Repeatable.""",
)
@click.option(
    "--vscsi",
    metavar="LINE",
    multiple=True,
    help="""Attach what a line vscsi=['PDEV,VDEV[,OPTION...]'] of a Xen domain's configuration
    names, or PDEV,VDEV[,OPTION...] alone. Repeatable.""",
)
@click.option(
    "--domain-config",
    "domain_configs",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Attach what the line vscsi=[...] of a Xen domain's configuration FILE names. Repeatable.",
)
@click.option(
    "--socket-group",
    callback=_read_with(parse_group),
    metavar="GROUP",
    help="Give the sockets of --socket-path to GROUP, whose members may connect: mode 660.",
)
@click.option(
    "--socket-mode",
    callback=_read_with(parse_mode),
    metavar="OCTAL",
    help="The mode of the files of these sockets; what umask leaves if not given.",
)
@click.option(
    "--metrics",
    "metrics",
    metavar="[HOST:]PORT",
    multiple=True,
    help="""Let Prometheus read metrics by HTTP at TCP port PORT of HOST (127.0.0.1 if not given),
    path /metrics; or at a UNIX socket: unix:PATH[,group=GROUP][,mode=OCTAL]. Repeatable.""",
)
@click.option("--read-only", is_flag=True, help="Refuse writes to every LUN.")
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Engine threads; one for each CPU if not given.",
)
@click.option(
    "--poll-us",
    type=click.IntRange(0, 10_000),
    default=0,
    show_default=True,
    metavar="US",
    help="Poll rings for up to US microseconds before sleeping: lower latency for CPU time.",
)
@click.option(
    "--io-uring/--no-io-uring",
    default=True,
    show_default=True,
    help="Use io_uring where the kernel has it, or threads that wait.",
)
@click.option(
    "--state-directory",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="STATE_DIRECTORY",
    metavar="DIR",
    help="""Keep what guests save (mode pages, persistent reservations with APTPL, identifying
    information), and what is attached and detached at run time, in DIR; without it nothing is
    kept. $STATE_DIRECTORY if not given.""",
)
@click.option(
    "--mungers",
    "mungers",
    type=FileOrName(),
    metavar="FILE|NAME",
    multiple=True,
    help="""Load mungers, which rewrite what guests ask and are told, from a Python FILE, or from
    the installed package that offers them as NAME (docs/munging.md). What has a slash, or .py at
    its end, is a file. Repeatable.""",
)
@click.option(
    "--log-level",
    type=click.Choice(LOG_LEVELS),
    default="info",
    show_default=True,
    help="Least severity of the messages on standard error.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks of errors; sets --log-level debug.")
@click.option(
    "--print-capabilities",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_capabilities,
    help="Print what this program is, as JSON, and exit.",
)
def serve(
    config: Config | None,
    socket_paths: tuple[str, ...],
    fds: tuple[str, ...],
    luns: tuple[str, ...],
    controls: tuple[str, ...],
    vscsi: tuple[str, ...],
    domain_configs: tuple[Path, ...],
    socket_group: int | None,
    socket_mode: int | None,
    metrics: tuple[str, ...],
    read_only: bool,
    threads: int | None,
    poll_us: int,
    io_uring: bool,
    state_directory: Path | None,
    mungers: tuple[str, ...],
    log_level: str,
    debug: bool,
) -> None:
    """Serve SCSI LUNs to guests over vhost-user-scsi sockets.

    Each virtual host has one socket and serves one front-end at a time; LUNs are named by
    host:channel:target:lun. SIGTERM and SIGINT end it: what is in flight is finished first.

    \b
    Example:
      vhost-pvscsi serve --socket-path /tmp/vm0.sock --lun 0:0:0:0=disk.img --lun 0:0:1:0=ram:64M
    """  # noqa: D301 -- \b is click's
    logging.basicConfig(
        level="DEBUG" if debug else log_level.upper(),
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    with telling(debug=debug):
        options = parse_serve(
            socket_paths=socket_paths,
            fds=fds,
            luns=luns,
            read_only=read_only,
            threads=threads,
            poll_us=poll_us,
            io_uring=io_uring,
            state_directory=state_directory,
            controls=controls,
            vscsi=vscsi,
            domain_configs=domain_configs,
            socket_group=socket_group,
            socket_mode=socket_mode,
            config=config,
            read_config=partial(read_config, config.path, settings()) if config else None,
            metrics=metrics,
        )
        # Before anything is there: which commands the engine may finish follows from them.
        load_mungers(mungers)
        sys.exit(run(options))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(path_type=Path))
def check_config(file: Path) -> None:
    """Check a configuration file of serve, and start nothing.

    All that is wrong with FILE is told with its line. Whether images, devices and sockets can be
    had is seen when they are opened. Hosts that only the command line of serve names are not
    known here.
    """
    with telling():
        read_config(file, settings()).check()


@contextlib.contextmanager
def telling(*, debug: bool = False) -> Iterator[None]:
    """Say what goes wrong, and end the program with the status that it has."""
    try:
        yield
    except VhostPvscsiError as error:
        if debug:
            raise
        click.echo(error.told(), err=True)
        sys.exit(error.exit_status)


def run(options: ServeOptions) -> int:
    """Serve until told to end; the exit status."""
    # Each guest may bring hundreds of memory slots and queues, with a descriptor or two each.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # All of the data plane: who reads the help, or checks a configuration, does without it.
    from .service import Service  # noqa: PLC0415

    async def main() -> int:
        return await Service(options).run()

    return asyncio.run(main())
