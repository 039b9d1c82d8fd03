"""What all verbs have: where the daemon is, how answers are printed, how failures are told."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vhost_pvscsi.errors import VhostPvscsiError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_CONTROL = "/run/vhost-pvscsi/control"

HELP_NAMES = {"help_option_names": ["-h", "--help"]}


def common_options() -> list[click.Parameter]:
    """Make the options that every verb has."""
    return [
        click.Option(
            ["--control"],
            type=click.Path(path_type=Path),
            envvar="VHOST_PVSCSI_CONTROL",
            default=DEFAULT_CONTROL,
            show_default=True,
            metavar="PATH",
            help="The daemon's control socket. $VHOST_PVSCSI_CONTROL if not given.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
    ]


@contextlib.contextmanager
def telling_failures() -> Iterator[None]:
    """Say what goes wrong, and end the program with the status that it has."""
    try:
        yield
    except VhostPvscsiError as error:
        click.echo(error.told(), err=True)
        sys.exit(error.exit_status)
