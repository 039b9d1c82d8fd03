"""`serve`: the command line of the back-end program, and how it ends.

It keeps to QEMU's conventions for back-end programs (vhost-user.rst, "Backend program
conventions"): --socket-path or --fd, --print-capabilities, no daemonising, SIGTERM ends it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import sys
from pathlib import Path

import click

from vhost_pvscsi.errors import VhostPvscsiError

from .options import ServeOptions, parse_serve
from .service import Service

LOG_LEVELS = ("debug", "info", "warning", "error")


def _print_capabilities(context: click.Context, _option: click.Parameter, value: bool) -> None:
    # Eager: "other options and arguments are ignored" (vhost-user.rst).
    if value and not context.resilient_parsing:
        click.echo(json.dumps({"type": "scsi"}))
        context.exit(0)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
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
    PDEV is an image file, a block device, ram:SIZE or null:SIZE. Options: ro,
    block-size=512|1024|2048|4096, cache=none|writeback|writethrough|directsync,
    serial=TEXT, wwn=NAA, share=on (one unit at several addresses), lock=off,
    rotational=on, removable=on, latency=TIME (of ram: and null:), fault=RULE (a command that
    fails or hangs, for tests; repeatable), fault-file=PATH. A comma in a path is written twice.""",
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
    information) in DIR; without it nothing can be saved. $STATE_DIRECTORY if not given.""",
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
    socket_paths: tuple[str, ...],
    fds: tuple[str, ...],
    luns: tuple[str, ...],
    controls: tuple[str, ...],
    metrics: tuple[str, ...],
    read_only: bool,
    threads: int | None,
    poll_us: int,
    io_uring: bool,
    state_directory: Path | None,
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
    try:
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
            metrics=metrics,
        )
        sys.exit(run(options))
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

    async def main() -> int:
        return await Service(options).run()

    return asyncio.run(main())
